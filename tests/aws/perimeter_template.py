"""The perimeter's template, parsed, and what it says once its parameters have values.

Run as a program, it prints what `src/pomona/aws/perimeter.json` holds.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from cfnlint.decode import decode_str

from pomona.aws.perimeter import template as shipped
from pomona.aws.template import conditions, evaluate, is_made

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


@cache
def parse(template: str) -> dict[str, Any]:
    """A template with its functions in their long form."""
    decoded, errors = decode_str(template)
    assert not errors
    parsed: dict[str, Any] = json.loads(json.dumps(decoded))
    return parsed


def resolve(**given: str | int) -> Resources:
    """The template's resources by their names, with every function of CloudFormation done.

    Parameters
    ----------
    **given
        Parameters; the others have their defaults.
    """
    template = parse(shipped())
    defaults = {
        name: each["Default"] for name, each in template["Parameters"].items() if "Default" in each
    }
    names: dict[str, Any] = {**PSEUDO, **defaults, "AlertEmail": EMAIL, **given}
    names |= conditions(template, names)
    for name, each in template["Resources"].items():
        names[name] = STACK if each["Type"] == "AWS::CloudTrail::Trail" else f"{STACK}-{name}"
        if each["Type"] == "AWS::S3::Bucket":
            names[name] = evaluate(each["Properties"]["BucketName"], names, {})
    arns = {
        f"{name}.Arn": _arn(each["Type"], names[name])
        for name, each in template["Resources"].items()
    }
    arns["Application.ApplicationId"] = names["Application"]
    for name, each in template["Resources"].items():
        if each["Type"] in ("AWS::IAM::ManagedPolicy", "AWS::SNS::Topic"):
            names[name] = arns[f"{name}.Arn"]
    return {
        name: evaluate(each, names, arns)
        for name, each in template["Resources"].items()
        if is_made(each, template, names)
    }


def _arn(kind: str, name: str) -> str:
    here = f"{REGION}:{ACCOUNT}"
    return {
        "AWS::S3::Bucket": f"arn:aws:s3:::{name}",
        "AWS::KMS::Key": f"arn:aws:kms:{here}:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/{name}",
        "AWS::IAM::ManagedPolicy": f"arn:aws:iam::{ACCOUNT}:policy/{name}",
        "AWS::SNS::Topic": f"arn:aws:sns:{here}:{name}",
        "AWS::CloudTrail::Trail": f"arn:aws:cloudtrail:{here}:trail/{name}",
    }.get(kind, "")


if __name__ == "__main__":
    print(json.dumps(parse(shipped()), indent=1))
