"""What the template says of each piece, once its parameters and the pieces' names are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pomona.aws.account import Account
from pomona.aws.template import conditions, evaluate, is_made, template


@dataclass(frozen=True)
class Expected:
    """A piece as it should be.

    Parameters
    ----------
    name : str
        Its name in the template.
    type : str
        CloudFormation's type of it.
    id : str
        Its name or id in the account; "" if the stack has it not.
    properties : dict
        The template's, with every function done.
    """

    name: str
    type: str
    id: str
    properties: Mapping[str, Any]


def expect(
    account: Account, account_id: str, stack: Mapping[str, Any], ids: Mapping[str, str]
) -> dict[str, Expected]:
    """Returns every piece that a stack should have, by its name.

    Parameters
    ----------
    account : Account
        Where the stack is.
    account_id : str
        The account's number.
    stack : mapping
        What CloudFormation says of it.
    ids : mapping of str to str
        What there is of it: ids by names in the template.
    """
    plan = template()
    given = {each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters", ())}
    defaults = {key: each.get("Default") for key, each in plan["Parameters"].items()}
    names: dict[str, Any] = {
        "AWS::AccountId": account_id,
        "AWS::Partition": account.partition,
        "AWS::Region": account.region,
        "AWS::StackName": stack["StackName"],
        "AWS::URLSuffix": "amazonaws.eu" if account.partition == "aws-eusc" else "amazonaws.com",
        **defaults,
        **given,
    }
    names |= conditions(plan, names)
    wanted = {n: each for n, each in plan["Resources"].items() if is_made(each, plan, names)}
    names |= {name: ids.get(name, f"({name})") for name in plan["Resources"]}
    where = f"{account.region}:{account_id}"
    attributes = {"Application.ApplicationId": names["Application"]}
    for name, each in plan["Resources"].items():
        attributes[f"{name}.Arn"] = {
            "AWS::S3::Bucket": f"arn:{account.partition}:s3:::{names[name]}",
            "AWS::KMS::Key": f"arn:{account.partition}:kms:{where}:key/{names[name]}",
            "AWS::IAM::Role": f"arn:{account.partition}:iam::{account_id}:role/{names[name]}",
            "AWS::CloudTrail::Trail": f"arn:{account.partition}:cloudtrail:{where}:trail/"
            f"{names[name]}",
        }.get(each["Type"], "")
    return {
        name: Expected(
            name,
            each["Type"],
            ids.get(name, ""),
            evaluate(each.get("Properties", {}), names, attributes),
        )
        for name, each in wanted.items()
    }
