"""`pomona aws up`: what it shows, makes and changes, and that it goes on after any stop.

CloudFormation is the tests' own interpreter on moto's server; see `moto_server.py`.
"""

from __future__ import annotations

import json
import re

import pytest
from account_state import state_of
from aws_commands import EMAIL, REGION, Killed, calls, refusal, run_aws, up
from moto_server import MotoServer
from perimeter_template import resolve
from werkzeug.wrappers import Response

from pomona.aws.pieces import PIECES

pytest_plugins = ("aws_account",)
MADE = "The stack pomona in eu-west-1: 23 changes made"


def test_it_shows_each_piece_with_its_price_and_asks_once(aws: MotoServer) -> None:
    empty = state_of(aws)
    command = ("up", "--region", REGION, "--alert-email", EMAIL)
    ended = run_aws(*command, typed="no\n")
    assert (ended.status, ended.stdout) == (1, "")
    shown = ended.stderr
    assert re.search(r"make +Key +encrypts .* about 1 USD a month\n", shown)
    assert all(re.search(rf"make +{name} ", shown) for name in resolve())
    assert shown.count("Apply 23 changes? [y/N]") == 1
    assert "nothing was changed" in shown
    assert state_of(aws) == empty
    ended = run_aws(*command, typed="y\n")
    assert ended.status == 0
    assert ended.stdout.startswith(MADE)
    assert "  images   s3://pomona-123456789012-eu-west-1-images\n" in ended.stdout
    assert re.search(
        r"pomona upload photos s3://\S+ --sse aws:kms --kms-key arn:aws:kms:", ended.stdout
    )


def test_every_piece_of_the_template_has_its_purpose_and_price() -> None:
    assert PIECES.keys() == resolve().keys()


def test_given_again_it_changes_nothing(aws: MotoServer) -> None:
    assert up().stdout.startswith(MADE)
    before = state_of(aws)
    ended = run_aws("up", "--region", REGION, "--json", typed="")
    assert ended.status == 0
    assert json.loads(ended.stdout)["changes"] == []
    assert "[y/N]" not in ended.stderr
    assert up("--quiet").stdout == ""
    assert "nothing to change" in up().stdout
    assert state_of(aws) == before


def test_another_option_changes_what_it_is_about_and_keeps_the_rest(aws: MotoServer) -> None:
    up("--monthly-budget", "25")
    ended = run_aws("up", "--region", REGION, "--max-vcpus", "32", "--yes", "--json")
    assert json.loads(ended.stdout)["changes"] == [{"action": "change", "name": "Application"}]
    emr = aws.client("emr-serverless")
    [application] = emr.list_applications()["applications"]
    found = emr.get_application(applicationId=application["id"])["application"]
    assert found["maximumCapacity"] == {"cpu": "32 vCPU", "memory": "256 GB", "disk": "640 GB"}
    [stack] = aws.cloudformation.stacks.values()
    assert (stack.plan.parameters["AlertEmail"], stack.plan.parameters["MonthlyBudgetUsd"]) == (
        EMAIL,
        "25",
    )


def test_an_application_that_runs_is_stopped_before_it_changes(aws: MotoServer) -> None:
    up()
    emr = aws.client("emr-serverless")
    [application] = emr.list_applications()["applications"]
    emr.start_application(applicationId=application["id"])
    with calls() as made:
        assert run_aws("up", "--region", REGION, "--max-vcpus", "32", "--yes").status == 0
    stopped = made.index("emr-serverless.stop_application")
    assert stopped < made.index("cloudformation.execute_change_set")


def test_killed_between_any_two_calls_it_goes_on_to_the_same_end(aws: MotoServer) -> None:
    aws.cloudformation.pace = 8
    with calls() as made:
        assert up().status == 0
    whole = state_of(aws)
    assert whole["stacks"]["pomona"][0] == "CREATE_COMPLETE"
    assert len(made) > 10
    for number in range(2, len(made) + 1):
        aws.reset()
        aws.cloudformation.pace = 8
        with calls(kill_before=number), pytest.raises(Killed):
            up()
        assert up().status == 0, made[number - 1]
        assert state_of(aws) == whole, made[number - 1]


def test_where_nobody_can_answer_it_makes_no_call(aws: MotoServer) -> None:
    with calls() as made:
        ended = run_aws("up", "--region", REGION, "--alert-email", EMAIL)
    assert (ended.status, ended.stderr, made) == (
        2,
        "pomona: there is no terminal to ask on: give --yes to confirm in advance\n",
        [],
    )


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--alert-email", "nobody"), "--alert-email nobody: give one e-mail address"),
        (("--monthly-budget", "0"), "--monthly-budget 0: give at least 1 USD"),
        (("--monthly-budget", "nan"), "--monthly-budget nan: give at least 1 USD"),
        (("--max-vcpus", "500"), "--max-vcpus 500: give 2 to 400"),
        (
            ("--stack", "Fruit"),
            "--stack Fruit: give up to 24 small letters, digits and hyphens, a letter first",
        ),
    ],
)
def test_values_that_cannot_be(option: tuple[str, str], said: str) -> None:
    ended = run_aws("up", "--yes", *option)
    assert (ended.status, ended.stderr) == (2, f"pomona: {said}\n")


@pytest.mark.usefixtures("aws")
def test_the_first_time_it_needs_an_address() -> None:
    ended = run_aws("up", "--region", REGION, "--yes")
    assert ended.status == 2
    assert "give --alert-email: who is told" in ended.stderr


@pytest.mark.parametrize(
    ("region", "said"),
    [
        ("us-east-1", "us-east-1 is not in the European Economic Area: choose one of eu-central-1"),
        ("eu-west-2", "eu-west-2 is not in the European Economic Area"),
        (
            "eu-north-1",
            "eu-north-1 lacks budgets by CloudFormation, or prices of EMR Serverless that",
        ),
    ],
)
def test_a_region_that_cannot_be_is_refused_before_any_call(region: str, said: str) -> None:
    with calls() as made:
        ended = run_aws("up", "--region", region, "--alert-email", EMAIL, "--yes")
    assert said in refusal(ended)
    assert made == []


def test_a_name_that_is_taken_in_another_account(aws: MotoServer) -> None:
    sts = aws.client("sts")
    role = "arn:aws:iam::999999999999:role/other"
    theirs = sts.assume_role(RoleArn=role, RoleSessionName="other")["Credentials"]
    import botocore.session

    s3 = botocore.session.get_session().create_client(
        "s3",
        region_name=REGION,
        endpoint_url=aws.url,
        aws_access_key_id=theirs["AccessKeyId"],
        aws_secret_access_key=theirs["SecretAccessKey"],
        aws_session_token=theirs["SessionToken"],
    )
    name = "pomona-123456789012-eu-west-1-results"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    said = refusal(up())
    assert "Results (AWS::S3::Bucket) cannot be created because its name is taken" in said
    assert "remove what has it, or choose another --stack." in said
    assert state_of(aws)["stacks"]["pomona"][0] == "ROLLBACK_COMPLETE"
    assert "s3://fruit-123456789012-eu-west-1-results\n" in up("--stack", "fruit").stdout
    assert run_aws("doctor", "--region", REGION, "--stack", "fruit").status == 0
    ended = run_aws("down", "--region", REGION, "--stack", "fruit", "--with-data", "--yes")
    assert (ended.status, list(state_of(aws)["stacks"])) == (0, ["pomona"])
    s3.delete_bucket(Bucket=name)
    assert up().stdout.startswith(MADE)


def test_a_change_that_fails_is_undone_and_can_be_given_again(aws: MotoServer) -> None:
    up()
    before = state_of(aws)
    aws.cloudformation.failing["Application"] = "the quota of vCPUs is 16"
    said = refusal(up("--max-vcpus", "32"))
    assert "Application (AWS::EMRServerless::Application) failed, and CloudFormation says: " in said
    after = state_of(aws)
    assert after["stacks"]["pomona"][1:] == before["stacks"]["pomona"][1:]
    aws.cloudformation.failing.clear()
    assert "1 change made" in up("--max-vcpus", "32").stdout


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ExpiredToken", "the credentials for AWS have expired: renew them"),
        ("InvalidClientTokenId", "does not accept the credentials (InvalidClientTokenId): check"),
        ("AccessDenied", "have no right to cloudformation:DescribeStacks on arn:aws:x"),
    ],
)
def test_refusals_of_aws_are_one_line(aws: MotoServer, code: str, said: str) -> None:
    words = (
        "User: arn:aws:iam::123456789012:user/u is not authorized to perform: "
        "cloudformation:DescribeStacks on resource: arn:aws:x"
    )
    error = f"<Type>Sender</Type><Code>{code}</Code><Message>{words}</Message>"
    body = f"<ErrorResponse><Error>{error}</Error></ErrorResponse>"
    aws.answer("cloudformation", lambda _: Response(body, 403, content_type="text/xml"))
    assert said in refusal(up())


def test_no_credentials_are_one_line(aws: MotoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert "no credentials for AWS were found: set them" in refusal(up())
    assert state_of(aws)["stacks"] == {}
