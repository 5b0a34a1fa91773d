"""The perimeter's template, parsed, and what it says once its parameters have values."""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import Any

from cfnlint.decode import decode_str

ACCOUNT, REGION, STACK = "111122223333", "eu-west-1", "pomona"
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackName": STACK,
    "AWS::URLSuffix": "amazonaws.com",
}
EMAIL = "somebody@example.org"
Resources = dict[str, Any]


def text() -> str:
    """The template as it is shipped."""
    return (resources.files("pomona.aws") / "perimeter.yaml").read_text(encoding="utf-8")


def resolve(**given: str | int) -> Resources:
    """The template's resources by their names, with every function of CloudFormation done.

    Parameters
    ----------
    **given
        Parameters; the others have their defaults.
    """
    decoded, errors = decode_str(text())
    assert not errors
    template = json.loads(json.dumps(decoded))
    defaults = {
        name: each["Default"] for name, each in template["Parameters"].items() if "Default" in each
    }
    values = {**PSEUDO, **defaults, "AlertEmail": EMAIL, **given}
    names = {
        name: f"{STACK}-{name}" if each["Type"] != "AWS::S3::Bucket" else ""
        for name, each in template["Resources"].items()
    }
    for name, each in template["Resources"].items():
        if each["Type"] == "AWS::S3::Bucket":
            names[name] = _value(each["Properties"]["BucketName"], values, {}, {})
    arns = {name: _arn(each["Type"], names[name]) for name, each in template["Resources"].items()}
    for name, each in template["Resources"].items():
        if each["Type"] in ("AWS::IAM::ManagedPolicy", "AWS::SNS::Topic"):
            names[name] = arns[name]
    conditions = {
        name: _value(each, values, names, arns) for name, each in template["Conditions"].items()
    }
    return {
        name: _value(each, values, names, arns)
        for name, each in template["Resources"].items()
        if conditions.get(each.get("Condition"), True)
    }


def _arn(kind: str, name: str) -> str:
    here = f"{REGION}:{ACCOUNT}"
    return {
        "AWS::S3::Bucket": f"arn:aws:s3:::{name}",
        "AWS::KMS::Key": f"arn:aws:kms:{here}:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/{name}",
        "AWS::IAM::ManagedPolicy": f"arn:aws:iam::{ACCOUNT}:policy/{name}",
        "AWS::SNS::Topic": f"arn:aws:sns:{here}:{name}",
    }.get(kind, "")


def _value(node: Any, values: dict[str, Any], names: dict[str, str], arns: dict[str, str]) -> Any:
    if isinstance(node, list):
        return [_value(each, values, names, arns) for each in node]
    if not isinstance(node, dict):
        return node
    if len(node) == 1:
        [(function, argument)] = node.items()
        if function == "Ref":
            return values[argument] if argument in values else names[argument]
        if function == "Fn::GetAtt":
            assert argument[1] == "Arn"
            return arns[argument[0]]
        if function == "Fn::Equals":
            first, second = _value(argument, values, names, arns)
            return first == second
        if function == "Fn::Sub":
            return re.sub(
                r"\$\{([^}]+)\}", lambda found: _named(found[1], values, names, arns), argument
            )
        assert not function.startswith("Fn::"), function
    return {key: _value(each, values, names, arns) for key, each in node.items()}


def _named(name: str, values: dict[str, Any], names: dict[str, str], arns: dict[str, str]) -> str:
    if name.endswith(".Arn"):
        return arns[name.removesuffix(".Arn")]
    return str(values[name] if name in values else names[name])
