"""Jobs on EMR Serverless and what they cost, on moto's server with the patches of `serverless`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

import pytest
from moto.server import ThreadedMotoServer
from serverless import KEY, ROLE, Serverless, patched

from pomona.aws import jobs, requests, spending
from pomona.aws.account import Account
from pomona.aws.jobs import Job
from pomona.aws.requests import Request
from pomona.aws.spending import Rates
from pomona.errors import CloudError, UsageError

REGION = "eu-west-1"
SOURCE, OUT = "s3://pomona-images/Anna Muster", "s3://pomona-results/stores/Anna Muster"
RATES = Rates(vcpu_hour=0.04, memory_gb_hour=0.005)


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def serverless() -> Iterator[Serverless]:
    with patched() as mine:
        yield mine


@pytest.fixture
def account(aws: str, monkeypatch: pytest.MonkeyPatch) -> Account:
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws)
    return Account(REGION)


@pytest.fixture
def request_(account: Account) -> Request:
    made = account.call(
        "emr-serverless",
        "create_application",
        name="pomona",
        releaseLabel="emr-7.14.0",
        type="SPARK",
        clientToken="token",
        maximumCapacity={"cpu": "16 vCPU", "memory": "128 GB", "disk": "320 GB"},
    )
    return Request(
        application_id=made["applicationId"],
        role_arn=ROLE,
        out=OUT,
        entry_point="s3://pomona-results/environments/job.py",
        spark_parameters="--conf spark.executor.cores=4",
        arguments=(SOURCE, OUT, "--components", "9"),
        logs="s3://pomona-logs/serverless/",
        key_arn=KEY,
        vcpus=16,
        memory_gb=32,
        budget_usd=0.5,
        estimate_usd=0.0321,
        timeout_minutes=37,
    )


def test_a_job_is_submitted_once_for_what_was_seen(
    account: Account, request_: Request, serverless: Serverless
) -> None:
    first = requests.submit(account, request_, [])
    assert requests.submit(account, request_, []) == first
    with pytest.raises(CloudError) as raised:  # another recipe in the same place, at the same time
        requests.submit(account, dataclasses.replace(request_, arguments=("s3://other", OUT)), [])
    assert raised.value.reason == "ConflictException"
    assert len(serverless.jobs) == 1
    serverless.set(serverless.jobs[0], "FAILED")
    second = requests.submit(
        account, request_, jobs.find(account, request_.application_id, out=OUT)
    )
    assert second != first
    other = dataclasses.replace(request_, out=f"{OUT}-2")
    assert requests.submit(account, other, []) not in (first, second)
    found = jobs.find(account, request_.application_id, out=OUT)
    assert [job.id for job in found] == [second, first]


def test_a_job_says_all_that_was_asked_for(
    account: Account, request_: Request, serverless: Serverless
) -> None:
    job = jobs.read(account, request_.application_id, requests.submit(account, request_, []))
    assert (job.state, job.is_active, job.is_own, job.usage) == ("SUBMITTED", True, True, None)
    assert (job.arguments, job.places) == (request_.arguments, (SOURCE, OUT))
    assert (job.timeout_minutes, job.number(jobs.BUDGET_TAG)) == (37, 0.5)
    assert job.number(jobs.ESTIMATE_TAG) == 0.0321
    [run] = serverless.jobs
    monitoring = run.configuration_overrides["monitoringConfiguration"]
    assert monitoring["s3MonitoringConfiguration"] == {
        "logUri": request_.logs,
        "encryptionKeyArn": KEY,
    }
    assert monitoring["managedPersistenceMonitoringConfiguration"] == {"enabled": False}


def test_names_tags_and_tokens_hold_no_path(
    account: Account, request_: Request, serverless: Serverless
) -> None:
    requests.submit(account, request_, [])
    [run] = serverless.jobs
    [token] = serverless.tokens
    for text in (run.name, token, *run.tags, *run.tags.values()):
        assert not re.search("anna|muster|photo|s3:", text, re.I)


def test_an_application_says_its_bounds_and_is_held_against_the_guard(
    account: Account, request_: Request
) -> None:
    found = jobs.application(account, request_.application_id)
    assert (found.max_vcpus, found.max_memory_gb, found.state) == (16, 128, "STARTED")
    with pytest.raises(CloudError) as raised:
        jobs.application(account, "nosuchapplication")
    assert raised.value.reason == "ResourceNotFoundException"


def test_a_job_that_is_not_there_is_one_line(account: Account, request_: Request) -> None:
    for name in ("nosuchjob", "../../x", ""):
        with pytest.raises(CloudError, match="`pomona aws status` lists them"):
            jobs.read(account, request_.application_id, name)


def test_cancelling_says_whether_the_job_had_ended(
    account: Account, request_: Request, serverless: Serverless
) -> None:
    before = jobs.read(account, request_.application_id, requests.submit(account, request_, []))
    assert requests.cancel(account, before)
    assert not requests.cancel(account, before), "it had ended since it was read"
    after = jobs.read(account, request_.application_id, before.id)
    assert after.state == "CANCELLED"
    assert not requests.cancel(account, after)


def test_a_job_costs_price_times_time_until_aws_bills_it(
    account: Account, request_: Request, serverless: Serverless
) -> None:
    name = requests.submit(account, request_, [])
    [run] = serverless.jobs

    def cost() -> spending.Cost:
        return spending.cost(jobs.read(account, request_.application_id, name), RATES)

    assert cost().usd == 0.0
    serverless.set(run, "RUNNING", minutes=30)
    # Half an hour of 16 vCPUs and 32 GB: 8 × 0.04 + 16 × 0.005
    assert cost().usd == pytest.approx(0.40, abs=0.005)
    assert not cost().is_billed
    serverless.set(run, "SUCCESS", minutes=30)
    assert cost().usd == pytest.approx(0.40, abs=0.005)
    serverless.bill(run, 4.0, 8.0)
    assert cost().usd == pytest.approx(4 * 0.04 + 8 * 0.005)
    assert cost().is_billed


def test_attempts_since_the_last_success_share_a_budget(
    account: Account, request_: Request, serverless: Serverless
) -> None:
    def on_out() -> list[Job]:
        return jobs.find(account, request_.application_id, out=OUT)

    for number, state in enumerate(("SUCCESS", "FAILED", "CANCELLED")):
        requests.submit(account, request_, on_out())
        serverless.set(serverless.jobs[-1], state, minutes=60)
        serverless.bill(serverless.jobs[-1], 10.0**number, 0.0)
    attempts = spending.since_success(on_out())
    assert [job.state for job in attempts] == ["CANCELLED", "FAILED"]
    assert spending.spent(attempts, RATES) == pytest.approx(0.04 * (100 + 10))


@pytest.mark.parametrize("left", [0.07, 0.1, 0.5, 1.0, 7.3])
@pytest.mark.parametrize("hour", [0.1, 0.8, 0.84])
def test_price_times_the_most_time_is_within_the_budget(left: float, hour: float) -> None:
    minutes = spending.minutes_within(left, hour)
    assert minutes * hour / 60 <= left < (minutes + 1) * hour / 60


def test_a_budget_too_small_for_the_least_time_is_refused() -> None:
    with pytest.raises(CloudError, match=r"0\.0500 USD are left .* raise `budget`, or lower"):
        spending.minutes_within(0.05, 0.8)
    with pytest.raises(CloudError, match=r"0\.0000 USD are left"):
        spending.minutes_within(-1.0, 0.8)
    assert spending.minutes_within(1e6, 0.8) == 7 * 24 * 60


def test_nothing_runs_without_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(spending.BUDGET_VARIABLE, raising=False)
    with pytest.raises(UsageError, match="nothing runs without a limit: give `budget`"):
        spending.budget(None)
    monkeypatch.setenv(spending.BUDGET_VARIABLE, "0.25")
    assert (spending.budget(None), spending.budget(0.5)) == (0.25, 0.5)
    for wrong in ("much", "nan", "-1", "0", "inf"):
        monkeypatch.setenv(spending.BUDGET_VARIABLE, wrong)
        with pytest.raises(UsageError, match=r"in USD"):
            spending.budget(None)
