"""Examination: everything that `pomona aws doctor` looks at, in the order of its table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pomona.aws import perimeter
from pomona.aws.account import Account
from pomona.aws.doctor import compute, oversight, rights, storage
from pomona.aws.doctor.finding import FAILURE, OK, WARNING, Finding, Scene, judge
from pomona.aws.expected import expect
from pomona.s3.region_guard import is_aws


@dataclass(frozen=True)
class Examination:
    """What `examine` has found.

    Parameters
    ----------
    account_id, region, stack : str
        Where it has looked.
    findings : tuple of Finding
        One for each check.
    scene : Scene, optional
        What was looked at; None: there is no stack.
    """

    account_id: str
    region: str
    stack: str
    findings: tuple[Finding, ...]
    scene: Scene | None

    @property
    def failures(self) -> int:
        """How many findings fail."""
        return sum(each.state == FAILURE for each in self.findings)


def examine(account: Account, stack: str = perimeter.STACK) -> Examination:
    """Looks at an account and all of the perimeter; changes nothing.

    Parameters
    ----------
    account : Account
        The account.
    stack : str
        The perimeter's name.

    Raises
    ------
    CloudError
        If the credentials are not accepted, or AWS cannot be reached.
    """
    who = account.call("sts", "get_caller_identity")
    findings = list(_account(account, who))
    described = perimeter.find(account, stack)
    scene = None
    if described is None or described["StackStatus"] == "REVIEW_IN_PROGRESS":
        missing = f"there is none in {account.region}"
        findings.append(Finding("stack", "exists", FAILURE, missing, "`pomona aws up` makes it"))
    else:
        ids = {
            each["LogicalResourceId"]: each["PhysicalResourceId"]
            for each in account.pages(
                "cloudformation", "list_stack_resources", "StackResourceSummaries", StackName=stack
            )
            if each.get("PhysicalResourceId")
            and each["ResourceStatus"] not in ("DELETE_COMPLETE", "DELETE_SKIPPED")
        }
        expected = expect(account, who["Account"], described, ids)
        scene = Scene(account, who["Account"], expected)
        findings += _stack(account, described, scene)
        for look in (storage, rights, compute, oversight):
            findings += look.check(scene)
    return Examination(who["Account"], account.region, stack, tuple(findings), scene)


def _account(account: Account, who: dict[str, Any]) -> Iterator[Finding]:
    yield Finding("account", "region", OK, f"{who['Account']} in {account.region}")
    is_root = who["Arn"].endswith(":root")
    yield judge(
        "account",
        "credentials",
        not is_root,
        "accepted; those of the root user" if is_root else "accepted",
        "use those of a role or a user: nothing bounds the root user",
        otherwise=WARNING,
    )
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    yield judge(
        "account",
        "endpoint",
        endpoint is None or is_aws(endpoint),
        "AWS's own" if endpoint is None else urlsplit(endpoint).netloc.rpartition("@")[2],
        "unset AWS_ENDPOINT_URL, unless this is a test",
        otherwise=WARNING,
    )


def _stack(account: Account, described: dict[str, Any], scene: Scene) -> Iterator[Finding]:
    status = described["StackStatus"]
    yield judge(
        "stack",
        "whole",
        status in perimeter.SETTLED,
        f"{described['StackName']}: {status}",
        "`pomona aws up` goes on",
    )
    made_from = account.call(
        "cloudformation", "get_template", StackName=described["StackName"], TemplateStage="Original"
    )["TemplateBody"]
    is_ours = str(made_from).split() == perimeter.template().split()
    yield judge(
        "stack",
        "this version's template",
        is_ours,
        "as shipped" if is_ours else "another version's",
        "`pomona aws up` brings it up to date",
        otherwise=WARNING,
    )
    missing = sorted(name for name, each in scene.expected.items() if not each.id)
    yield judge(
        "stack",
        "has every piece",
        not missing,
        f"without {', '.join(missing)}" if missing else f"{len(scene.expected)} pieces",
        "`pomona aws up` goes on",
    )
