"""Which account and region is used, and AWS's refusals as pomona's errors."""

from __future__ import annotations

import pytest

from pomona.aws.account import Account
from pomona.aws.errors import from_response
from pomona.errors import CloudError

REGION = "eu-west-1"

pytest_plugins = ("aws_account",)
pytestmark = pytest.mark.usefixtures("aws")


def test_calls_and_pages_go_to_the_account() -> None:
    account = Account(REGION)
    assert account.call("sts", "get_caller_identity")["Account"] == "123456789012"
    for number in range(3):
        account.call("sns", "create_topic", Name=f"topic-{number}")
    assert len(list(account.pages("sns", "list_topics", "Topics"))) == 3


def test_the_region_is_that_of_the_settings_else_it_must_be_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(CloudError, match="no region is chosen: give `region`, or set AWS_REGION"):
        Account()
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert (Account().region, Account().partition) == ("eu-central-1", "aws")
    assert Account("eusc-de-east-1").partition == "aws-eusc"


@pytest.mark.parametrize("region", ["eu-west-2", "us-east-1", "eu-isoe-west-1", "nowhere"])
def test_a_region_outside_the_eea_is_refused_before_any_call(region: str) -> None:
    with pytest.raises(CloudError, match=f"^{region} is not in the European") as raised:
        Account(region)
    assert raised.value.reason == "guard"


def test_an_endpoint_elsewhere_is_refused_before_any_call(monkeypatch: pytest.MonkeyPatch) -> None:
    for endpoint in ("http://sts.eu-west-1.amazonaws.com", "https://sts.example.org"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(CloudError, match="check AWS_ENDPOINT_URL"):
            Account(REGION).call("sts", "get_caller_identity")


def test_no_credentials_and_wrong_requests_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account(REGION)
    with pytest.raises(CloudError, match="sns takes no such request") as raised:
        account.call("sns", "create_topic", Title="t")
    assert "\n" not in str(raised.value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(CloudError, match="no credentials for AWS were found"):
        Account(REGION).call("sts", "get_caller_identity")


def test_an_account_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("pomona.aws.account.ATTEMPTS", 1)
    with pytest.raises(CloudError, match="sts cannot be reached") as raised:
        Account(REGION).call("sts", "get_caller_identity")
    assert raised.value.reason == "unreachable"


@pytest.mark.parametrize(
    ("code", "reason", "said"),
    [
        ("ExpiredTokenException", "expired", "renew them"),
        ("UnrecognizedClientException", "credentials", "region is switched on"),
        ("AccessDeniedException", "denied", "no right to emr-serverless:StartJobRun on arn:aws:x"),
        ("AccessDenied", "denied", "the statement StartAndFollowJobs in UserAccess of the stack"),
        ("ThrottlingException", "throttled", "wait a minute"),
        ("ServiceQuotaExceededException", "ServiceQuotaExceededException", "refused StartJobRun"),
    ],
)
def test_each_refusal_says_the_way_out(code: str, reason: str, said: str) -> None:
    words = (
        "User: arn:aws:iam::1:user/u is not authorized to perform: emr-serverless:StartJobRun on "
        "resource: arn:aws:x because no policy allows it"
    )
    response: dict[str, dict[str, object]] = {"Error": {"Code": code, "Message": words}}
    error = from_response(response, "emr-serverless", "start_job_run")
    assert error.reason == reason
    assert said in str(error)
    assert "\n" not in str(error)
