"""A job on a real YARN, by itself and at the end of the whole way of `pomona aws`.

It leaves what a local run leaves, and says why where it cannot.

The cluster is Hadoop's own, with two nodes on this machine; images and stores lie in a real S3
server; the archive, the script and the settings are those that EMR Serverless gets. EMR Serverless
itself is not YARN, and AWS's builds of Spark and Python are others.

On the whole way moto takes the calls, with the patches of `serverless`; the job that it was given
runs as given, and writes to moto's S3. Only the environment is one for this machine, since the
application is one of ARM, and what AWS would bill is made up.
"""

from __future__ import annotations

import gzip
import json
import os
import platform
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aws_commands import REGION, run_aws, up
from emr_serverless import Job
from moto_server import MotoServer
from serverless import Serverless, patched
from yarn import TIMEOUT_S, Yarn

from conftest import Pomona, draw_photos, tables, wait_for
from pomona.aws import environment, outcome, watch
from pomona.aws.environment import Uploaded
from pomona.aws.submit import Sizes, Worker, spark_submit_parameters
from pomona.aws.target import Target
from pomona.s3.address import Address
from pomona.s3.bucket import open_bucket
from s3_server import Place, Server, bucket, fresh_connections, s3_server

__all__ = ["bucket", "s3_server"]

pytest_plugins = ("aws_account", "yarn_session")
pytestmark = [pytest.mark.spark, pytest.mark.needs("s3 server")]

IMAGES = 60
BUILD = environment.build
# The smallest workers of EMR Serverless
SMALL = Sizes(Worker(1, 2048), Worker(1, 2048), 1)
# Executors of which a node takes one beside a driver
LARGE = Sizes(Worker(1, 2048), Worker(1, 40_000), 2)
HERE = Target(
    platform.machine(),
    f"{sys.version_info.major}.{sys.version_info.minor}",
    os.path.realpath(sys.executable),
)


@dataclass(frozen=True)
class Cloud:
    """Where jobs run, what they run, and the bucket of their images and stores."""

    yarn: Yarn
    uploaded: Uploaded
    bucket: Place
    source: str

    def start(self, source: str, out: str, *, sizes: Sizes = SMALL, more: str = "") -> Job:
        """Starts a job; more: further settings of Spark."""
        parameters = spark_submit_parameters(sizes, self.uploaded.archive, REGION)
        driver = {
            "entryPoint": self.uploaded.job,
            "entryPointArguments": [source, out],
            "sparkSubmitParameters": f"{parameters} {more}",
        }
        logs = {"s3MonitoringConfiguration": {"logUri": self.bucket.at("logs/")}}
        return Job(
            {"sparkSubmit": driver},
            {"monitoringConfiguration": logs},
            yarn=self.yarn,
            s3=self.bucket.server,
            application_id="application",
            job_run_id=uuid.uuid4().hex,
        )


@pytest.fixture(scope="module")
def cloud(bucket: Place, yarn: Yarn, tmp_path_factory: pytest.TempPathFactory) -> Cloud:
    photos = draw_photos(tmp_path_factory.mktemp("photos"), IMAGES)
    uploaded = environment.upload(environment.build(HERE), open_bucket(Address(bucket.name)))
    return Cloud(yarn, uploaded, bucket, bucket.upload(photos, "photos"))


def test_a_lost_node_costs_its_tasks_and_the_store_is_that_of_a_local_run(
    cloud: Cloud, pomona: Pomona, tmp_path: Path
) -> None:
    job = cloud.start(cloud.source, cloud.bucket.at("stores/out"), sizes=LARGE)

    def is_at_work() -> bool:
        assert job.is_running, job.wait()
        started = [each.read("stderr") for each in job.containers if not each.is_driver]
        return len(started) == 2 and all("Running task" in said for said in started)

    wait_for(is_at_work, TIMEOUT_S)
    driver = next(each for each in job.containers if each.is_driver)
    lost = {each.node for each in job.containers} - {driver.node}
    assert lost
    cloud.yarn.kill_node(*lost)
    try:
        ended = job.wait()
    finally:
        cloud.yarn.start_node(*lost)
        cloud.yarn.wait()
    assert ended.state == "SUCCESS", ended
    assert "Lost executor" in ended.driver.read("stderr")
    assert outcome.read(ended.driver.read("stdout"), ended.driver.read("stderr")).status == 0
    pomona.done("run", cloud.source, tmp_path / "local", "--quiet")
    assert tables(cloud.bucket.download("stores/out", tmp_path / "out")) == tables(
        tmp_path / "local"
    )


def test_a_job_with_a_wrong_source_runs_once_and_says_so_in_its_log(cloud: Cloud) -> None:
    wrong = cloud.bucket.at("nowhere")
    job = cloud.start(wrong, cloud.bucket.at("stores/wrong"))
    ended = job.wait()
    assert ended.state == "FAILED"
    assert len({each.folder.name.split("_")[3] for each in ended.containers}) == 1
    logs = cloud.bucket.contents(Address.parse(str(job.log_uri)).prefix)
    found = outcome.read(gzip.decompress(logs["SPARK_DRIVER/stdout.gz"]).decode(), "")
    assert found.status == 1
    assert wrong in str(found.reason), found
    assert not cloud.bucket.contents("stores/wrong")


def test_an_executor_over_its_memory_is_named_as_the_reason(cloud: Cloud) -> None:
    more = " ".join(
        f"--conf {name}={value}"
        for name, value in {
            "spark.executor.memory": "512m",
            "spark.executor.memoryOverhead": "1m",
            "spark.executor.cores": "4",
            "spark.task.maxFailures": "1",
        }.items()
    )
    ended = cloud.start(cloud.source, cloud.bucket.at("stores/greedy"), more=more).wait()
    assert ended.state == "FAILED"
    found = outcome.read(ended.driver.read("stdout"), ended.driver.read("stderr"))
    assert found.reason == outcome.OUT_OF_MEMORY, ended


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
