"""What Spark alone can do, and what is refused before it starts."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pyspark
import pytest
from pyspark import SparkConf, SparkContext

import engine_tasks as tasks
import pomona as pomona_package
from conftest import Ended, Pomona, draw_photos, tables, wait_for
from pomona.engines.base import Failure
from pomona.engines.registry import open_engine
from pomona.engines.spark.application import is_local
from pomona.engines.spark.engine import SparkEngine
from pomona.errors import EngineError, UsageError

SPARK = ("--engine", "spark")


@pytest.fixture
def java_of(tmp_path: Path) -> Path:
    """JAVA_HOME of a Java to be made up."""
    (tmp_path / "java" / "bin").mkdir(parents=True)
    return tmp_path / "java"


def make_java(home: Path, script: str) -> Pomona:
    java = home / "bin" / "java"
    java.write_text(f"#!/bin/sh\n{script}\n")
    java.chmod(0o755)
    return Pomona(env={"JAVA_HOME": str(home)})


def refused(pomona: Pomona, photos: Path, out: Path, *flags: str, status: int = 1) -> str:
    """The one line that refuses a run, which leaves nothing behind."""
    ended = pomona("run", photos, out, *SPARK, *flags)
    assert ended.status == status, ended
    assert not out.exists()
    return ended.complaint


def test_no_java(photos: Path, tmp_path: Path) -> None:
    complaint = refused(Pomona(env={"JAVA_HOME": "/nowhere"}), photos, tmp_path / "out")
    assert "Spark needs Java 17 or newer, there is none in JAVA_HOME (/nowhere)" in complaint
    assert "apt install openjdk-17-jre-headless" in complaint


def test_a_java_that_is_too_old(photos: Path, tmp_path: Path, java_of: Path) -> None:
    old = make_java(java_of, """echo 'openjdk version "1.8.0_402"' >&2""")
    assert "Spark needs Java 17 or newer" in refused(old, photos, tmp_path / "out")
    assert "is 1.8.0_402" in refused(old, photos, tmp_path / "out")


def test_doctor_tells_of_java(pomona: Pomona, java_of: Path) -> None:
    found = {row["what"]: row for row in json.loads(pomona.done("doctor", "--json").stdout)}
    assert found["pyspark"]["ok"] is True
    assert found["pyspark"]["detail"] == pyspark.__version__
    assert found["Java"]["ok"] is True
    without = Pomona(env={"JAVA_HOME": str(java_of)}).done("doctor", "--json")
    found = {row["what"]: row for row in json.loads(without.stdout)}
    assert found["Java"]["ok"] is None
    assert "apt install" in found["Java"]["detail"]


def test_a_java_that_breaks(photos: Path, tmp_path: Path, java_of: Path) -> None:
    script = """[ "$1" = -version ] && echo 'openjdk version "17.0.9"' >&2 && exit
echo 'Error: Could not reserve enough space for object heap' >&2; exit 1"""
    complaint = refused(make_java(java_of, script), photos, tmp_path / "out")
    assert complaint.endswith(
        "Spark did not start: Error: Could not reserve enough space for object heap"
    )


@pytest.mark.parametrize(
    ("master", "status", "words"),
    [
        ("foo", 2, "give local[N], spark://HOST:PORT, yarn or k8s://HOST:PORT"),
        ("local[x]", 2, "give local[N]"),
        ("spark://nowhere.invalid:7077", 1, "no Spark master answers at"),
        ("spark://nowhere", 1, "no Spark master answers at"),
        ("sc://localhost", 2, "Spark Connect has no broadcasts"),
        ("yarn", 1, "either HADOOP_CONF_DIR or YARN_CONF_DIR must be set"),
    ],
)
def test_a_wrong_master(
    pomona: Pomona, photos: Path, tmp_path: Path, master: str, status: int, words: str
) -> None:
    complaint = refused(pomona, photos, tmp_path / "out", "--master", master, status=status)
    assert words in complaint


@pytest.mark.parametrize("master", ["local", "local[*]", "local[2]", "local[2,4]", "local[2, 4]"])
def test_a_master_on_this_machine(master: str) -> None:
    assert is_local(master)


@pytest.mark.parametrize("master", ["local[]", "local[2,]", "local-cluster[2,1,1024]", "yarn"])
def test_a_master_elsewhere(master: str) -> None:
    assert not is_local(master)


def test_a_master_that_is_down(pomona: Pomona, photos: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    complaint = refused(pomona, photos, tmp_path / "out", "--master", f"spark://127.0.0.1:{port}")
    assert f"no Spark master answers at spark://127.0.0.1:{port}" in complaint


def test_flags_that_do_not_go_together(pomona: Pomona, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    both = ("--master", "spark://127.0.0.1:7077", "--workers", "2")
    assert "spark.executor.instances" in refused(pomona, photos, out, *both, status=2)
    wrong = ("--spark-conf", "cores=2")
    assert "give spark.KEY=VALUE" in refused(pomona, photos, out, *wrong, status=2)
    ended = pomona("run", photos, out, "--master", "local[2]")
    assert ended.status == 2
    assert "add --engine spark" in ended.complaint


def test_without_pyspark(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "pyspark.py").write_text("raise ModuleNotFoundError(name='pyspark')")
    without = Pomona(env={"PYTHONPATH": str(tmp_path)})
    complaint = refused(without, photos, tmp_path / "out")
    assert complaint == 'pomona: pyspark is not installed: pip install "pomona[spark]"'


def test_spark_connect_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_CONNECT_MODE_ENABLED", "1")
    with pytest.raises(UsageError, match="Spark Connect"):
        open_engine("spark")


def test_a_network_beyond_the_limit_names_both(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SparkEngine, "max_payload_bytes", 1000)
    with pytest.raises(EngineError, match=r"is 13,\d+,\d+ bytes, spark can send 1,000"):
        pomona_package.run(photos, tmp_path / "out", engine="spark", progress=False)
    assert SparkContext._active_spark_context is None
    assert not (tmp_path / "out").exists()


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Iterator[SparkContext]:
    """An application of the user's own, as it comes: without retries."""
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    conf = SparkConf().setMaster("local[1]").setAppName("mine").set("spark.ui.enabled", "false")
    conf.setExecutorEnv("PYTHONPATH", str(Path(tasks.__file__).parent))
    with SparkContext(conf=conf) as context:
        yield context


def test_the_active_application_is_used_and_left(
    context: SparkContext, photos: Path, tmp_path: Path
) -> None:
    store = pomona_package.run(photos, tmp_path / "out", engine="spark", progress=False)
    assert len(store.features()) == 40
    assert SparkContext._active_spark_context is context
    [run] = store.manifest["runs"]
    assert (run["workers"], run["spark"]["version"]) == (1, pyspark.__version__)


def test_another_master_than_the_active_one_is_refused(context: SparkContext) -> None:
    with pytest.raises(UsageError, match="active already"):
        open_engine("spark", master="local[2]")


def test_a_job_that_spark_gives_up_fails_in_one_line(context: SparkContext, tmp_path: Path) -> None:
    with open_engine("spark") as engine, pytest.raises(EngineError) as caught:
        list(engine.map(tasks.die_on_3, [3], tmp_path))
    told = str(caught.value)
    assert told.startswith("SparkException: Python worker exited unexpectedly (crashed)")
    assert "\n" not in told


def test_settings_win_over_pomonas_own() -> None:
    conf = {"spark.task.cpus": "2", "spark.speculation": "false", "spark.ui.enabled": "false"}
    with open_engine("spark", master="local[4]", conf=conf) as engine:
        assert (engine.workers, engine.threads, engine.remote) == (2, 2, False)
        settings = SparkContext.getOrCreate().getConf()
        assert settings.get("spark.speculation") == "false"
        assert settings.get("spark.task.maxFailures") == "5"
        assert settings.get("spark.executor.memoryOverhead") == f"{384 + 1024}m"
        [(_, failure)] = engine.map(tasks.raise_on_odd, [1], None)
        assert isinstance(failure, Failure)


def test_workers_run_the_python_of_the_driver() -> None:
    with open_engine("spark", 1) as engine:
        [(_, process)] = engine.map(tasks.process, [1], None)
    assert process != os.getpid()


def stop(pomona: Pomona, photos: Path, out: Path, number: signal.Signals) -> Ended:
    """Starts or continues a run, and stops it by a signal after its next part."""

    def parts() -> int:
        features = out / "features"
        return len(list(features.iterdir())) if features.is_dir() else 0

    before = parts()
    process = pomona.start("run", photos, out, *SPARK, "--workers", "2")
    wait_for(lambda: process.poll() is not None or parts() > before)
    process.send_signal(number)
    return pomona.end(process)


def test_a_stopped_run_goes_on_when_it_is_given_again(pomona: Pomona, tmp_path: Path) -> None:
    """Stopped twice, by Ctrl-C and by what a scheduler sends."""
    photos, out = draw_photos(tmp_path / "photos", 200), tmp_path / "out"
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        ended = stop(pomona, photos, out, number)
        assert ended.status == status, ended
        assert "continue with: pomona run" in ended.stderr
        assert "Traceback" not in ended.stderr
    secret = ("--spark-conf", "spark.authenticate.secret=hush")
    pomona.done("run", photos, out, *SPARK, "--workers", "2", *secret)
    for name in ("pomona.json", "report.html"):
        told = (out / name).read_text("utf-8")
        assert "hush" not in told
        assert "spark.authenticate.secret=(hidden)" in told
    pomona.done("run", photos, tmp_path / "undisturbed", "--quiet")
    assert tables(out) == tables(tmp_path / "undisturbed")
