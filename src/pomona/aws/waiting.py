"""Waiting for CloudFormation, and why it has failed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from pomona.aws import perimeter
from pomona.aws.account import Account
from pomona.errors import CloudError
from pomona.progress import Progress

POLL_S = 3.0
LONGEST_S = 3600.0


def wait(account: Account, stack: str, progress: Progress, total: int = 0) -> dict[str, Any] | None:
    """Waits until CloudFormation has ended its work on a stack.

    Parameters
    ----------
    account : Account
        Where the stack is.
    stack : str
        Its name or id.
    progress : Progress
        Is told how many resources are done.
    total : int
        How many resources change.

    Returns
    -------
    dict or None
        What CloudFormation then says of it; None: there is no such stack.
    """
    begun, seen = False, 0
    try:
        for _ in polls(f"the stack {stack}"):
            described = perimeter.find(account, stack)
            if described is None or not is_at_work(described):
                return described
            if not begun:
                begun = True
                progress.begin("stack", total)
            done = _done(account, described["StackId"])
            progress.advance(max(0, min(done, total) - seen))
            seen = max(seen, min(done, total))
    finally:
        if begun:
            progress.end()
    raise AssertionError("the last poll raises")


def is_at_work(described: dict[str, Any]) -> bool:
    """Returns whether CloudFormation has something to do on a stack.

    Parameters
    ----------
    described : dict
        What it says of the stack.
    """
    status = described["StackStatus"]
    return bool(status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS")


def polls(what: str) -> Iterator[None]:
    """Yields once for each look at something that takes a while.

    Parameters
    ----------
    what : str
        What is waited for.

    Raises
    ------
    CloudError
        If it takes too long.
    """
    end = time.monotonic() + LONGEST_S
    while time.monotonic() < end:
        yield
        time.sleep(POLL_S)
    raise CloudError(f"{what} takes more than {LONGEST_S / 60:g} minutes: run the command again")


def _events(account: Account, stack: str) -> Iterator[dict[str, Any]]:
    """The events of the last operation on a stack, the newest first."""
    for each in account.pages(
        "cloudformation", "describe_stack_events", "StackEvents", StackName=stack
    ):
        yield each
        if each["ResourceType"] == "AWS::CloudFormation::Stack" and each["ResourceStatus"] in (
            "CREATE_IN_PROGRESS",
            "UPDATE_IN_PROGRESS",
            "DELETE_IN_PROGRESS",
        ):
            return


def _done(account: Account, stack: str) -> int:
    """How many resources the last operation has dealt with."""
    return len(
        {
            each["LogicalResourceId"]
            for each in _events(account, stack)
            if each["ResourceStatus"].endswith("_COMPLETE")
        }
    )


def failure(account: Account, stack: str) -> str:
    """Returns the first resource that failed, why, and the way out.

    Parameters
    ----------
    account : Account
        Where the stack is.
    stack : str
        Its name or id.
    """
    failed = [
        each
        for each in _events(account, stack)
        if each["ResourceStatus"].endswith("_FAILED")
        and "cancelled" not in each.get("ResourceStatusReason", "")
    ]
    if not failed:
        return (
            f"CloudFormation has not ended the change of the stack {stack}: "
            "run the same command again"
        )
    name, why = failed[-1]["LogicalResourceId"], failed[-1].get("ResourceStatusReason", "")
    why = " ".join(why.split())[:300]
    what = f"{name} ({failed[-1]['ResourceType']})"
    if "already exists" in why or "BucketAlreadyExists" in why:
        return (
            f"{what} cannot be created because its name is taken, perhaps in another account: "
            f"remove what has it, or choose another `stack`. CloudFormation says: {why}"
        )
    if "not empty" in why:
        return f"{what} holds objects, so it was not deleted: `pomona aws down --with-data`"
    return (
        f"{what} failed, and CloudFormation says: {why}; mend that and run the same command again"
    )
