"""A Spark of two threads in this process's JVM, for the stages' tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

PLANTED = Path(__file__).parents[1] / "planted"
SETTINGS = {
    # The workers' codec crashes of images that are marked so. Later applications of this JVM, an
    # engine's too, inherit the setting: it holds all that they import.
    "spark.executorEnv.PYTHONPATH": os.pathsep.join([str(PLANTED), *filter(None, sys.path)]),
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "3",
    "spark.log.level": "ERROR",
}

TOLERATED = (
    # pyspark leaves the sockets that it collects results from to the garbage collector.
    "ignore:unclosed <socket.socket:ResourceWarning",
    # pyspark 3.5 compares pandas' version with distutils.
    "ignore:distutils Version classes are deprecated:DeprecationWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("spark"):
            for tolerated in TOLERATED:
                item.add_marker(pytest.mark.filterwarnings(tolerated))


@pytest.fixture(scope="module")
def spark_home() -> Iterator[None]:
    """What a process needs to start Spark: a Java, and this Python for the workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        yield


@pytest.fixture(scope="module")
def spark(
    spark_home: None, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SparkSession]:
    """A session of two threads, for one module: while it is active, engines would join it.

    cache: its workers have the tests' POMONA_CACHE.
    """
    # A second attempt, as on a cluster: Spark 3.5 can hand a task a Python worker that has ended.
    builder = SparkSession.builder.master("local[2, 2]").appName("pomona-tests")
    warehouse = str(tmp_path_factory.mktemp("warehouse"))
    for name, value in {**SETTINGS, "spark.sql.warehouse.dir": warehouse}.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield session
    session.stop()
