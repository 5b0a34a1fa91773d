"""What the template's policies let people do: what `pomona aws` calls after `up`, and no more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aws_commands import REGION, calls, run_aws, up
from iam_policies import Request, as_list, is_allowed
from moto_server import MotoServer
from perimeter_rules import WITHOUT_RESOURCE, key_arn, of
from perimeter_template import ACCOUNT, resolve

pytest_plugins = ("aws_account",)
PAGE = Path(__file__).parents[2] / "docs" / "aws.md"
PERIMETER = resolve()
POLICIES = of(PERIMETER, "AWS::IAM::ManagedPolicy")
BUCKETS = {name: each["BucketName"] for name, each in of(PERIMETER, "AWS::S3::Bucket").items()}
KEY = key_arn(PERIMETER)
HERE = f"{REGION}:{ACCOUNT}"
APPLICATION = f"arn:aws:emr-serverless:{HERE}:/applications/pomona-Application"
JOB = f"{APPLICATION}/jobruns/00a"
STACK = f"arn:aws:cloudformation:{HERE}:stack/pomona/0123"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/pomona-"
TOPIC = f"arn:aws:sns:{HERE}:pomona-Alerts"
TRAIL = f"arn:aws:cloudtrail:{HERE}:trail/pomona"
VIA_S3 = {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}
VIA_SERVERLESS = {"kms:ViaService": f"emr-serverless.{REGION}.amazonaws.com"}
TO_SERVERLESS = {"iam:PassedToService": "emr-serverless.amazonaws.com"}


def at(bucket: str, key: str = "") -> str:
    return f"arn:aws:s3:::{BUCKETS[bucket]}" + (f"/{key}" if key else "")


def may(policies: tuple[str, ...], action: str, resource: str, **context: str) -> bool:
    given = {"aws:SecureTransport": "true", **context}
    request = Request(f"arn:aws:iam::{ACCOUNT}:user/ada", action, resource, given)
    buckets = [
        each["PolicyDocument"]
        for each in of(PERIMETER, "AWS::S3::BucketPolicy").values()
        if resource.startswith(f"arn:aws:s3:::{each['Bucket']}")
    ]
    return is_allowed(
        request, identity=[POLICIES[each]["PolicyDocument"] for each in policies], resource=buckets
    )


# What `pomona upload` and the commands of `pomona aws` call after `up`: action, resource, context.
WORK: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("cloudformation:DescribeStacks", STACK, {}),
    *(("s3:ListBucket", at(each), {}) for each in ("Images", "Results", "Logs")),
    ("s3:ListBucketMultipartUploads", at("Images"), {}),
    *(("s3:" + each, at("Images", "photos/a.jpg"), {}) for each in ("GetObject", "PutObject")),
    ("s3:AbortMultipartUpload", at("Images", "photos/a.jpg"), {}),
    ("s3:PutObject", at("Results", "environments/0a.tar.gz"), {}),
    *(
        ("s3:" + each, at("Results", "stores/out/pomona.json"), {})
        for each in ("GetObject", "PutObject", "DeleteObject", "AbortMultipartUpload")
    ),
    ("s3:GetObject", at("Logs", "serverless/applications/0/jobs/0/driver.gz"), {}),
    ("kms:Decrypt", KEY, VIA_S3),
    ("kms:GenerateDataKey", KEY, VIA_S3),
    *((f"kms:{each}", KEY, VIA_SERVERLESS) for each in ("GenerateDataKey", "Decrypt")),
    ("emr-serverless:StartJobRun", APPLICATION, {}),
    ("emr-serverless:TagResource", APPLICATION, {}),
    ("emr-serverless:TagResource", JOB, {}),
    ("emr-serverless:ListJobRuns", APPLICATION, {}),
    ("emr-serverless:GetApplication", APPLICATION, {}),
    ("emr-serverless:StopApplication", APPLICATION, {}),
    ("emr-serverless:GetJobRun", JOB, {}),
    ("emr-serverless:CancelJobRun", JOB, {}),
    ("iam:PassRole", f"{ROLE}JobRole", TO_SERVERLESS),
    ("pricing:GetProducts", "*", {}),
    ("ec2:DescribeSpotPriceHistory", "*", {}),
    ("emr-serverless:ListApplications", "*", {}),
)
# The action that IAM asks about for each call of the doctor, and of what.
LOOKS: dict[str, tuple[str, str]] = {
    "cloudformation.describe_stacks": ("cloudformation:DescribeStacks", STACK),
    "cloudformation.list_stack_resources": ("cloudformation:ListStackResources", STACK),
    "cloudformation.get_template": ("cloudformation:GetTemplate", STACK),
    "s3.get_bucket_location": ("s3:GetBucketLocation", at("Audit")),
    "s3.get_bucket_encryption": ("s3:GetEncryptionConfiguration", at("Images")),
    "s3.get_public_access_block": ("s3:GetBucketPublicAccessBlock", at("Images")),
    "s3.get_bucket_policy": ("s3:GetBucketPolicy", at("Logs")),
    "s3.get_bucket_replication": ("s3:GetReplicationConfiguration", at("Results")),
    "s3.get_bucket_lifecycle_configuration": ("s3:GetLifecycleConfiguration", at("Audit")),
    "s3.get_bucket_versioning": ("s3:GetBucketVersioning", at("Images")),
    "kms.describe_key": ("kms:DescribeKey", KEY),
    "kms.get_key_policy": ("kms:GetKeyPolicy", KEY),
    "kms.get_key_rotation_status": ("kms:GetKeyRotationStatus", KEY),
    "cloudtrail.get_trail": ("cloudtrail:GetTrail", TRAIL),
    "cloudtrail.get_trail_status": ("cloudtrail:GetTrailStatus", TRAIL),
    "cloudtrail.get_event_selectors": ("cloudtrail:GetEventSelectors", TRAIL),
    "sns.get_topic_attributes": ("sns:GetTopicAttributes", TOPIC),
    "sns.list_subscriptions_by_topic": ("sns:ListSubscriptionsByTopic", TOPIC),
    "budgets.describe_budget": (
        "budgets:ViewBudget",
        f"arn:aws:budgets::{ACCOUNT}:budget/pomona-Budget",
    ),
    "budgets.describe_notifications_for_budget": (
        "budgets:ViewBudget",
        f"arn:aws:budgets::{ACCOUNT}:budget/pomona-Budget",
    ),
    "iam.get_role": ("iam:GetRole", f"{ROLE}JobRole"),
    "iam.get_role_policy": ("iam:GetRolePolicy", f"{ROLE}NodeRole"),
    "iam.list_attached_role_policies": ("iam:ListAttachedRolePolicies", f"{ROLE}JobRole"),
    "iam.list_role_policies": ("iam:ListRolePolicies", f"{ROLE}ServiceRole"),
    "iam.get_policy": ("iam:GetPolicy", f"arn:aws:iam::{ACCOUNT}:policy/pomona-DataAccess"),
    "iam.get_policy_version": (
        "iam:GetPolicyVersion",
        f"arn:aws:iam::{ACCOUNT}:policy/pomona-UserAccess",
    ),
    "iam.get_instance_profile": (
        "iam:GetInstanceProfile",
        f"arn:aws:iam::{ACCOUNT}:instance-profile/pomona-NodeProfile",
    ),
    "emr-serverless.get_application": ("emr-serverless:GetApplication", APPLICATION),
    "emr-serverless.list_job_runs": ("emr-serverless:ListJobRuns", APPLICATION),
    "emr-serverless.list_applications": ("emr-serverless:ListApplications", "*"),
    "emr.list_clusters": ("elasticmapreduce:ListClusters", "*"),
    "emr.describe_security_configuration": ("elasticmapreduce:DescribeSecurityConfiguration", "*"),
    "service-quotas.list_service_quotas": ("servicequotas:ListServiceQuotas", "*"),
}
BOTH = ("UserAccess", "DoctorAccess")
# As docs/aws.md lists them.
DENIED: dict[str, tuple[str, str, dict[str, str]]] = {
    "delete an image": ("s3:DeleteObject", at("Images", "a.jpg"), {}),
    "change or delete a log": ("s3:DeleteObject", at("Logs", "serverless/a.gz"), {}),
    "read the audit records": ("s3:GetObject", at("Audit", "AWSLogs/a"), {}),
    "stop the trail": ("cloudtrail:StopLogging", TRAIL, {}),
    "replace the certificates of nodes": (
        "s3:PutObject",
        at("Results", "certificates/nodes.zip"),
        {},
    ),
    "use another bucket": ("s3:PutObject", "arn:aws:s3:::elsewhere/a", {}),
    "upload with SSE-S3": (
        "s3:PutObject",
        at("Images", "a.jpg"),
        {"s3:x-amz-server-side-encryption": "AES256"},
    ),
    "upload without TLS": (
        "s3:PutObject",
        at("Images", "a.jpg"),
        {"aws:SecureTransport": "false"},
    ),
    "make a bucket public": ("s3:PutBucketPolicy", at("Images"), {}),
    "use the key outside S3 and EMR Serverless": ("kms:Decrypt", KEY, {}),
    "delete the key": ("kms:ScheduleKeyDeletion", KEY, {}),
    "pass another role to jobs": ("iam:PassRole", f"{ROLE}NodeRole", TO_SERVERLESS),
    "pass the jobs' role to another service": (
        "iam:PassRole",
        f"{ROLE}JobRole",
        {"iam:PassedToService": "ec2.amazonaws.com"},
    ),
    "run jobs in another application": (
        "emr-serverless:StartJobRun",
        f"arn:aws:emr-serverless:{HERE}:/applications/other",
        {},
    ),
    "raise the application's maximum": ("emr-serverless:UpdateApplication", APPLICATION, {}),
    "start an EMR cluster": ("elasticmapreduce:RunJobFlow", "*", {}),
    "start an EC2 instance": ("ec2:RunInstances", "*", {}),
    "change the stack": ("cloudformation:CreateChangeSet", STACK, {}),
    "give themselves more permissions": (
        "iam:AttachUserPolicy",
        f"arn:aws:iam::{ACCOUNT}:user/ada",
        {},
    ),
}


@pytest.mark.parametrize("call", WORK, ids=lambda call: call[0])
def test_people_may_do_what_pomona_does(call: tuple[str, str, dict[str, str]]) -> None:
    action, resource, context = call
    assert may(("UserAccess",), action, resource, **context)


def test_the_doctor_may_read_what_it_asks_for(aws: MotoServer) -> None:
    up()
    with calls() as made:
        run_aws("doctor", "--region", REGION)
    assert set(made) - {"sts.get_caller_identity"} == LOOKS.keys()  # which nobody can be denied
    assert [call for call, look in LOOKS.items() if not may(("DoctorAccess",), *look)] == []


@pytest.mark.parametrize("name", DENIED)
def test_people_may_not(name: str) -> None:
    action, resource, context = DENIED[name]
    assert not may(BOTH, action, resource, **context)


def test_the_page_lists_what_people_may_not() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in DENIED if f"| {name} |" not in page] == []


def test_no_policy_for_people_is_wider_than_its_calls() -> None:
    called = {
        "UserAccess": {each[0] for each in WORK},
        "DoctorAccess": {a for a, _ in LOOKS.values()},
    }
    for name, actions in called.items():
        statements = POLICIES[name]["PolicyDocument"]["Statement"]
        assert {action for each in statements for action in as_list(each["Action"])} == actions
    assert {action for action, resource, _ in WORK if resource == "*"} <= WITHOUT_RESOURCE


def test_each_policy_is_short_enough_for_iam() -> None:
    lengths = [
        len(json.dumps(each["PolicyDocument"], separators=(",", ":"))) for each in POLICIES.values()
    ]
    assert max(lengths) < 6144


def test_the_doctor_changes_nothing_by_its_rights() -> None:
    actions = {action.partition(":")[2] for action, _ in LOOKS.values()}
    assert {
        each for each in actions if not each.startswith(("Get", "List", "Describe", "View"))
    } == set()


def test_without_what_computes_no_role_and_no_application_is_named() -> None:
    policy = of(resolve(Scope="data"), "AWS::IAM::ManagedPolicy")["UserAccess"]["PolicyDocument"]
    named = {each["Sid"]: as_list(each["Resource"]) for each in policy["Statement"]}
    assert named["GiveJobsTheirRole"] == [f"arn:aws:iam::{ACCOUNT}:role/none"]
    assert named["StartAndFollowJobs"] == [f"arn:aws:emr-serverless:{HERE}:/applications/none"]
