"""The command `pomona aws run`: what it asks, prints and exits with."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from aws_commands import refusal, run_aws
from launched import IMAGES, Launched
from perimeter_template import REGION
from test_launch import no_packages

from conftest import Ended
from pomona.aws import environment, watch

pytest_plugins = ("aws_account", "launched_account")


@pytest.fixture(autouse=True)
def _quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without packages, no waiting, and pyarrow as other tests want it."""
    monkeypatch.setattr(watch, "POLL_S", 0.0)
    monkeypatch.setattr(environment, "build", lambda target: no_packages(tmp_path, target))
    monkeypatch.setattr("pomona.commands.running.forgo_pandas", lambda: None)
    monkeypatch.delenv("POMONA_AWS_BUDGET", raising=False)


def run(launched: Launched, *args: object, typed: str | None = None) -> Ended:
    places = (launched.source, launched.out)
    return run_aws("run", *places, "--region", REGION, *args, typed=typed)


def test_it_shows_the_plan_and_asks_once(launched: Launched) -> None:
    launched.lives()
    no = run(launched, "--budget", "0.5", typed="n\n")
    assert (no.status, no.stdout, launched.serverless.jobs) == (1, "", [])
    assert "nothing was submitted" in no.stderr
    yes = run(launched, "--budget", "0.5", "--components", "9", typed="y\n")
    assert yes.status == 0, yes
    for said in (f"{IMAGES} images in {launched.source}", "budget  0.50 USD", "Run it? [y/N]"):
        assert said in yes.stderr
    assert f"next: pomona aws fetch {launched.out}" in yes.stdout
    [job] = launched.serverless.jobs
    words = job.job_driver["sparkSubmit"]["entryPointArguments"]
    assert words[:2] == [launched.source, launched.out]
    assert words[words.index("--components") + 1] == "9"
    assert words[-4:] == ["--sse", "aws:kms", "--kms-key", launched.perimeter.key_arn]


def test_a_program_says_yes_and_reads_json(
    launched: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POMONA_AWS_BUDGET", "0.4")
    launched.lives()
    ended = run(launched, "--yes", "--json")
    assert ended.status == 0, ended
    told = json.loads(ended.stdout)
    assert (told["images"], told["budget_usd"], told["cost_basis"]) == (IMAGES, 0.4, "billed")


def test_ctrl_c_leaves_the_job_and_says_so(
    launched: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleep = time.sleep

    def interrupt(seconds: float) -> None:
        # Threads of other tests' libraries sleep as well.
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        sleep(seconds)

    launched.lives()
    with monkeypatch.context() as patch:
        patch.setattr("pomona.aws.watch.time.sleep", interrupt)
        ended = run(launched, "--budget", "0.5", "--yes")
    [job] = launched.serverless.jobs
    assert (ended.status, len(launched.serverless.active)) == (130, 1)
    assert ended.stderr.splitlines()[-1].startswith(f"warning: the job {job.id} goes on in AWS")
    assert run(launched, "--budget", "0.5", "--yes").status == 0
    assert len(launched.serverless.jobs) == 1


def test_what_is_missing_or_wrong_is_one_line(launched: Launched, tmp_path: Path) -> None:
    for args, said in (
        ((), "nothing runs without a limit: give --budget in USD"),
        (("--budget", "0.5"), "no terminal to ask on: give --yes"),
        (("--budget", "-1", "--yes"), "--budget -1: give an amount"),
        (
            ("--budget", "0.5", "--yes", "--backbone", "resnet50"),
            "--backbone resnet50: jobs can use only",
        ),
        (("--budget", "0.5", "--yes", "--fit", "round"), "--fit round"),
        (("--budget", "0.5", "--yes", "--components", "0"), "--components 0"),
    ):
        ended = run(launched, *args)
        assert (ended.status, ended.stdout) == (2, "")
        assert said in ended.stderr.splitlines()[-1]
    here = run_aws("run", tmp_path, launched.out, "--budget", "1", "--yes", "--region", REGION)
    assert here.status == 2
    assert f"`pomona upload {tmp_path} s3://{launched.perimeter.images}/NAME" in here.stderr
    there = run_aws("run", launched.source, "out", "--budget", "1", "--yes", "--region", REGION)
    assert f"give s3://{launched.perimeter.results}/stores/NAME" in there.stderr
    assert "raise --budget, or lower --vcpus" in refusal(
        run(launched, "--budget", "0.001", "--yes")
    )
    assert "is not in the European" in refusal(
        run(launched, "--budget", "1", "--yes", "--region", "eu-west-2")
    )
    assert not launched.serverless.jobs
