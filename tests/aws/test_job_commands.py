"""`pomona aws status`, `logs`, `cancel`, `cost`, `fetch` and `sweep`, on moto with `serverless`.

Logs lie where EMR Serverless's user guide says that it puts them; no real one was read.
"""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from aws_commands import refusal, run_aws
from launched import IMAGES, Launched
from moto_server import MotoServer
from perimeter_template import REGION

from conftest import Ended, Pomona, contents
from pomona.aws import job_logs
from pomona.aws.job_logs import LogFile

pytest_plugins = ("aws_account", "launched_account")

OTHERS_JOB = {
    "clientToken": "another",
    "jobDriver": {"sparkSubmit": {"entryPoint": "s3://elsewhere/mine.py"}},
    "name": "somebody's own",
}


def ask(command: str, *args: object) -> Any:
    """What a command says as JSON."""
    ended = run_aws(command, *args, "--region", REGION, "--json")
    assert (ended.status, ended.stderr) == (0, ""), ended
    return json.loads(ended.stdout)


def say(command: str, *args: object) -> Ended:
    return run_aws(command, *args, "--region", REGION)


def start_anothers(launched: Launched) -> Any:
    """Starts a job that is not pomona's on its application."""
    found = launched.perimeter
    launched.account().call(
        "emr-serverless",
        "start_job_run",
        applicationId=found.application_id,
        executionRoleArn=found.job_role_arn,
        **OTHERS_JOB,
    )
    return launched.serverless.jobs[-1]


def test_status_tells_what_runs_how_far_and_for_how_much(launched: Launched) -> None:
    assert say("status").stdout.startswith("no job runs\napplication ")
    first = launched.submit()
    launched.succeeds(first)
    job = launched.submit(out=launched.out, arguments=(launched.source, launched.out, "--x", "1"))
    launched.runs(job)
    other = start_anothers(launched)
    status = ask("status")
    assert [each["job"] for each in status["running"]] == [other.id, job.id]
    assert [(each["job"], each["state"]) for each in status["ended"]] == [(first.id, "SUCCESS")]
    mine = status["running"][1]
    assert (mine["source"], mine["out"]) == (launched.source, launched.out)
    assert (mine["done"], mine["images"], mine["is_own"]) == (IMAGES, IMAGES, True)
    assert mine["cost_basis"] == "time"
    # A minute of 8 vCPUs and 16 GB
    assert mine["cost_usd"] == pytest.approx((8 * 0.042094 + 16 * 0.004628) / 60, rel=0.1)
    text = say("status").stdout
    assert f"{job.id}  RUNNING  since " in text
    assert f"{IMAGES} of {IMAGES} images, at most 0.00" in text
    assert "not pomona's" in text


def test_cost_shows_time_then_what_is_billed(launched: Launched) -> None:
    job = launched.submit()
    launched.serverless.set(job, "RUNNING", minutes=30)
    before = ask("cost", job.id)
    assert before["billed_usd"] is None
    assert before["at_most_usd"] == pytest.approx((8 * 0.042094 + 16 * 0.004628) / 2, rel=0.01)
    assert "not known yet" in say("cost", job.id).stdout
    launched.serverless.set(job, "SUCCESS", minutes=30)
    launched.serverless.bill(job, 2.0, 4.0)
    after = ask("cost", job.id)
    assert after["billed_usd"] == pytest.approx(2 * 0.042094 + 4 * 0.004628)
    text = say("cost", job.id).stdout
    for said in ("2 vCPU-hours and 4 GB-hours", "estimated  0.0100 USD", "budget     0.50 USD"):
        assert said in text


def test_cancel_ends_a_job_once(launched: Launched) -> None:
    job = launched.submit()
    launched.runs(job)
    assert ask("cancel", job.id)["cancelled"] is True
    assert job.state == "CANCELLED"
    assert f"the job {job.id} had already ended: CANCELLED" in say("cancel", job.id).stdout
    other = start_anothers(launched)
    assert "is not pomona's" in refusal(say("cancel", other.id))
    assert "`pomona aws status` lists them" in refusal(say("cancel", "nosuchjob"))


def test_logs_show_pomonas_own_line_and_the_cause_first(launched: Launched) -> None:
    job = launched.submit()
    launched.fails(job)
    assert "there are no logs yet" in say("logs", job.id).stdout
    complaint = "pomona: s3://images/photos does not exist: check the path"
    noise = b"INFO one\n" * 100
    launched.log(
        job, "SPARK_DRIVER/stdout.gz", gzip.compress(f"{complaint}\nexit status 1\n".encode())
    )
    launched.log(job, "SPARK_DRIVER/stderr.gz", gzip.compress(noise + b"last of stderr\n"))
    launched.log(job, "SPARK_EXECUTOR/1/stderr.gz", gzip.compress(noise))
    launched.log(job, "SPARK_EXECUTOR/2/stderr.gz", gzip.compress(b"OutOfMemoryError: heap\n"))
    text = say("logs", job.id, "--lines", 3).stdout.splitlines()
    assert text[:2] == [complaint, f"probable cause: {complaint.removeprefix('pomona: ')}"]
    assert text.count("INFO one") == 2
    assert {"--- driver stderr", "--- executor 2 stderr"} <= {*text}
    assert "--- executor 1 stderr" not in text
    assert text[-1].startswith(f"all of them: s3://{launched.perimeter.logs}/serverless/applicat")
    told = ask("logs", job.id)
    assert told["cause"] == complaint.removeprefix("pomona: ")


def test_logs_are_read_in_bounded_memory_and_damage_ends_them(
    launched: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_logs, "FILE_BYTES", 3 * job_logs.PIECE_BYTES)
    job = launched.submit()
    launched.fails(job)
    endless = gzip.compress(b"first\n" + b"x" * 8 * job_logs.PIECE_BYTES + b"\nnever read\n")
    launched.log(job, "SPARK_DRIVER/stdout.gz", endless)
    launched.log(job, "SPARK_DRIVER/stderr.gz", gzip.compress(b"whole\n" * 9)[:-12])
    launched.log(job, "SPARK_DRIVER/other/stderr.gz", b"not gzip at all")
    files = {each["name"]: each["lines"] for each in ask("logs", job.id)["files"]}
    assert files["driver stdout"][0] == "first"
    assert [len(line) for line in files["driver stdout"][1:]] == [job_logs.LINE_CHARACTERS]
    assert files["driver other stderr"] == []
    assert set(files["driver stderr"]) <= {"whole", "whol", "who", "wh", "w"}


@pytest.mark.parametrize(
    ("details", "line", "said"),
    [
        ("ApplicationMaxCapacityExceededException: wait", "", "maximum capacity is too small"),
        ("Exceeded the service quota of vCPUs", "", "ask AWS for more"),
        ("Job run timed out", "", "came to the end of its time"),
        ("", "java.lang.OutOfMemoryError: Java heap space", "more memory than its worker has"),
        ("", "x: Exec format error", "the other architecture"),
        ("", "libc.so.6: version `GLIBC_2.38' not found", "a newer C library"),
        ("", "S3Exception: Access Denied (Status Code: 403)", "no right to what was asked for"),
        ("", "SlowDown: Please reduce your request rate", "`pomona pack` the images"),
    ],
)
def test_what_aws_and_spark_say_of_an_end_is_explained(details: str, line: str, said: str) -> None:
    cause = job_logs.find_cause(details, [LogFile("driver stderr", [], ["INFO", line, "INFO"])])
    assert cause is not None
    assert said in cause


def test_sweep_finds_what_runs_and_should_not(launched: Launched) -> None:
    aws: MotoServer = launched.aws
    emr, found = aws.client("emr-serverless"), launched.perimeter
    job = launched.submit(timeout_minutes=30)
    launched.serverless.set(job, "RUNNING", minutes=20)
    assert say("sweep").stdout == "nothing is running that should not be\n"
    other = start_anothers(launched)
    launched.serverless.set(job, "RUNNING", minutes=40)
    assert [each["id"] for each in ask("sweep")["found"]] == [other.id, job.id]
    assert len(launched.serverless.active) == 2, "without --yes nothing is ended"
    launched.serverless.set(job, "RUNNING", minutes=25)
    job.tags["pomona-budget-usd"] = "0.01"
    text = say("sweep").stdout
    assert "none of pomona's tags" in text
    assert "more than its budget of 0.0100 USD" in text
    assert ask("sweep", "--yes")["ended"] is True
    assert launched.serverless.active == []
    assert "is started and runs nothing" in say("sweep").stdout
    ask("sweep", "--yes")
    state = emr.get_application(applicationId=found.application_id)["application"]["state"]
    assert state == "STOPPED"
    assert ask("sweep")["found"] == []


def test_fetch_is_the_download_of_the_store(
    launched: Launched, pomona: Pomona, tmp_path: Path
) -> None:
    launched.succeeds(launched.submit())
    ended = pomona.done("aws", "fetch", launched.out, tmp_path / "out")
    assert "fetched" in ended.stdout
    got = {name: data for name, data in contents(tmp_path / "out").items() if data is not None}
    assert got == {name: data for name, data in launched.objects.items() if "/lock" not in name}
    shutil.rmtree(tmp_path / "out")
    assert pomona("aws", "fetch", tmp_path / "here", tmp_path / "out").status == 2
