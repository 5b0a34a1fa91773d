"""The whole way: up, upload, plan, run, status, logs, fetch, cost, down.

moto takes the calls, with the patches of `serverless`; the job that it was given runs as given on a
real YARN, and writes to moto's S3. Only the environment is one for this machine, since the
application is one of ARM, and what AWS would bill is made up.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aws_commands import REGION, run_aws, up
from emr_serverless import Job
from moto_server import MotoServer
from serverless import Serverless, patched
from test_rehearsal import HERE
from yarn import Yarn

from conftest import Pomona, draw_photos, tables
from pomona.aws import environment, watch
from s3_server import Server, fresh_connections

pytest_plugins = ("aws_account", "yarn_session")
pytestmark = pytest.mark.spark

IMAGES = 60
BUILD = environment.build


class _OnYarn:
    """What EMR Serverless does: it starts the job that it was given, and tells how it is."""

    def __init__(self, serverless: Serverless, yarn: Yarn, s3: Server) -> None:
        self._serverless, self._yarn, self._s3 = serverless, yarn, s3
        self._running: Job | None = None

    def step(self, job: Any) -> None:
        if self._running is None:
            self._running = Job(
                job.job_driver,
                job.configuration_overrides,
                yarn=self._yarn,
                s3=self._s3,
                application_id=job.application_id,
                job_run_id=job.id,
            )
            self._serverless.set(job, "RUNNING")
        if self._running.is_running:
            self._serverless.steps.append(self.step)
            return
        ended = self._running.wait()
        self._serverless.set(job, ended.state, ended.details, minutes=1)
        self._serverless.bill(job, 4 / 60, 8 / 60)


def say(command: str, *args: object) -> Any:
    """What a command says as JSON."""
    ended = run_aws(command, *args, "--region", REGION, "--json")
    assert ended.status == 0, ended
    return json.loads(ended.stdout)


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment for this machine, and pyarrow as other tests want it."""
    monkeypatch.setattr(environment, "build", lambda target: BUILD(HERE))
    monkeypatch.setattr("pomona.commands.running.forgo_pandas", lambda: None)
    monkeypatch.setattr(watch, "POLL_S", 0.2)


@pytest.mark.usefixtures("_quick")
def test_from_an_empty_account_to_results_and_back(
    aws: MotoServer, yarn: Yarn, pomona: Pomona, tmp_path: Path
) -> None:
    photos, server = draw_photos(tmp_path / "photos", IMAGES), Server(aws.url, None)
    assert up().status == 0
    made = say("up", "--yes")
    source, out = f"s3://{made['images']}/photos", f"s3://{made['results']}/stores/out"
    pomona.done("upload", photos, source, "--sse", "aws:kms", "--kms-key", made["key_arn"])
    pomona.done("aws", "plan", source, out, "--region", REGION, "--budget", "0.50")
    with patched() as serverless, fresh_connections():
        serverless.steps.append(_OnYarn(serverless, yarn, server).step)
        where = ("--budget", "0.50", "--vcpus", "4", "--components", "9", "--yes")
        told = say("run", source, out, *where)
        assert (told["images"], told["errors"], told["attempts"]) == (IMAGES, 0, 1)
        assert told["cost_usd"] < told["budget_usd"]
        [ended] = say("status")["ended"]
        assert (ended["job"], ended["state"], ended["out"]) == (told["job"], "SUCCESS", out)
        logs = say("logs", told["job"])
        assert logs["cause"] is None
        assert "exit status 0" in logs["files"][1]["lines"], logs
        billed = say("cost", told["job"])["billed_usd"]
        assert billed == pytest.approx(told["cost_usd"])
        pomona.done("aws", "fetch", out, tmp_path / "out")
        pomona.done("run", source, tmp_path / "local", "--components", "9", "--quiet")
        assert tables(tmp_path / "out") == tables(tmp_path / "local")
        gone = run_aws("down", "--region", REGION, "--with-data", "--yes")
        assert gone.status == 0, gone
        assert aws.client("s3").list_buckets()["Buckets"] == []
