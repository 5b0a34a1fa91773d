"""The perimeter's stack: propose its changes, apply them, or leave them.

Whatever stopped an earlier attempt, the same calls go on from the state that they find.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from pomona.aws import perimeter, stopping
from pomona.aws.account import Account
from pomona.aws.template import template
from pomona.aws.waiting import failure, is_at_work, polls, wait
from pomona.errors import CloudError, UsageError
from pomona.progress import Progress

# The EEA's other regions lack budgets by CloudFormation, or prices of EMR Serverless.
REGIONS = ("eu-central-1", "eu-west-1", "eu-west-3")
CHANGE_SET = "pomona-up"
# The remains of a stack that was never whole; it holds no data.
_REMAINS = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED")
_UNCHANGED = ("didn't contain changes", "No updates are to be performed")
# Names of buckets begin with it, and have at most 63 characters.
_NAME = re.compile(r"[a-z][a-z0-9-]{1,22}[a-z0-9]")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
# EMR Serverless has at most 8 GB of memory for each vCPU, and 20 GB of disk for each worker.
_MEMORY_GB, _DISK_GB = 8, 20


def check_name(stack: str) -> None:
    """Raises UsageError for a name of a stack with which names of buckets cannot begin.

    Parameters
    ----------
    stack : str
        The name.
    """
    if not _NAME.fullmatch(stack):
        raise UsageError(
            f"`stack` {stack}: give up to 24 small letters, digits and hyphens, a letter first"
        )


@dataclass(frozen=True)
class Wanted:
    """What the perimeter is to be; None: as it is, else the template's default.

    Parameters
    ----------
    alert_email : str, optional
        Who is told of the bill.
    monthly_budget_usd : float, optional
        The account's budget for a month, in US dollars.
    max_vcpus : int, optional
        The most vCPUs that jobs on EMR Serverless have at once.

    Raises
    ------
    UsageError
        For a value that cannot be.
    """

    alert_email: str | None = None
    monthly_budget_usd: float | None = None
    max_vcpus: int | None = None

    def __post_init__(self) -> None:
        if self.alert_email is not None and not _EMAIL.fullmatch(self.alert_email):
            raise UsageError(f"`alert_email` {self.alert_email}: give one e-mail address")
        if self.monthly_budget_usd is not None and not 1 <= self.monthly_budget_usd < math.inf:
            raise UsageError(f"`monthly_budget` {self.monthly_budget_usd:g}: give at least 1 USD")
        if self.max_vcpus is not None and not 2 <= self.max_vcpus <= 400:
            raise UsageError(f"`max_vcpus` {self.max_vcpus}: give 2 to 400")

    def parameters(self) -> dict[str, str]:
        """Returns the template's parameters that are given."""
        given = {"Scope": "all"}
        if self.alert_email is not None:
            given["AlertEmail"] = self.alert_email
        if self.monthly_budget_usd is not None:
            given["MonthlyBudgetUsd"] = f"{self.monthly_budget_usd:g}"
        if self.max_vcpus is not None:
            given["MaximumVcpus"] = str(self.max_vcpus)
            given["MaximumMemoryGb"] = str(self.max_vcpus * _MEMORY_GB)
            given["MaximumDiskGb"] = str(self.max_vcpus * _DISK_GB)
        return given


@dataclass(frozen=True)
class Change:
    """One change to a stack.

    Parameters
    ----------
    action : {"make", "change", "replace", "remove"}
        What happens.
    name : str
        The resource's name in the template.
    type : str
        CloudFormation's type of it.
    """

    action: str
    name: str
    type: str


@dataclass(frozen=True)
class Proposal:
    """Changes that nobody has applied yet.

    Parameters
    ----------
    stack : str
        The stack's name.
    is_new : bool
        Whether there is no stack yet.
    changes : tuple of Change
        What happens; none: the stack is as it should be.
    """

    stack: str
    is_new: bool
    changes: tuple[Change, ...]


def propose(
    account: Account,
    parameters: dict[str, str],
    progress: Progress,
    stack: str = perimeter.STACK,
) -> Proposal:
    """Has CloudFormation say what would change, and changes nothing yet.

    Parameters
    ----------
    account : Account
        Where the stack is, or is to be.
    parameters : dict of str to str
        Parameters of the template; an existing stack keeps the others.
    progress : Progress
        Is told what is waited for.
    stack : str
        The stack's name.

    Raises
    ------
    CloudError
        If the region has not all that the template takes, the stack is in a state that only a
        person can mend, or AWS refuses.
    UsageError
        If a new stack has no `alert_email`.
    """
    if account.region not in REGIONS:
        raise CloudError(
            f"{account.region} lacks budgets by CloudFormation, or prices of EMR Serverless that "
            f"pomona knows: choose one of {', '.join(REGIONS)}"
        )
    described = at_rest(account, stack, progress)
    if described is None and "AlertEmail" not in parameters:
        raise UsageError("give `alert_email`: who is told when the month's bill nears its budget")
    named = {"StackName": stack, "ChangeSetName": CHANGE_SET}
    drop_change_set(account, stack)
    _make_change_set(account, described, parameters, named)
    progress.note("asking CloudFormation what would change")
    for _ in polls(f"the change set of {stack}"):
        answer = account.call("cloudformation", "describe_change_set", **named)
        if answer["Status"] == "CREATE_COMPLETE":
            every = account.pages("cloudformation", "describe_change_set", "Changes", **named)
            return Proposal(stack, described is None, tuple(_change(each) for each in every))
        if answer["Status"] == "FAILED":
            break
    reason = " ".join(answer.get("StatusReason", "").split())
    drop_change_set(account, stack)
    if not any(words in reason for words in _UNCHANGED):
        raise CloudError(f"CloudFormation cannot change the stack {stack}: {reason}")
    return Proposal(stack, described is None, ())


def _make_change_set(
    account: Account,
    described: dict[str, Any] | None,
    parameters: dict[str, str],
    named: dict[str, str],
) -> None:
    """Has CloudFormation work out a change; parameters that are not given stay as they are."""
    before = () if described is None else described.get("Parameters", ())
    kept = {each["ParameterKey"] for each in before} - parameters.keys()
    known = template()["Parameters"].keys()
    account.call(
        "cloudformation",
        "create_change_set",
        **named,
        ChangeSetType="CREATE" if described is None else "UPDATE",
        TemplateBody=perimeter.template(),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[
            *({"ParameterKey": key, "ParameterValue": each} for key, each in parameters.items()),
            *({"ParameterKey": key, "UsePreviousValue": True} for key in sorted(kept & known)),
        ],
    )


def apply(account: Account, proposal: Proposal, progress: Progress) -> None:
    """Applies changes, and waits until all is done.

    Parameters
    ----------
    account : Account
        Where the stack is.
    proposal : Proposal
        What `propose` has returned.
    progress : Progress
        Is told how far CloudFormation is.

    Raises
    ------
    CloudError
        If a resource cannot be made: CloudFormation has then undone the changes. If the application
        is to change and a job is at work on it.
    """
    if any(each.name == "Application" and each.action == "change" for each in proposal.changes):
        # EMR Serverless changes an application at rest alone.
        application = perimeter.read(account, proposal.stack).application_id
        stopping.require_idle(account, application)
        stopping.stop(account, application, progress)
    named = {"StackName": proposal.stack, "ChangeSetName": CHANGE_SET}
    account.call("cloudformation", "execute_change_set", **named)
    settled = wait(account, proposal.stack, progress, len(proposal.changes))
    status = "" if settled is None else settled["StackStatus"]
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise CloudError(failure(account, proposal.stack), "not_made")


def discard(account: Account, proposal: Proposal) -> None:
    """Leaves changes: the stack is as it was, and one that was only proposed is gone.

    Parameters
    ----------
    account, proposal
        As for `apply`.
    """
    if proposal.changes:
        drop_change_set(account, proposal.stack)
    if proposal.is_new:
        account.call("cloudformation", "delete_stack", StackName=proposal.stack)


def at_rest(
    account: Account, stack: str, progress: Progress, *, deleting: bool = False
) -> dict[str, Any] | None:
    """Waits until nothing is at work on a stack, and removes the remains of one never whole.

    Parameters
    ----------
    account : Account
        Where it is.
    stack : str
        Its name.
    progress : Progress
        Is told what is waited for.
    deleting : bool
        Whether the stack is to go, so that a deletion that failed is no obstacle.

    Returns
    -------
    dict or None
        What CloudFormation says of it; None: there is no stack.

    Raises
    ------
    CloudError
        If it is in a state that only a person can mend.
    """
    described = perimeter.find(account, stack)
    if described is not None and is_at_work(described):
        progress.note(f"waiting for CloudFormation, which is at work on the stack {stack}")
        described = wait(account, described["StackId"], progress)
    status = "" if described is None else described["StackStatus"]
    if status in ("", "REVIEW_IN_PROGRESS", "DELETE_COMPLETE"):
        return None
    if status in _REMAINS:
        progress.note(f"removing what an attempt that failed has left of the stack {stack}")
        try:
            delete(account, stack, progress)
        except CloudError as exc:
            if not (deleting and exc.reason == "not_deleted"):
                raise
            return perimeter.find(account, stack)
        return None
    if status == "DELETE_FAILED" and not deleting:
        raise CloudError(
            f"the stack {stack} was to be deleted and is not gone: "
            "end that with `pomona aws down --with-data`"
        )
    if status == "UPDATE_ROLLBACK_FAILED" and not deleting:
        raise CloudError(
            f"CloudFormation could not undo a change of the stack {stack}: run `aws cloudformation "
            f"continue-update-rollback --stack-name {stack}`, then this command again"
        )
    return described


def delete(account: Account, stack: str, progress: Progress) -> None:
    """Deletes a stack, and waits until it is gone.

    Parameters
    ----------
    account : Account
        Where it is.
    stack : str
        Its name.
    progress : Progress
        Is told what is waited for.

    Raises
    ------
    CloudError
        If a resource cannot be deleted, such as a bucket that holds objects.
    """
    described = perimeter.find(account, stack)
    if described is None:
        return
    account.call("cloudformation", "delete_stack", StackName=stack)
    left = wait(account, described["StackId"], progress)
    if left is not None and left["StackStatus"] != "DELETE_COMPLETE":
        raise CloudError(failure(account, described["StackId"]), "not_deleted")


def drop_change_set(account: Account, stack: str) -> None:
    """Removes the change set, if there is one.

    Parameters
    ----------
    account : Account
        Where the stack is.
    stack : str
        Its name; there may be none.
    """
    try:
        account.call(
            "cloudformation", "delete_change_set", StackName=stack, ChangeSetName=CHANGE_SET
        )
    except CloudError as exc:
        is_gone = exc.reason == "ValidationError" and "does not exist" in str(exc)
        if not is_gone and exc.reason != "ChangeSetNotFound":
            raise


def _change(answer: dict[str, Any]) -> Change:
    change = answer["ResourceChange"]
    action = {"Add": "make", "Modify": "change", "Remove": "remove"}.get(change["Action"], "change")
    if change.get("Replacement") == "True":
        action = "replace"
    return Change(action, change["LogicalResourceId"], change["ResourceType"])
