"""Spark's settings of a job on EMR Serverless, from the sizes of its workers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pomona.engines.spark.memory import WORKER_MB, overhead_mb
from pomona.errors import UsageError

NAME = "environment"
PYTHON = f"./{NAME}/bin/python"
# The least heap that Spark starts with, and the driver's, which holds no image and no feature.
_LEAST_HEAP_MB = 512
_DRIVER_HEAP_MB = 1024


@dataclass(frozen=True)
class Worker:
    """A worker of EMR Serverless.

    Parameters
    ----------
    vcpus : int
        Its processors.
    memory_mb : int
        All of its memory, in MB of 2**20 bytes.
    """

    vcpus: int
    memory_mb: int


@dataclass(frozen=True)
class Sizes:
    """The workers of a job: one driver and some executors."""

    driver: Worker
    executor: Worker
    executors: int


def spark_settings(sizes: Sizes, archive: str, region: str) -> dict[str, str]:
    """Returns Spark's settings of a job.

    A worker's memory is what pomona's Python processes need, and the JVM's heap is what remains.

    Parameters
    ----------
    sizes : Sizes
        The workers.
    archive : str
        The address of the environment, s3://BUCKET/KEY.
    region : str
        Where the job runs: it asks this region for its buckets, and reaches no other.

    Raises
    ------
    UsageError
        If a worker's memory is too small for its processors.
    """
    of_executor = overhead_mb(sizes.executor.vcpus)
    of_driver = max(overhead_mb(1), sizes.driver.memory_mb - _DRIVER_HEAP_MB)
    return {
        "spark.archives": f"{archive}#{NAME}",
        "spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON": PYTHON,
        "spark.emr-serverless.driverEnv.PYSPARK_PYTHON": PYTHON,
        "spark.executorEnv.PYSPARK_PYTHON": PYTHON,
        "spark.emr-serverless.driverEnv.AWS_DEFAULT_REGION": region,
        "spark.executorEnv.AWS_DEFAULT_REGION": region,
        "spark.driver.cores": str(sizes.driver.vcpus),
        "spark.driver.memory": f"{_heap_mb('driver', sizes.driver, of_driver)}m",
        "spark.driver.memoryOverhead": f"{of_driver}m",
        "spark.executor.cores": str(sizes.executor.vcpus),
        "spark.executor.memory": f"{_heap_mb('executor', sizes.executor, of_executor)}m",
        "spark.executor.memoryOverhead": f"{of_executor}m",
        "spark.executor.instances": str(sizes.executors),
        # No executor beyond these is started, and none is given back while the others work.
        "spark.dynamicAllocation.enabled": "false",
    }


def spark_submit_parameters(sizes: Sizes, archive: str, region: str) -> str:
    """Returns the settings as `sparkSubmitParameters` of a request has them.

    Parameters
    ----------
    sizes, archive, region
        As for `spark_settings`.

    Raises
    ------
    UsageError
        As by `spark_settings`, and for an address that EMR Serverless would take for several words.
    """
    settings = spark_settings(sizes, archive, region)
    if any(re.search(r"[\s'\"\\]", value) for value in settings.values()):
        raise UsageError(f"{archive} has a space or a quote in it: take a bucket that has none")
    return " ".join(f"--conf {name}={value}" for name, value in settings.items())


def _heap_mb(name: str, worker: Worker, overhead: int) -> int:
    heap = worker.memory_mb - overhead
    if heap < _LEAST_HEAP_MB:
        raise UsageError(
            f"the {name} has {worker.memory_mb:,} MB for {worker.vcpus} vCPU: give it at least "
            f"{overhead + _LEAST_HEAP_MB:,} MB ({WORKER_MB:,} MB for each)"
        )
    return heap
