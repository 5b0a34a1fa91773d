"""Traces: whether what a stack ever had is still there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pomona.aws.account import Account
from pomona.errors import CloudError

GONE, KEPT, LEFT, PENDING = "gone", "kept", "left", "pending"


@dataclass(frozen=True)
class Piece:
    """A resource that a stack has, or had: its name in the template, its type and its id."""

    name: str
    type: str
    id: str


@dataclass(frozen=True)
class Trace:
    """What a search for a resource has found.

    Parameters
    ----------
    name, type, id : str
        Which resource.
    state : {"gone", "kept", "left", "pending"}
        "kept" is there and should be, "left" is there and should not; "pending": a key that AWS
        deletes once its waiting time is over.
    evidence : str
        What AWS has said.
    """

    name: str
    type: str
    id: str
    state: str
    evidence: str


def pieces_ever(account: Account, stack: str) -> tuple[Piece, ...]:
    """Returns everything that a stack has made, by CloudFormation's own events.

    Parameters
    ----------
    account : Account
        Where it is, or was in the last 90 days.
    stack : str
        Its name.

    Raises
    ------
    CloudError
        If AWS refuses to say.
    """
    found: dict[tuple[str, str], Piece] = {}
    for arn in _stacks(account, stack):
        for each in account.pages(
            "cloudformation", "describe_stack_events", "StackEvents", StackName=arn
        ):
            kind, name = each["ResourceType"], each["LogicalResourceId"]
            if each.get("PhysicalResourceId") and kind in _LOOKS:
                key = (kind, each["PhysicalResourceId"])
                found.setdefault(key, Piece(name, *key))
    return tuple(sorted(found.values(), key=lambda piece: (piece.name, piece.id)))


def _stacks(account: Account, name: str) -> Iterator[str]:
    """The stack of a name, and the last one of that name that was deleted."""
    deleted = False
    for each in account.pages("cloudformation", "list_stacks", "StackSummaries"):
        if each["StackName"] != name:
            continue
        is_gone = each["StackStatus"] == "DELETE_COMPLETE"
        if not (is_gone and deleted):
            yield each["StackId"]
        deleted = deleted or is_gone


def look_for(account: Account, piece: Piece, *, is_kept: bool) -> Trace:
    """Asks the service itself for a resource.

    Parameters
    ----------
    account : Account
        Where it was.
    piece : Piece
        The resource.
    is_kept : bool
        Whether it should be there.

    Raises
    ------
    CloudError
        If AWS refuses to say.
    """
    try:
        state, evidence = _LOOKS[piece.type](account, piece.id)
    except CloudError as exc:
        if not any(word in f"{exc.reason} {exc}" for word in _NOT_THERE):
            raise
        state, evidence = GONE, f"not found ({exc.reason})"
    if state == LEFT and is_kept:
        state = KEPT
    return Trace(piece.name, piece.type, piece.id, state, evidence)


_NOT_THERE = ("NotFound", "NoSuch", "(404)", "does not exist")
_Look = Callable[[Account, str], tuple[str, str]]


def _by(service: str, operation: str, parameter: str) -> _Look:
    """A look that one call does, which raises for what is not there."""

    def look(account: Account, name: str) -> tuple[str, str]:
        account.call(service, operation, **{parameter: name})
        return LEFT, "it is there"

    return look


def _key(account: Account, name: str) -> tuple[str, str]:
    found: dict[str, Any] = account.call("kms", "describe_key", KeyId=name)["KeyMetadata"]
    if found["KeyState"] == "PendingDeletion":
        return PENDING, f"AWS deletes it on {found['DeletionDate']:%Y-%m-%d}; it costs nothing"
    return LEFT, "it is there"


def _application(account: Account, name: str) -> tuple[str, str]:
    found = account.call("emr-serverless", "get_application", applicationId=name)["application"]
    is_gone = found["state"] == "TERMINATED"
    return (GONE if is_gone else LEFT), found["state"].lower()


def _budget(account: Account, name: str) -> tuple[str, str]:
    number = account.call("sts", "get_caller_identity")["Account"]
    account.call("budgets", "describe_budget", AccountId=number, BudgetName=name)
    return LEFT, "it is there"


_LOOKS: dict[str, _Look] = {
    "AWS::KMS::Key": _key,
    "AWS::S3::Bucket": _by("s3", "head_bucket", "Bucket"),
    "AWS::CloudTrail::Trail": _by("cloudtrail", "get_trail", "Name"),
    "AWS::SNS::Topic": _by("sns", "get_topic_attributes", "TopicArn"),
    "AWS::Budgets::Budget": _budget,
    "AWS::IAM::ManagedPolicy": _by("iam", "get_policy", "PolicyArn"),
    "AWS::IAM::Role": _by("iam", "get_role", "RoleName"),
    "AWS::IAM::InstanceProfile": _by("iam", "get_instance_profile", "InstanceProfileName"),
    "AWS::EMRServerless::Application": _application,
    "AWS::EMR::SecurityConfiguration": _by("emr", "describe_security_configuration", "Name"),
}
