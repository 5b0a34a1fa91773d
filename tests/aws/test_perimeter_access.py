"""What the perimeter's roles may do: all that pomona does, and nothing else."""

from __future__ import annotations

import ast
from copy import deepcopy
from pathlib import Path

import pytest
from iam_policies import Policy, Request, as_list, is_allowed
from perimeter_rules import key_arn, of
from perimeter_template import ACCOUNT, REGION, resolve

import pomona.s3

PAGE = Path(__file__).parents[2] / "docs" / "aws.md"
PERIMETER = resolve()
BUCKETS = {name: each["BucketName"] for name, each in of(PERIMETER, "AWS::S3::Bucket").items()}
KEY = key_arn(PERIMETER)
ROLES = {
    name: f"arn:aws:iam::{ACCOUNT}:role/pomona-{name}" for name in of(PERIMETER, "AWS::IAM::Role")
}
JOBS = ("JobRole", "NodeRole")
TLS = {"aws:SecureTransport": "true"}
SSE = "s3:x-amz-server-side-encryption"
VIA_S3 = {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}
# The action that IAM asks about, for each call in s3/.
ACTIONS = {
    "head_bucket": "s3:ListBucket",
    "list_objects_v2": "s3:ListBucket",
    "list_multipart_uploads": "s3:ListBucketMultipartUploads",
    "get_object": "s3:GetObject",
    "head_object": "s3:GetObject",
    "put_object": "s3:PutObject",
    "create_multipart_upload": "s3:PutObject",
    "upload_part": "s3:PutObject",
    "complete_multipart_upload": "s3:PutObject",
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "delete_object": "s3:DeleteObject",
    "delete_objects": "s3:DeleteObject",
}
READS = ("s3:ListBucket", "s3:GetObject")


def policies_of(role: str) -> list[Policy]:
    """What a role may do; AWS's own policies are not here."""
    own = PERIMETER[role]["Properties"]
    data = of(PERIMETER, "AWS::IAM::ManagedPolicy")["DataAccess"]
    attached = [data] if any(ACCOUNT in arn for arn in own["ManagedPolicyArns"]) else []
    return [each["PolicyDocument"] for each in (*attached, *own.get("Policies", []))]


def policies_on(resource: str) -> list[Policy]:
    """The policies of the bucket or key that a request is about."""
    if resource == KEY:
        return [PERIMETER["Key"]["Properties"]["KeyPolicy"]]
    bucket = resource.removeprefix("arn:aws:s3:::").partition("/")[0]
    found = of(PERIMETER, "AWS::S3::BucketPolicy").values()
    return [each["PolicyDocument"] for each in found if each["Bucket"] == bucket]


def may(role: str, action: str, resource: str, **context: str) -> bool:
    principal = ROLES[role]
    given = {**(TLS if action.startswith("s3:") else {}), **context}
    request = Request(principal, action, resource, given)
    return is_allowed(request, identity=policies_of(role), resource=policies_on(resource))


def at(bucket: str, key: str = "") -> str:
    return f"arn:aws:s3:::{BUCKETS[bucket]}" + (f"/{key}" if key else "")


def calls_of_pomona() -> set[str]:
    """Every call of botocore's client for S3 in the room that alone speaks S3."""
    found = set()
    for path in Path(pomona.s3.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr == "get_paginator":
                    found.add(ast.literal_eval(node.args[0]))
                elif ast.unparse(node.func.value) in ("client", "at.client"):
                    found.add(node.func.attr)
    return found


@pytest.mark.parametrize("role", JOBS)
def test_jobs_may_make_every_call_that_pomona_makes(role: str) -> None:
    assert calls_of_pomona() == ACTIONS.keys()
    for action in set(ACTIONS.values()):
        key = "stores/out/features/part-00001.parquet" if "Object" in action else ""
        key = "stores/out/x" if action == "s3:AbortMultipartUpload" else key
        assert may(role, action, at("Results", key)), action
        if action in READS:
            assert may(role, action, at("Images", "a.jpg" if key else "")), action
    assert may(role, "s3:PutObject", at("Results", "stores/a"), **{SSE: "aws:kms"})
    ours = {SSE: "aws:kms", f"{SSE}-aws-kms-key-id": KEY}
    assert may(role, "s3:PutObject", at("Results", "stores/a"), **ours)
    assert may(role, "s3:GetObject", at("Results", "environments/a.tar.gz"))
    assert may(role, "s3:PutObject", at("Logs", "serverless/a.gz"))
    assert may(role, "kms:Decrypt", KEY, **VIA_S3)
    assert may(role, "kms:GenerateDataKey", KEY, **VIA_S3)
    assert may(role, "kms:GenerateDataKey", KEY)  # for logs


PUT = ("s3:PutObject", at("Results", "stores/a"))
# Who, what, of what, with which keys of conditions; as docs/aws.md lists them.
DENIED: dict[str, tuple[tuple[str, ...], str, str, dict[str, str]]] = {
    "read another bucket": (JOBS, "s3:GetObject", "arn:aws:s3:::elsewhere/a.jpg", {}),
    "list another bucket": (JOBS, "s3:ListBucket", "arn:aws:s3:::elsewhere", {}),
    "write or replace an image": (JOBS, "s3:PutObject", at("Images", "a.jpg"), {}),
    "delete an image": (JOBS, "s3:DeleteObject", at("Images", "a.jpg"), {}),
    "replace an environment": (JOBS, "s3:PutObject", at("Results", "environments/a"), {}),
    "write outside the stores": (JOBS, "s3:PutObject", at("Results", "a"), {}),
    "read a log": (JOBS, "s3:GetObject", at("Logs", "serverless/a.gz"), {}),
    "delete a log": (JOBS, "s3:DeleteObject", at("Logs", "serverless/a.gz"), {}),
    "read the audit records": (JOBS, "s3:GetObject", at("Audit", "AWSLogs/a"), {}),
    "delete an audit record": (JOBS, "s3:DeleteObject", at("Audit", "AWSLogs/a"), {}),
    "read an image without TLS": (
        JOBS,
        "s3:GetObject",
        at("Images", "a.jpg"),
        {"aws:SecureTransport": "false"},
    ),
    "write a result without TLS": (JOBS, *PUT, {"aws:SecureTransport": "false"}),
    "write with SSE-S3": (JOBS, *PUT, {SSE: "AES256"}),
    "write with another key": (
        JOBS,
        *PUT,
        {SSE: "aws:kms", f"{SSE}-aws-kms-key-id": f"arn:aws:kms:us-east-1:{ACCOUNT}:key/other"},
    ),
    "change the policy of a bucket": (JOBS, "s3:PutBucketPolicy", at("Results"), {}),
    "delete a bucket": (JOBS, "s3:DeleteBucket", at("Results"), {}),
    "use the key through another service": (
        ("JobRole",),
        "kms:Decrypt",
        KEY,
        {"kms:ViaService": f"ec2.{REGION}.amazonaws.com"},
    ),
    "use the key in another region": (
        ("JobRole",),
        "kms:Decrypt",
        KEY,
        {"kms:ViaService": "s3.us-east-1.amazonaws.com"},
    ),
    "use another key": (JOBS, "kms:Decrypt", KEY.replace("1234abcd", "ffffffff"), VIA_S3),
    "delete the key": (
        (*JOBS, "ServiceRole"),
        "kms:ScheduleKeyDeletion",
        KEY,
        VIA_S3,
    ),
    "pass a role to anything": (JOBS, "iam:PassRole", ROLES["NodeRole"], {}),
    "pass another role to nodes": (
        ("ServiceRole",),
        "iam:PassRole",
        f"arn:aws:iam::{ACCOUNT}:role/Admin",
        {"iam:PassedToService": "ec2.amazonaws.com"},
    ),
    "pass the nodes' role to another service": (
        ("ServiceRole",),
        "iam:PassRole",
        ROLES["NodeRole"],
        {"iam:PassedToService": "lambda.amazonaws.com"},
    ),
    "start a cluster or an instance": (JOBS, "ec2:RunInstances", "*", {}),
    "start another job": (JOBS, "emr-serverless:StartJobRun", "*", {}),
}


@pytest.mark.parametrize("name", DENIED)
def test_roles_may_not(name: str) -> None:
    roles, action, resource, context = DENIED[name]
    assert not any(may(role, action, resource, **context) for role in roles)


def test_the_page_lists_what_is_denied() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in DENIED if f"| {name} |" not in page] == []


def test_emr_gives_nodes_their_role_and_encrypts_their_volumes() -> None:
    passed = {"iam:PassedToService": "ec2.amazonaws.com"}
    assert may("ServiceRole", "iam:PassRole", ROLES["NodeRole"], **passed)
    via = {"kms:ViaService": f"ec2.{REGION}.amazonaws.com"}
    for action in ("kms:GenerateDataKeyWithoutPlaintext", "kms:Decrypt", "kms:ReEncryptFrom"):
        assert may("ServiceRole", action, KEY, **via)
        assert not may("ServiceRole", action, KEY, **VIA_S3)
    assert may(
        "ServiceRole", "kms:CreateGrant", KEY, **via, **{"kms:GrantIsForAWSResource": "true"}
    )
    assert not may("ServiceRole", "kms:CreateGrant", KEY, **via)
    assert may("NodeRole", "kms:GenerateDataKey", KEY)
    assert may("NodeRole", "s3:GetObject", at("Results", "certificates/nodes.zip"))
    assert not may("JobRole", "s3:GetObject", at("Results", "certificates/nodes.zip"))


@pytest.mark.parametrize(
    ("role", "service", "arn"),
    [
        ("JobRole", "emr-serverless", f"arn:aws:emr-serverless:{REGION}:{{}}:/applications/00a"),
        ("ServiceRole", "elasticmapreduce", f"arn:aws:elasticmapreduce:{REGION}:{{}}:cluster/j-1"),
    ],
)
def test_a_role_is_assumed_by_its_service_for_this_account_alone(
    role: str, service: str, arn: str
) -> None:
    trust = PERIMETER[role]["Properties"]["AssumeRolePolicyDocument"]

    def assumes(by: str, account: str, source: str) -> bool:
        context = {"aws:SourceAccount": account, "aws:SourceArn": source.format(account)}
        request = Request(f"{by}.amazonaws.com", "sts:AssumeRole", ROLES[role], context)
        return is_allowed(request, resource=[trust])

    assert assumes(service, ACCOUNT, arn)
    assert not assumes(service, "999999999999", arn)
    assert not assumes(service, ACCOUNT, arn.replace(REGION, "us-east-1"))
    assert not assumes("lambda", ACCOUNT, arn)


def test_the_trail_writes_its_files_and_another_trail_does_not() -> None:
    trail = f"arn:aws:cloudtrail:{REGION}:{ACCOUNT}:trail/"
    acl = {"s3:x-amz-acl": "bucket-owner-full-control", **TLS}

    def writes(name: str, key: str) -> bool:
        context = {**acl, "aws:SourceArn": trail + name}
        request = Request("cloudtrail.amazonaws.com", "s3:PutObject", at("Audit", key), context)
        return is_allowed(request, resource=policies_on(at("Audit")))

    def encrypts(name: str) -> bool:
        context = {
            "aws:SourceArn": trail + name,
            "kms:EncryptionContext:aws:cloudtrail:arn": trail + name,
        }
        request = Request("cloudtrail.amazonaws.com", "kms:GenerateDataKey", KEY, context)
        return is_allowed(request, resource=policies_on(KEY))

    assert writes("pomona", f"AWSLogs/{ACCOUNT}/CloudTrail/a.json.gz")
    assert not writes("other", f"AWSLogs/{ACCOUNT}/CloudTrail/a.json.gz")
    assert not writes("pomona", "AWSLogs/999999999999/CloudTrail/a.json.gz")
    assert (encrypts("pomona"), encrypts("other")) == (True, False)


def test_no_policy_of_a_role_is_wider_than_its_calls() -> None:
    """What jobs are allowed of S3 is what pomona calls, and nothing else."""
    data = of(PERIMETER, "AWS::IAM::ManagedPolicy")["DataAccess"]
    granted = {
        action
        for each in data["PolicyDocument"]["Statement"]
        for action in as_list(each["Action"])
        if action.startswith("s3:")
    }
    assert granted == set(ACTIONS.values())


def test_an_upload_that_names_no_encryption_gets_the_buckets_own() -> None:
    """Without its Null, the denial of other keys would refuse it too."""
    trap = deepcopy(policies_on(at("Results")))
    for statement in trap[0]["Statement"]:
        statement["Condition"].pop("Null", None)
    request = Request(ROLES["JobRole"], *PUT, TLS)
    identity = policies_of("JobRole")
    assert is_allowed(request, identity=identity, resource=policies_on(at("Results")))
    assert not is_allowed(request, identity=identity, resource=trap)
