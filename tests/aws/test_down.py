"""`pomona aws down`: what goes, what stays, the proof, and that it goes on after any stop.

CloudFormation is the tests' own interpreter on moto's server; see `moto_server.py`.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from account_state import state_of
from aws_commands import REGION, Killed, calls, refusal, run_aws, up
from moto_server import MotoServer
from perimeter_template import resolve
from template_resources import ACCOUNT

pytest_plugins = ("aws_account",)
BUCKETS = [f"pomona-{ACCOUNT}-{REGION}-{name}" for name in ("audit", "images", "logs", "results")]
COMPUTING = resolve().keys() - resolve(Scope="data").keys()


def down(*args: object, typed: str | None = None) -> Any:
    return run_aws("down", "--region", REGION, *args, typed=typed)


def fill(aws: MotoServer) -> None:
    """Puts objects into every bucket, and leaves an upload unfinished."""
    s3 = aws.client("s3")
    for bucket in BUCKETS:
        for number in range(3):
            s3.put_object(Bucket=bucket, Key=f"a/{number}", Body=b"x")
    s3.create_multipart_upload(Bucket=BUCKETS[1], Key="unfinished")


def test_it_removes_what_computes_and_keeps_the_data(aws: MotoServer) -> None:
    up()
    fill(aws)
    before = state_of(aws)
    ended = down(typed="y\n")
    assert ended.status == 0
    assert all(f"remove  {name} " in ended.stderr for name in COMPUTING)
    assert "Remove 7 resources? The data and the key are kept. [y/N]" in ended.stderr
    lines = ended.stdout.splitlines()
    assert {line.split()[1] for line in lines if line.startswith("gone ")} == COMPUTING
    assert {line.split()[1] for line in lines if line.startswith("kept ")} == {
        *("Key", "Images", "Results", "Logs", "Audit", "Trail", "Alerts", "Budget"),
        *("UserAccess", "DoctorAccess"),
    }
    after = state_of(aws)
    assert (after["roles"], after["profiles"], after["applications"]) == ([], [], [])
    assert sorted(after["policies"]) == ["pomona-DoctorAccess", "pomona-UserAccess"]
    for name in ("buckets", "keys", "trails", "topics", "budgets"):
        assert after[name] == before[name]
    assert run_aws("doctor", "--region", REGION).status == 0
    assert up("--quiet").status == 0
    assert state_of(aws)["buckets"] == before["buckets"]
    assert state_of(aws)["applications"] == ["pomona"]


def test_no_leaves_everything_and_no_terminal_makes_no_call(aws: MotoServer) -> None:
    up()
    before = state_of(aws)
    for ended in (down(typed="n\n"), down("--with-data", typed="yes\n")):
        assert (ended.status, ended.stdout) == (1, "")
        assert "nothing was removed" in ended.stderr
        assert state_of(aws) == before
    with calls() as made:
        ended = down("--with-data")
    assert (ended.status, made) == (2, [])


def test_with_the_data_nothing_is_left(aws: MotoServer) -> None:
    empty = state_of(aws)
    up()
    fill(aws)
    iam = aws.client("iam")
    iam.create_user(UserName="ada")
    iam.create_group(GroupName="those")
    for each in iam.list_policies(Scope="Local")["Policies"]:
        if each["PolicyName"] == "pomona-UserAccess":
            iam.attach_user_policy(UserName="ada", PolicyArn=each["Arn"])
            iam.attach_group_policy(GroupName="those", PolicyArn=each["Arn"])
    ended = down("--with-data", typed="pomona\n")
    assert ended.status == 0
    assert f"empty   s3://{BUCKETS[1]}: 3 objects" in ended.stderr
    assert "Type the stack's name (pomona)" in ended.stderr
    assert "taking pomona-UserAccess from the user ada" in ended.stderr
    assert state_of(aws) == empty
    lines = ended.stdout.splitlines()
    assert lines[-1] == "16 gone, 1 pending"
    [key] = [line for line in lines if line.startswith("pending")]
    assert "AWS deletes it on 20" in key
    assert run_aws("doctor", "--region", REGION).status == 1
    again = down("--with-data", "--yes", "--json")
    assert again.status == 0
    assert {each["state"] for each in json.loads(again.stdout)["pieces"]} == {"gone", "pending"}


def test_without_a_stack_there_is_nothing_to_remove(aws: MotoServer) -> None:
    for more in ((), ("--with-data",)):
        ended = down("--yes", *more)
        assert (ended.status, ended.stdout) == (0, "there was nothing to remove\n")
    run_aws("up", "--region", REGION, "--alert-email", "a@example.org", typed="")
    with calls(kill_before=6), pytest.raises(Killed):
        up()
    assert [each.status for each in aws.cloudformation.stacks.values()] == ["REVIEW_IN_PROGRESS"]
    assert down("--yes").status == 0
    assert aws.cloudformation.stacks == {}


def test_jobs_and_clusters_are_ended_first(aws: MotoServer) -> None:
    up()
    emr, clusters = aws.client("emr-serverless"), aws.client("emr")
    [application] = emr.list_applications()["applications"]
    [role] = [each for each in state_of(aws)["roles"] if each.endswith("JobRole")]
    emr.start_job_run(
        applicationId=application["id"],
        clientToken="t",
        executionRoleArn=f"arn:aws:iam::{ACCOUNT}:role/{role}",
        jobDriver={"sparkSubmit": {"entryPoint": "s3://b/job.py"}},
    )
    machines = {"MasterInstanceType": "m7g.xlarge", "SlaveInstanceType": "m7g.xlarge"}
    ours, other = (
        clusters.run_job_flow(
            Name="c",
            ReleaseLabel="emr-7.14.0",
            Instances={**machines, "InstanceCount": 1, "KeepJobFlowAliveWhenNoSteps": True},
            JobFlowRole="r",
            ServiceRole="r",
            **more,
        )["JobFlowId"]
        for more in ({"SecurityConfiguration": "pomona-NodeEncryption"}, {})
    )
    ended = down(typed="y\n")
    assert ended.status == 0
    assert f"end     cluster {ours}" in ended.stderr

    def state(cluster: str) -> str:
        described = clusters.describe_cluster(ClusterId=cluster)["Cluster"]
        return str(described["Status"]["State"])

    assert (state(ours), state(other)) == ("TERMINATED", "WAITING")
    found = emr.get_application(applicationId=application["id"])["application"]
    assert found["state"] == "TERMINATED"


@pytest.mark.parametrize("more", [(), ("--with-data",)])
def test_killed_between_any_two_calls_it_goes_on_to_the_same_end(
    aws: MotoServer, more: tuple[str, ...]
) -> None:
    def begin() -> None:
        aws.reset()
        aws.cloudformation.pace = 100
        up()
        fill(aws)
        aws.cloudformation.pace = 14 if more else 4

    begin()
    with calls() as made:
        assert down("--yes", *more).status == 0
    whole = state_of(aws)
    changing = [
        number
        for number, call in enumerate(made, 1)
        if not call.partition(".")[2].startswith(("get_", "describe_", "list_", "head_"))
    ]
    # Between two calls that only read, nothing changes; CloudFormation goes on while it is asked.
    numbers = {number + 1 for number in changing} | {changing[-1] + 4, len(made)}
    for number in sorted(each for each in numbers if each <= len(made)):
        begin()
        with calls(kill_before=number), pytest.raises(Killed):
            down("--yes", *more)
        assert down("--yes", *more).status == 0, made[number - 1]
        assert state_of(aws) == whole, made[number - 1]


def test_a_late_writer_is_waited_out_and_one_who_goes_on_is_told_of(aws: MotoServer) -> None:
    up()
    s3 = aws.client("s3")
    late = ["trail/late"]

    def write(request: Any) -> None:
        if b"DeleteStack" in request.get_data() and late:
            s3.put_object(Bucket=BUCKETS[0], Key=late[0], Body=b"x")
            if late[0] == "trail/late":
                late.clear()

    aws.answer("cloudformation", write)
    late[:] = ["always"]
    said = refusal(down("--with-data", "--yes"))
    assert "Audit (AWS::S3::Bucket) holds objects, so it was not deleted" in said
    assert "end that with `pomona aws down --with-data`" in refusal(up())
    late[:] = ["trail/late"]
    assert down("--with-data", "--yes").status == 0
    assert aws.cloudformation.stacks == {}


def test_what_cannot_be_rolled_back_for_its_objects_goes_with_the_data(aws: MotoServer) -> None:
    aws.cloudformation.failing["Application"] = "the quota"

    def write(request: Any) -> None:
        if b"DescribeStacks" in request.get_data() and aws.cloudformation.stacks:
            s3 = aws.client("s3")
            for each in s3.list_buckets()["Buckets"]:
                s3.put_object(Bucket=each["Name"], Key="a", Body=b"x")

    aws.answer("cloudformation", write)
    refusal(up())
    [stack] = aws.cloudformation.stacks.values()
    assert stack.status == "ROLLBACK_FAILED"
    aws.answer("cloudformation", lambda _: None)
    assert "`pomona aws down --with-data`" in refusal(down("--yes"))
