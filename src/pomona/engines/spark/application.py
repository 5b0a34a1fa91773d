"""A Spark application: checked before anything starts, then started, or joined if it is active."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException
from pyspark.java_gateway import launch_gateway

from pomona.engines.base import MAX_ATTEMPTS, usable_cores
from pomona.engines.spark.memory import overhead_mb
from pomona.engines.workers import ONE_THREAD
from pomona.errors import EngineError, UsageError

JAVA = 17
CONNECT_TIMEOUT_S = 5.0
GET_JAVA = (
    "install one (Debian: apt install openjdk-17-jre-headless; macOS: brew install openjdk@17; "
    "conda: conda install openjdk=17), or set JAVA_HOME"
)
_LOCAL = re.compile(r"local(\[(\d+|\*)(\s*,\s*\d+)?\])?")  # as SparkMasterRegex has it
_SPARK_ERRORS = (Py4JError, PySparkException, RuntimeError, OSError)


def active() -> SparkContext | None:
    """Returns the application of this process, if one runs."""
    return SparkContext._active_spark_context


def is_local(master: str) -> bool:
    """Returns whether executors are threads of the driver's JVM, on its machine."""
    return _LOCAL.fullmatch(master) is not None


def check(master: str | None, workers: int | None) -> None:
    """Refuses what cannot become an application, before anything is read or started.

    Parameters
    ----------
    master, workers
        As `start` takes them.

    Raises
    ------
    UsageError
        If they contradict each other or Spark's settings.
    EngineError
        If Java is missing, or no master answers.
    """
    if (master or "").startswith("sc://") or "SPARK_CONNECT_MODE_ENABLED" in os.environ:
        raise UsageError(
            "Spark Connect has no broadcasts, which pomona needs: give a classic `master`, "
            "or use spark-submit"
        )
    if master is not None and not is_local(master):
        _check_workers(workers)
    if master is not None and active():
        raise UsageError(f"`master` {master}: a Spark application is active already; leave it out")
    if active() is None and "PYSPARK_GATEWAY_PORT" not in os.environ:
        find_java()
    if master is not None:
        _check_master(master)


def find_java() -> str:
    """Returns the version of the Java that Spark will start, and where. Raises EngineError."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home, "bin")) if home else None)
    where = f"in JAVA_HOME ({home})" if home else "in PATH"
    if java is None:
        raise EngineError(f"Spark needs Java {JAVA} or newer, there is none {where}: {GET_JAVA}")
    try:
        done = subprocess.run(  # noqa: S603 - the program that Spark itself will start
            [java, "-version"], capture_output=True, text=True, timeout=60, check=False
        )
        answer = done.stderr + done.stdout
    except (OSError, subprocess.SubprocessError) as exc:
        raise EngineError(f"cannot run {java} ({exc}): {GET_JAVA}") from exc
    version = re.search(r'version "((?:1\.)?(\d+)[^"]*)', answer)
    if version is None:
        raise EngineError(f"{java} does not tell its version: {GET_JAVA}")
    if int(version[2]) < JAVA:
        raise EngineError(f"Spark needs Java {JAVA} or newer, {java} is {version[1]}: {GET_JAVA}")
    return f"{version[1]} at {java}"


def _check_master(master: str) -> None:
    """Refuses a wrong address, and a standalone master that Spark would try for minutes."""
    if master.startswith("spark://"):
        addresses = master.removeprefix("spark://").split(",")
        if not any(_answers(address) for address in addresses):
            raise EngineError(
                f"no Spark master answers at {master}: check the address (its web page shows it), "
                "and that the master runs"
            )
    elif not (is_local(master) or re.match(r"yarn$|k8s://|local-cluster\[", master)):
        raise UsageError(
            f"`master` {master}: give local[N], spark://HOST:PORT, yarn or k8s://HOST:PORT"
        )


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S):
            return True
    except (OSError, ValueError, OverflowError):
        return False


def start(master: str | None, workers: int | None, given: Mapping[str, str]) -> SparkContext:
    """Starts an application.

    Parameters
    ----------
    master : str, optional
        Its address. None: what spark-submit or Spark's settings say, else this machine.
    workers : int, optional
        How many tasks at a time; on this machine only.
    given : mapping of str to str
        Settings of Spark that win over pomona's.

    Raises
    ------
    EngineError
        If it does not start.
    """
    explicit = {**given, **({"spark.master": master} if master else {})}
    with tempfile.TemporaryFile() as log:  # the JVM writes on into it after it is closed here
        try:
            if SparkContext._gateway is None:
                # Its lines would run through the progress; under spark-submit they are the user's.
                quiet = None if os.environ.get("POMONA_DEBUG") else {"stdout": log, "stderr": log}
                launching = SparkConf(loadDefaults=False).setAll(list(explicit.items()))
                gateway = launch_gateway(launching, quiet)  # type: ignore[no-untyped-call]
                SparkContext._ensure_initialized(gateway=gateway)
            conf = _settings(SparkConf().setAll(list(explicit.items())), workers)
            context = SparkContext(conf=conf)
            if "PYSPARK_PYTHON" not in os.environ:
                context.pythonExec = conf.get("spark.pyspark.python") or sys.executable
            return context
        except _SPARK_ERRORS as exc:
            where = f" on {master}" if master else ""
            raise EngineError(f"Spark did not start{where}: {_reason(exc, log)}") from exc


def _reason(exc: BaseException, log: IO[bytes]) -> str:
    if isinstance(exc, Py4JJavaError):
        cause = exc.java_exception
        while cause.getCause() is not None:
            cause = cause.getCause()
        return _first_line(str(cause.getMessage() or cause.toString()))
    if "JAVA_GATEWAY_EXITED" not in str(exc):
        return _first_line(str(exc))
    log.seek(0)
    lines = log.read().decode(errors="replace").splitlines()
    bad = [line for line in lines if re.search("error|exception|cannot", line, re.IGNORECASE)]
    bad = [re.sub(r'^Exception in thread "\w+" [\w.]+: ', "", line) for line in bad]
    return _first_line((bad or ["Java ended at once and said nothing: try `java -version`"])[0])


def _settings(conf: SparkConf, workers: int | None) -> SparkConf:
    """Adds pomona's settings, where neither the user nor the cluster has said otherwise."""
    conf.setMaster(_with_retries(conf.get("spark.master", "local[*]"), workers))
    slots = int(conf.get("spark.executor.cores", "1")) // int(conf.get("spark.task.cpus", "1"))
    defaults = {
        "spark.app.name": "pomona",
        # One more than there are attempts: the last one tells that the others died.
        "spark.task.maxFailures": MAX_ATTEMPTS + 1,
        "spark.speculation": "true",
        # A task is seconds long and its copy is careful, so slow: only one far behind needs it.
        "spark.speculation.multiplier": 4,
        "spark.speculation.quantile": 0.9,
        "spark.python.worker.reuse": "true",
        "spark.ui.showConsoleProgress": "false",
        "spark.executor.memoryOverhead": f"{overhead_mb(slots)}m",
        **{f"spark.executorEnv.{name}": threads for name, threads in ONE_THREAD.items()},
    }
    if is_local(conf.get("spark.master", "")):
        # The workers are this machine's: they find what the driver finds.
        defaults["spark.executorEnv.PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    for key, default in defaults.items():
        conf.setIfMissing(key, str(default))
    return conf


def _with_retries(master: str, workers: int | None) -> str:
    """Returns local[N] as local[N,F]: without F a task that fails once is never tried again."""
    local = _LOCAL.fullmatch(master)
    if local is None:
        _check_workers(workers)
        return master
    cores = local[2] or ("1" if local[1] is None else "*")
    number = workers or (usable_cores() if cores == "*" else int(cores))
    return f"local[{number},{MAX_ATTEMPTS + 1}]"


def _check_workers(workers: int | None) -> None:
    if workers is not None:
        raise UsageError(
            f"`workers` {workers}: on a cluster its executors decide; "
            "say how many with `spark_conf`, such as spark.executor.instances=4"
        )


def in_one_line(exc: BaseException) -> str:
    """Returns what went wrong in Spark, without its stacks, and the remedy if it is known."""
    message = str(exc)
    if isinstance(exc, Py4JJavaError):
        message = str(exc.java_exception.getMessage() or exc.java_exception.toString())
    missing = re.search(r"No module named '([\w.]+)'", message)
    if missing:
        return (
            f"the executors' Python has no {missing[1]}: send pomona's environment along, or "
            "install it on every node (docs/how-to/spark.md says how)"
        )
    python = re.search(r'Cannot run program "([^"]+)"', message)
    if python:
        return f"the executors have no Python at {python[1]}: set PYSPARK_PYTHON to one they have"
    # Up to the JVM's stack: its own exception, or the last line of a Python traceback.
    before_stack = message.partition("\n\tat ")[0]
    raised = re.findall(r"(?:[\w.]+\.)?(\w+(?:Error|Exception)): (?!Traceback)(.+)", before_stack)
    if raised:
        return ": ".join(raised[-1])
    _, _, reason = before_stack.rpartition("most recent failure: ")
    return _first_line(reason) or type(exc).__name__


def _first_line(text: str) -> str:
    return " ".join(text.strip().partition("\n")[0].split())
