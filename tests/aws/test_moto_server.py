"""The tests' own CloudFormation: what it makes can be read back, and it fails as AWS does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from moto_server import MotoServer
from perimeter_template import EMAIL, REGION, resolve
from template_resources import TYPES

from pomona.aws import perimeter
from pomona.aws.account import Account
from pomona.errors import CloudError

pytest_plugins = ("aws_account",)


def change(aws: MotoServer, kind: str, **parameters: str) -> Any:
    """Makes a change set and executes it; returns it."""
    given = {"AlertEmail": EMAIL, **parameters}
    client = aws.client("cloudformation")
    named = {"StackName": "pomona", "ChangeSetName": "c1"}
    client.create_change_set(
        **named,
        ChangeSetType=kind,
        TemplateBody=perimeter.template(),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in given.items()],
    )
    described = client.describe_change_set(**named)
    if described["Status"] != "FAILED":
        client.execute_change_set(**named)
    return described


def settle(aws: MotoServer) -> str:
    """Asks for the stack until it is at rest; returns its state."""
    for _ in range(20):
        [stack] = aws.client("cloudformation").describe_stacks(StackName="pomona")["Stacks"]
        if not stack["StackStatus"].endswith("_IN_PROGRESS"):
            return str(stack["StackStatus"])
    raise AssertionError(stack)


def test_the_whole_template_is_made_and_read_back(aws: MotoServer) -> None:
    account = Account(REGION)
    with pytest.raises(
        CloudError, match=r"^there is no stack pomona in eu-west-1: `pomona aws up`"
    ):
        perimeter.read(account)
    assert len(change(aws, "CREATE")["Changes"]) == len(resolve())
    with pytest.raises(CloudError, match=r"is not whole.*CREATE_IN_PROGRESS"):
        perimeter.read(account)
    assert settle(aws) == "CREATE_COMPLETE"
    made = perimeter.read(account, computing=True)
    assert made.images == "pomona-123456789012-eu-west-1-images"
    policy = json.loads(account.call("s3", "get_bucket_policy", Bucket=made.images)["Policy"])
    assert [each["Sid"] for each in policy["Statement"]] == ["TlsAlone", "KmsAlone", "OurKeyAlone"]
    found = account.call("emr-serverless", "get_application", applicationId=made.application_id)
    assert found["application"]["architecture"] == "ARM64"
    assert found["application"]["maximumCapacity"]["cpu"] == "16 vCPU"
    resources = account.call("cloudformation", "describe_stack_resources", StackName="pomona")
    assert {each["ResourceType"] for each in resources["StackResources"]} == TYPES.keys()


def test_objects_are_not_held_against_the_policy_of_their_bucket(aws: MotoServer) -> None:
    """The policy is kept beside moto, which would refuse every call for an object."""
    change(aws, "CREATE")
    settle(aws)
    bucket = perimeter.read(Account(REGION)).images
    aws.client("s3").put_object(Bucket=bucket, Key="a.jpg", Body=b"a")
    assert aws.client("s3").get_object(Bucket=bucket, Key="a.jpg")["Body"].read() == b"a"


def test_the_same_again_changes_nothing_and_data_alone_removes_what_computes(
    aws: MotoServer,
) -> None:
    change(aws, "CREATE")
    settle(aws)
    again = change(aws, "UPDATE")
    assert (again["Status"], again["StatusReason"][:41]) == (
        "FAILED",
        "The submitted information didn't contain ",
    )
    aws.client("cloudformation").delete_change_set(StackName="pomona", ChangeSetName="c1")
    changes = change(aws, "UPDATE", Scope="data")["Changes"]
    names = {each["ResourceChange"]["LogicalResourceId"] for each in changes}
    kept = resolve(Scope="data")
    assert names == resolve().keys() - kept.keys() | {"UserAccess"}
    assert settle(aws) == "UPDATE_COMPLETE"
    assert perimeter.read(Account(REGION)).application_id == ""
    with pytest.raises(CloudError, match="holds only its data"):
        perimeter.read(Account(REGION), computing=True)
    [application] = aws.client("emr-serverless").list_applications()["applications"]
    assert application["state"] == "TERMINATED"


def test_what_cannot_be_made_is_rolled_back(aws: MotoServer) -> None:
    aws.cloudformation.failing["Application"] = "quota"
    change(aws, "CREATE")
    assert settle(aws) == "ROLLBACK_COMPLETE"
    assert aws.client("s3").list_buckets()["Buckets"] == []
    events = aws.client("cloudformation").describe_stack_events(StackName="pomona")
    assert "quota" in [each.get("ResourceStatusReason") for each in events["StackEvents"]]


def test_a_bucket_with_objects_stops_the_deletion_of_the_stack(aws: MotoServer) -> None:
    change(aws, "CREATE")
    settle(aws)
    made = perimeter.read(Account(REGION))
    aws.client("s3").put_object(Bucket=made.results, Key="stores/a", Body=b"a")
    aws.client("cloudformation").delete_stack(StackName="pomona")
    assert settle(aws) == "DELETE_FAILED"
    aws.client("s3").delete_object(Bucket=made.results, Key="stores/a")
    aws.client("cloudformation").delete_stack(StackName="pomona")
    assert settle(aws) == "DELETE_COMPLETE"
    assert perimeter.find(Account(REGION)) is None


def test_a_request_that_a_model_forbids_fails(aws: MotoServer) -> None:
    emr = aws.client("emr-serverless")
    for wrong in (
        {"architecture": "arm64"},
        {"maximumCapacity": {"cpu": "16 cores", "memory": "1 GB"}},
    ):
        with pytest.raises(AssertionError, match="takes no such CreateApplication"):
            emr.create_application(
                name="a", releaseLabel="emr-7.14.0", type="SPARK", clientToken="t", **wrong
            )
