"""The script of a job, what Spark is told, and what is read out of a driver's log.

On a cluster the job is tried in test_rehearsal.py.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pomona.aws import job, outcome
from pomona.aws.submit import Sizes, Worker, spark_settings, spark_submit_parameters
from pomona.errors import UsageError

REGION = "eu-west-1"
ARCHIVE = "s3://results/environments/0123.tar.gz"


def test_a_job_prints_why_it_failed_and_the_exit_status_on_stdout(tmp_path: Path) -> None:
    for words, status in ((["nowhere", "out"], 1), (["nowhere", "out", "--variance", "2"], 2)):
        done = subprocess.run(
            [sys.executable, job.__file__, *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (done.returncode, done.stderr) == (status, "")
        *_, complaint, last = done.stdout.splitlines()
        assert complaint.startswith("pomona: ")
        assert last == f"exit status {status}"
        read = outcome.read(done.stdout, done.stderr)
        assert (read.status, f"pomona: {read.reason}") == (status, complaint)
    assert not [*tmp_path.iterdir()]


# The least memory of each size of worker of EMR Serverless
@pytest.mark.parametrize(("vcpus", "memory_gb"), [(1, 2), (2, 4), (4, 8), (8, 16), (16, 32)])
def test_a_worker_s_memory_is_shared_between_the_heap_and_the_python_processes(
    vcpus: int, memory_gb: int
) -> None:
    worker = Worker(vcpus, memory_gb * 1024)
    settings = spark_settings(Sizes(Worker(1, 2048), worker, 3), ARCHIVE, REGION)
    heap, overhead = (
        int(settings[f"spark.executor.{name}"].removesuffix("m"))
        for name in ("memory", "memoryOverhead")
    )
    assert heap + overhead == worker.memory_mb
    assert heap >= 512
    assert overhead >= vcpus * 1024
    assert settings["spark.executor.cores"] == str(vcpus)
    assert settings["spark.executor.instances"] == "3"
    assert settings["spark.dynamicAllocation.enabled"] == "false"


def test_the_parameters_are_words_that_spark_submit_takes() -> None:
    sizes = Sizes(Worker(2, 4096), Worker(4, 8192), 3)
    words = shlex.split(spark_submit_parameters(sizes, ARCHIVE, REGION))
    assert set(words[::2]) == {"--conf"}
    given = dict(word.split("=", 1) for word in words[1::2])
    assert given == spark_settings(sizes, ARCHIVE, REGION)
    assert given["spark.archives"] == f"{ARCHIVE}#environment"
    for name in (
        "spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON",
        "spark.emr-serverless.driverEnv.PYSPARK_PYTHON",
        "spark.executorEnv.PYSPARK_PYTHON",
    ):
        assert given[name] == "./environment/bin/python"


def test_a_worker_with_too_little_memory_is_refused() -> None:
    with pytest.raises(UsageError, match=r"executor has 4,096 MB for 4 vCPU: .* at least 4,992 MB"):
        spark_settings(Sizes(Worker(1, 2048), Worker(4, 4096), 1), ARCHIVE, REGION)
    with pytest.raises(UsageError, match="driver has 1,024 MB"):
        spark_settings(Sizes(Worker(1, 1024), Worker(1, 2048), 1), ARCHIVE, REGION)


DONE = "60 images done in 50 s\n  errors    0\nexit status 0\n"
KILLED = (
    "23:59:01 WARN YarnAllocator: Container killed by YARN for exceeding physical memory limits. "
    "600.6 MB of 544 MB physical memory used. Consider boosting spark.executor.memoryOverhead.\n"
)
NO_PYTHON = (
    'java.io.IOException: Cannot run program "./environment/bin/python": error=2, No such file\n'
)


@pytest.mark.parametrize(
    ("stdout", "stderr", "status", "reason"),
    [
        (DONE, "", 0, None),
        # One executor was lost on the way, and the job went on.
        (DONE, KILLED, 0, None),
        ("pomona: s3://b/x does not exist\nexit status 1\n", "", 1, "s3://b/x does not exist"),
        # The least that a reader needs to know is not what pomona could see of it.
        ("pomona: its worker died 4 times\nexit status 1\n", KILLED, 1, outcome.OUT_OF_MEMORY),
        ("extract: 30 of 60\n", "ERROR: exit code 137", None, outcome.OUT_OF_MEMORY),
        ("extract: 30 of 60\n", "INFO stopped", None, None),
        ("pomona: stopped. 1 of 2\nexit status 143\n", "", 143, "stopped. 1 of 2"),
    ],
)
def test_the_reason_is_found_in_the_driver_s_log(
    stdout: str, stderr: str, status: int | None, reason: str | None
) -> None:
    assert outcome.read(stdout, stderr) == outcome.Outcome(status, reason)


def test_an_interpreter_that_is_not_there_is_named() -> None:
    read = outcome.read("", NO_PYTHON)
    assert read.status is None
    assert str(read.reason).startswith("the nodes have no Python")
