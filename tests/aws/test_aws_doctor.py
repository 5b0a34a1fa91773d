"""`pomona aws doctor`: every defect is a finding with its evidence, and nothing is changed.

What it reads was made by the tests' own interpreter on moto's server; the quota is a stub's.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from account_state import state_of
from aws_commands import REGION, calls, refusal, run_aws, up
from moto_server import MotoServer
from template_resources import ACCOUNT
from werkzeug.wrappers import Response

from pomona.aws.doctor.finding import canonical, is_same

pytest_plugins = ("aws_account",)
BUCKET = f"pomona-{ACCOUNT}-{REGION}-"
READING = ("describe_", "get_", "list_")


def examine(*args: object) -> tuple[int, dict[tuple[str, str], dict[str, str]]]:
    """The exit status, and each finding by its piece and check."""
    ended = run_aws("doctor", "--region", REGION, "--json", *args)
    result = json.loads(ended.stdout)
    assert result["failures"] == sum(each["state"] == "failure" for each in result["findings"])
    return ended.status, {(each["piece"], each["check"]): each for each in result["findings"]}


def states(found: dict[tuple[str, str], dict[str, str]], state: str) -> set[tuple[str, str]]:
    return {key for key, each in found.items() if each["state"] == state}


def test_what_up_makes_is_well_and_is_not_changed(aws: MotoServer) -> None:
    up()
    before = state_of(aws)
    with calls() as made:
        status, found = examine()
    assert (status, states(found, "failure")) == (0, set())
    assert states(found, "warning") == {("account", "endpoint")}
    assert len(found) > 60
    assert all(each["evidence"] for each in found.values())
    assert found["Logs", "keeps what it says"]["evidence"] == "objects for 30 days"
    assert found["Application", "bounded"]["evidence"].startswith("cpu 16 vCPU, memory 128 GB")
    assert {call for call in made if not call.partition(".")[2].startswith(READING)} == set()
    assert state_of(aws) == before


def spoil_storage(aws: MotoServer) -> set[tuple[str, str]]:
    s3, kms = aws.client("s3"), aws.client("kms")
    [key] = [each["KeyId"] for each in kms.list_keys()["Keys"]]
    kms.disable_key_rotation(KeyId=key)
    policy = json.loads(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"])
    policy["Statement"][0]["Principal"] = {"AWS": "*"}
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(policy))
    s3.put_bucket_encryption(
        Bucket=f"{BUCKET}images",
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        },
    )
    block = s3.get_public_access_block(Bucket=f"{BUCKET}results")["PublicAccessBlockConfiguration"]
    s3.put_public_access_block(
        Bucket=f"{BUCKET}results",
        PublicAccessBlockConfiguration={**block, "BlockPublicPolicy": False},
    )
    tls = json.loads(s3.get_bucket_policy(Bucket=f"{BUCKET}logs")["Policy"])
    tls["Statement"] = tls["Statement"][1:]
    s3.put_bucket_policy(Bucket=f"{BUCKET}logs", Policy=json.dumps(tls))
    s3.delete_bucket_policy(Bucket=f"{BUCKET}audit")
    s3.delete_bucket_lifecycle(Bucket=f"{BUCKET}audit")
    s3.put_bucket_versioning(
        Bucket=f"{BUCKET}images", VersioningConfiguration={"Status": "Enabled"}
    )
    copy = {
        "ID": "c",
        "Status": "Enabled",
        "Prefix": "",
        "Destination": {"Bucket": "arn:aws:s3:::c"},
    }
    s3.put_bucket_replication(
        Bucket=f"{BUCKET}images",
        ReplicationConfiguration={"Role": f"arn:aws:iam::{ACCOUNT}:role/r", "Rules": [copy]},
    )
    return {
        ("Key", "rotates"),
        ("Key", "its policy"),
        ("Images", "encrypted with the key"),
        ("Images", "not replicated"),
        ("Results", "closed to the public"),
        ("Logs", "only TLS and the key"),
        ("Audit", "only TLS"),
        ("Audit", "keeps what it says"),
    }


def spoil_rights(aws: MotoServer) -> set[tuple[str, str]]:
    iam = aws.client("iam")
    anybody = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
    }
    iam.update_assume_role_policy(RoleName="pomona-JobRole", PolicyDocument=json.dumps(anybody))
    everything = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [{"Sid": "S", "Effect": "Allow", "Action": "*", "Resource": "*"}],
        }
    )
    iam.put_role_policy(RoleName="pomona-NodeRole", PolicyName="more", PolicyDocument=everything)
    more = iam.create_policy(PolicyName="more", PolicyDocument=everything)["Policy"]["Arn"]
    iam.attach_role_policy(RoleName="pomona-JobRole", PolicyArn=more)
    policies = iam.list_policies(Scope="Local")["Policies"]
    [data] = [each["Arn"] for each in policies if each["PolicyName"] == "pomona-DataAccess"]
    iam.create_policy_version(PolicyArn=data, PolicyDocument=everything, SetAsDefault=True)
    return {
        ("JobRole", "trusts only its service"),
        ("JobRole", "has its policies"),
        ("NodeRole", "allows what it must"),
        ("DataAccess", "allows what pomona does"),
    }


def spoil_compute(aws: MotoServer) -> set[tuple[str, str]]:
    emr = aws.client("emr-serverless")
    [application] = emr.list_applications()["applications"]
    emr.stop_application(applicationId=application["id"])
    emr.update_application(
        applicationId=application["id"],
        clientToken="t",
        maximumCapacity={"cpu": "400 vCPU", "memory": "3200 GB", "disk": "8000 GB"},
        autoStopConfiguration={"enabled": False},
        initialCapacity={
            "DRIVER": {"workerCount": 1, "workerConfiguration": {"cpu": "4 vCPU", "memory": "8 GB"}}
        },
        monitoringConfiguration={"managedPersistenceMonitoringConfiguration": {"enabled": True}},
    )
    aws.client("emr").run_job_flow(
        Name="left behind",
        ReleaseLabel="emr-7.14.0",
        Instances={
            "MasterInstanceType": "m7g.xlarge",
            "SlaveInstanceType": "m7g.xlarge",
            "InstanceCount": 1,
            "KeepJobFlowAliveWhenNoSteps": True,
        },
        JobFlowRole="r",
        ServiceRole="r",
    )
    return {
        ("Application", "bounded"),
        ("Application", "stops when idle"),
        ("Application", "costs nothing when idle"),
        ("Application", "logs stay in the bucket"),
        ("running", "no cluster waits for work"),
    }


def spoil_oversight(aws: MotoServer) -> set[tuple[str, str]]:
    trail = aws.client("cloudtrail")
    trail.stop_logging(Name="pomona")
    trail.update_trail(Name="pomona", IsMultiRegionTrail=True, EnableLogFileValidation=False)
    trail.put_event_selectors(
        TrailName="pomona",
        AdvancedEventSelectors=[
            {"FieldSelectors": [{"Field": "eventCategory", "Equals": ["Management"]}]}
        ],
    )
    sns = aws.client("sns")
    [topic] = [each["TopicArn"] for each in sns.list_topics()["Topics"]]
    sns.set_topic_attributes(
        TopicArn=topic, AttributeName="KmsMasterKeyId", AttributeValue="alias/aws/sns"
    )
    budget = {"AccountId": ACCOUNT, "BudgetName": "pomona-Budget"}
    budgets = aws.client("budgets")
    notifications = budgets.describe_notifications_for_budget(**budget)["Notifications"]
    for each in notifications:
        if each["Threshold"] == 50:
            budgets.delete_notification(**budget, Notification=each)
    return {
        ("Trail", "records"),
        ("Trail", "in one region of the EEA"),
        ("Trail", "encrypted and signed"),
        ("Trail", "sees images and results"),
        ("Alerts", "encrypted with the key"),
        ("Budget", "alerts"),
    }


def test_each_defect_is_a_finding_with_its_way_out(aws: MotoServer) -> None:
    up()
    planted = spoil_storage(aws) | spoil_rights(aws) | spoil_compute(aws) | spoil_oversight(aws)
    aws.vcpu_quota = 1.0
    status, found = examine()
    assert status == 1
    assert states(found, "failure") == planted
    assert {("quota", "enough for the application"), ("Images", "erased is erased")} <= states(
        found, "warning"
    )
    assert all(found[key]["remedy"] for key in planted)
    evidence = {key: found[key]["evidence"] for key in planted}
    assert evidence["Results", "closed to the public"] == "BlockPublicPolicy off"
    assert "TlsAlone" in evidence["Logs", "only TLS and the key"]
    assert "PoliciesOfThisAccountDecide" in evidence["Key", "its policy"]
    assert "policy/more is not in the template" in evidence["JobRole", "has its policies"]
    assert re.search(r"cluster j-\w+ \(left behind\): waiting", str(evidence.values()))
    ended = run_aws("doctor", "--region", REGION)
    assert f"{len(planted)} failures" in ended.stdout
    assert "-> aws cloudtrail start-logging --name pomona\n" in ended.stdout


def test_what_is_gone_is_a_finding(aws: MotoServer) -> None:
    up()
    aws.client("s3").delete_bucket(Bucket=f"{BUCKET}images")
    aws.client("cloudtrail").delete_trail(Name="pomona")
    aws.client("budgets").delete_budget(AccountId=ACCOUNT, BudgetName="pomona-Budget")
    emr = aws.client("emr-serverless")
    [application] = emr.list_applications()["applications"]
    emr.stop_application(applicationId=application["id"])
    emr.delete_application(applicationId=application["id"])
    iam = aws.client("iam")
    iam.remove_role_from_instance_profile(
        InstanceProfileName="pomona-NodeProfile", RoleName="pomona-NodeRole"
    )
    iam.delete_instance_profile(InstanceProfileName="pomona-NodeProfile")
    aws.client("emr").delete_security_configuration(Name="pomona-NodeEncryption")
    [key] = [each["KeyId"] for each in aws.client("kms").list_keys()["Keys"]]
    aws.client("kms").schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    status, found = examine()
    gone = {"Images", "Trail", "Budget", "Application", "NodeProfile", "NodeEncryption"}
    assert status == 1
    assert states(found, "failure") >= {*((each, "exists") for each in gone), ("Key", "usable")}


def test_without_a_stack_it_says_what_makes_one(aws: MotoServer) -> None:
    status, found = examine()
    assert status == 1
    assert found["stack", "exists"]["remedy"] == "`pomona aws up` makes it"


def test_a_stack_of_another_version_is_a_warning(aws: MotoServer) -> None:
    up()
    aws.cloudformation.stacks["pomona"].plan.template += "\n# older"
    status, found = examine()
    assert status == 0
    assert found["stack", "this version's template"]["state"] == "warning"


def test_what_may_not_be_read_is_a_warning_that_names_the_right(aws: MotoServer) -> None:
    up()
    words = (
        "User: arn:aws:iam::1:user/u is not authorized to perform: kms:GetKeyPolicy on resource: k"
    )
    refused = json.dumps({"__type": "AccessDeniedException", "message": words})

    def refuse(request: Any) -> Response | None:
        asked = request.headers.get("X-Amz-Target", "")
        return Response(refused, 400) if asked.endswith("GetKeyPolicy") else None

    aws.answer("kms", refuse)
    status, found = examine()
    assert status == 0
    assert "no right to kms:GetKeyPolicy on k" in found["Key", "can be read"]["evidence"]


def test_credentials_that_are_not_accepted_are_one_line(aws: MotoServer) -> None:
    error = "<Type>Sender</Type><Code>ExpiredToken</Code><Message>m</Message>"
    body = f"<ErrorResponse><Error>{error}</Error></ErrorResponse>"
    aws.answer("sts", lambda _: Response(body, 403, content_type="text/xml"))
    assert "have expired: renew them" in refusal(run_aws("doctor", "--region", REGION))


def test_the_page_has_the_records_and_the_findings_and_loads_nothing(
    aws: MotoServer, tmp_path: Path
) -> None:
    up()
    page = tmp_path / "page.html"
    assert examine("--page", page)[0] == 0
    html = page.read_text(encoding="utf-8")
    for words in (
        f"s3://{BUCKET}images",
        f"s3://{BUCKET}results/stores/",
        "30 days, then S3 deletes them",
        "365 days, then S3 deletes them",
        "Dublin, Ireland",
        "AWS Budgets, a service without a region",
        "all four blocks are on",
    ):
        assert words in html, words
    assert not re.search(r"<script|src=|@import|url\(|https?:", html)
    assert "default-src 'none'" in html
    ended = run_aws("doctor", "--region", REGION, "--page", tmp_path / "no" / "page.html")
    assert (ended.status, ended.stdout) == (1, "")
    assert ended.stderr.splitlines()[-1].startswith(
        f"pomona: --page {tmp_path}/no/page.html: No such"
    )


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"Action": "s3:GetObject"}, {"Action": ["s3:GetObject"]}, True),
        ({"Action": ["a", "b"]}, {"Action": ["b", "a"]}, True),
        ({"Action": ["a", "b"]}, {"Action": ["a"]}, False),
        ({"Bool": {"k": True}}, {"Bool": {"k": "true"}}, True),
        ({"days": 30}, {"days": "31"}, False),
    ],
)
def test_documents_are_compared_by_what_they_say(one: Any, other: Any, same: bool) -> None:
    assert is_same(one, other) is same
    assert canonical(canonical(one)) == canonical(one)
