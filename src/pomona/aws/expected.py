"""What the template says of each piece, once its parameters and the pieces' names are known.

`perimeter.json` is `perimeter.yaml` in a form that Python reads by itself; a test holds one against
the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from pomona.aws.account import Account


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


@cache
def template() -> dict[str, Any]:
    """Returns the template with its functions in their long form."""
    text = (resources.files("pomona.aws") / "perimeter.json").read_text(encoding="utf-8")
    read: dict[str, Any] = json.loads(text)
    return read


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
    wanted = {n: each for n, each in plan["Resources"].items() if is_made(each, plan, names)}
    names |= {name: ids.get(name, f"({name})") for name in plan["Resources"]}
    where = f"{account.region}:{account_id}"
    attributes = {"Application.ApplicationId": names["Application"]}
    for name, each in plan["Resources"].items():
        attributes[f"{name}.Arn"] = {
            "AWS::S3::Bucket": f"arn:{account.partition}:s3:::{names[name]}",
            "AWS::KMS::Key": f"arn:{account.partition}:kms:{where}:key/{names[name]}",
            "AWS::IAM::Role": f"arn:{account.partition}:iam::{account_id}:role/{names[name]}",
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


def is_made(resource: Mapping[str, Any], plan: Mapping[str, Any], names: Mapping[str, Any]) -> bool:
    """Returns whether the condition of a resource, or of an output, holds.

    Parameters
    ----------
    resource : mapping
        A resource or an output of the template.
    plan : mapping
        The template.
    names : mapping
        What `Ref` gives.
    """
    return bool(evaluate(plan["Conditions"].get(resource.get("Condition"), True), names, {}))


def evaluate(node: Any, names: Mapping[str, Any], attributes: Mapping[str, str]) -> Any:
    """Returns a part of the template with every function done that it takes.

    Parameters
    ----------
    node : object
        The part.
    names : mapping
        What `Ref` gives, of parameters and resources alike.
    attributes : mapping
        What `Fn::GetAtt` gives, by "RESOURCE.ATTRIBUTE".

    Raises
    ------
    KeyError
        If it names what is not there.
    NotImplementedError
        For another function.
    """
    if isinstance(node, list):
        return [evaluate(each, names, attributes) for each in node]
    if not isinstance(node, dict):
        return node
    if len(node) == 1:
        [(function, argument)] = node.items()
        if function == "Ref":
            return names[argument]
        if function == "Fn::GetAtt":
            return attributes[".".join(argument)]
        if function == "Fn::Equals":
            first, second = evaluate(argument, names, attributes)
            return first == second
        if function == "Fn::Sub":
            known = {**names, **attributes}
            return re.sub(r"\$\{([^}]+)\}", lambda found: str(known[found[1]]), argument)
        if function.startswith("Fn::"):
            raise NotImplementedError(function)
    return {key: evaluate(each, names, attributes) for key, each in node.items()}
