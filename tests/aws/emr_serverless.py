"""What EMR Serverless does with a job, done by the tests' YARN.

It takes the parts of a StartJobRun request as they are. EMR Serverless itself is not YARN: names of
its settings are translated, its logs are put where it puts them, and a job is run once.
"""

from __future__ import annotations

import gzip
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bound_process import BoundProcess
from yarn import SPARK_HOME, TIMEOUT_S, Container, Yarn

from s3_server import Server

_DRIVER_ENV = "spark.emr-serverless.driverEnv."
_OF_YARN = {
    "spark.master": "yarn",
    "spark.submit.deployMode": "cluster",
    # As of a job whose retryPolicy says nothing.
    "spark.yarn.maxAppAttempts": "1",
    "spark.yarn.jars": f"local:{SPARK_HOME}/jars/*",
}


@dataclass(frozen=True)
class Ended:
    """How a job ended.

    state: SUCCESS or FAILED, as EMR Serverless says; details: why, as spark-submit says.
    """

    state: str
    details: str
    containers: list[Container]

    @property
    def driver(self) -> Container:
        """Where the driver ran."""
        return next(each for each in self.containers if each.is_driver)


class Job:
    """A job that runs; the arguments are those of StartJobRun, and what the service answers."""

    def __init__(
        self,
        job_driver: dict[str, Any],
        configuration: dict[str, Any],
        *,
        yarn: Yarn,
        s3: Server,
        application_id: str,
        job_run_id: str,
    ) -> None:
        self._yarn, self._s3 = yarn, s3
        self.log_uri = _log_uri(configuration, application_id, job_run_id)
        submit = job_driver["sparkSubmit"]
        settings = _settings(submit.get("sparkSubmitParameters", ""), configuration)
        if archive := settings.get("spark.archives"):
            settings["spark.archives"] = self._bring(archive)
        # What the service gives to the processes of a job: its role's credentials, and the region.
        for where in ("spark.yarn.appMasterEnv", "spark.executorEnv"):
            settings |= {f"{where}.{name}": value for name, value in s3.env().items()}
        settings["spark.yarn.stagingDir"] = f"file://{yarn.folder}/staging"
        confs = [word for pair in settings.items() for word in ("--conf", "=".join(pair))]
        entry = self._bring(submit["entryPoint"])
        command = [str(SPARK_HOME / "bin" / "spark-submit"), *confs, entry]
        self._folder = yarn.folder / "jobs" / job_run_id
        self._folder.mkdir(parents=True)
        self._process = BoundProcess(
            [*command, *submit.get("entryPointArguments", [])],
            self._folder,
            "spark-submit",
            yarn.env(),
        )

    @property
    def containers(self) -> list[Container]:
        """The containers so far, the driver's first."""
        found = re.search(r"application_\d+_\d+", self._process.stderr.read_text(errors="replace"))
        return self._yarn.containers(found[0]) if found else []

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> Ended:
        """Waits until it has ended, and leaves its logs in the bucket."""
        try:
            status = self._process.wait(TIMEOUT_S)
        finally:
            self._process.end()
            self._keep_logs()
        said = self._process.stderr.read_text(errors="replace")
        details = re.findall(r"(?m)^\s*diagnostics: (?!N/A)(.*)", said)
        state = "FAILED" if status else "SUCCESS"
        return Ended(state, details[-1] if details else "", self.containers)

    def cancel(self) -> None:
        """Ends it as CancelJobRun does."""
        if found := re.search(r"application_\d+_\d+", self._process.stderr.read_text()):
            self._yarn.kill_application(found[0])
        else:
            self._process.end()

    def _bring(self, address: str) -> str:
        """A file of a bucket on this machine, once; its name after `#` stays."""
        address, mark, name = address.partition("#")
        parts = urlsplit(address)
        assert parts.scheme == "s3", address
        path = self._yarn.folder / "brought" / parts.netloc / parts.path.lstrip("/")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            reply = self._s3.client().get_object(Bucket=parts.netloc, Key=parts.path.lstrip("/"))
            with path.open("wb") as file:
                for block in reply["Body"].iter_chunks(2**20):
                    file.write(block)
        return f"{path}{mark}{name}"

    def _keep_logs(self) -> None:
        if self.log_uri is None:
            return
        executors = 0
        for container in self.containers:
            place = "SPARK_DRIVER"
            if not container.is_driver:
                executors += 1
                place = f"SPARK_EXECUTOR/{executors}"
            for name in ("stdout", "stderr"):
                self._put(f"{place}/{name}.gz", container.folder / name)

    def _put(self, name: str, path: Path) -> None:
        assert self.log_uri is not None
        parts = urlsplit(self.log_uri)
        self._s3.client().put_object(
            Bucket=parts.netloc,
            Key=f"{parts.path.strip('/')}/{name}",
            Body=gzip.compress(path.read_bytes() if path.exists() else b""),
        )


def run_as_serverless(
    job_driver: dict[str, Any],
    configuration: dict[str, Any],
    *,
    yarn: Yarn,
    s3: Server,
    application_id: str,
    job_run_id: str,
) -> Ended:
    """Runs a job to its end.

    job_driver, configuration: jobDriver and configurationOverrides of a StartJobRun request.
    """
    job = Job(
        job_driver,
        configuration,
        yarn=yarn,
        s3=s3,
        application_id=application_id,
        job_run_id=job_run_id,
    )
    return job.wait()


def _settings(parameters: str, configuration: dict[str, Any]) -> dict[str, str]:
    """Spark's settings, of the request's defaults and parameters, under the names that YARN has."""
    given: dict[str, str] = {}
    for each in configuration.get("applicationConfiguration", []):
        if each["classification"] == "spark-defaults":
            given |= each.get("properties", {})
    words = iter(shlex.split(parameters))
    for word in words:
        assert word == "--conf", f"{word}: pomona gives settings alone"
        name, _, value = next(words).partition("=")
        given[name] = value
    translated = {
        name.replace(_DRIVER_ENV, "spark.yarn.appMasterEnv."): value
        for name, value in given.items()
    }
    assert not [name for name in translated if "emr-serverless" in name], translated
    return {**translated, **_OF_YARN}


def _log_uri(configuration: dict[str, Any], application_id: str, job_run_id: str) -> str | None:
    monitoring = configuration.get("monitoringConfiguration", {})
    uri: str | None = monitoring.get("s3MonitoringConfiguration", {}).get("logUri")
    return uri and f"{uri.rstrip('/')}/applications/{application_id}/jobs/{job_run_id}"
