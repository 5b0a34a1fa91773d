"""The perimeter: the CloudFormation stack of all that pomona needs in an account.

`perimeter.yaml` beside this module is its template; `docs/aws.md` tells what each piece is for.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any

from pomona.aws.account import Account
from pomona.errors import CloudError

STACK = "pomona"
# States of a stack that has, or had, everything its outputs name.
SETTLED = (
    "CREATE_COMPLETE",
    "UPDATE_COMPLETE",
    "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
    "UPDATE_IN_PROGRESS",
    "UPDATE_ROLLBACK_COMPLETE",
    "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
    "UPDATE_ROLLBACK_IN_PROGRESS",
)


@dataclass(frozen=True)
class Perimeter:
    """What the stack is made of: its outputs.

    Parameters
    ----------
    stack : str
        Its name.
    key_arn : str
        The key that encrypts all of it.
    images, results, logs, audit : str
        Names of the buckets.
    application_id : str
        The application of EMR Serverless. "" here and below: `pomona aws down` has removed it.
    job_role_arn : str
        What its jobs run as.
    node_profile : str
        The instance profile of a cluster's nodes.
    service_role_arn : str
        What EMR makes clusters as.
    security_configuration : str
        EMR's, by which nodes encrypt.
    """

    stack: str
    key_arn: str
    images: str
    results: str
    logs: str
    audit: str
    application_id: str
    job_role_arn: str
    node_profile: str
    service_role_arn: str
    security_configuration: str


def template() -> str:
    """Returns the template as it is shipped."""
    return (resources.files("pomona.aws") / "perimeter.yaml").read_text(encoding="utf-8")


def find(account: Account, stack: str = STACK) -> dict[str, Any] | None:
    """Returns what CloudFormation says of the stack; None if there is none.

    Parameters
    ----------
    account : Account
        Where to look.
    stack : str
        Its name, or its id, by which a deleted stack is still found.

    Raises
    ------
    CloudError
        If AWS refuses to say.
    """
    try:
        found = account.call("cloudformation", "describe_stacks", StackName=stack)["Stacks"]
    except CloudError as exc:
        if exc.reason == "ValidationError" and "does not exist" in str(exc):
            return None
        raise
    described: dict[str, Any] = found[0]
    return described


def read(account: Account, stack: str = STACK, *, computing: bool = False) -> Perimeter:
    """Returns what the stack is made of.

    Parameters
    ----------
    account : Account
        Where it is.
    stack : str
        Its name.
    computing : bool
        Whether what computes must be there, and not the data alone.

    Raises
    ------
    CloudError
        If there is no such stack, it is not whole, or AWS refuses to say.
    """
    described = find(account, stack)
    where = f"{stack} in {account.region}"
    if described is None or described["StackStatus"] == "REVIEW_IN_PROGRESS":
        raise CloudError(f"there is no stack {where}: `pomona aws up` makes it", "no_stack")
    outputs = {each["OutputKey"]: each["OutputValue"] for each in described.get("Outputs", ())}
    if described["StackStatus"] not in SETTLED or "KeyArn" not in outputs:
        raise CloudError(
            f"the stack {where} is not whole ({described['StackStatus']}): `pomona aws up` goes on",
            "no_stack",
        )
    perimeter = Perimeter(
        stack=stack,
        key_arn=outputs["KeyArn"],
        images=outputs["ImagesBucket"],
        results=outputs["ResultsBucket"],
        logs=outputs["LogsBucket"],
        audit=outputs["AuditBucket"],
        application_id=outputs.get("ApplicationId", ""),
        job_role_arn=outputs.get("JobRoleArn", ""),
        node_profile=outputs.get("NodeProfile", ""),
        service_role_arn=outputs.get("ServiceRoleArn", ""),
        security_configuration=outputs.get("SecurityConfiguration", ""),
    )
    if computing and not perimeter.application_id:
        raise CloudError(
            f"the stack {where} holds only its data since `pomona aws down`: "
            "`pomona aws up` creates the compute resources again",
            "no_stack",
        )
    return perimeter
