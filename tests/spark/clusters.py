"""A standalone Spark cluster of real processes: a master, and workers whose executors are apart."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyspark

from conftest import wait_for

SPARK_CLASS = Path(pyspark.__file__).parent / "bin" / "spark-class"
HIDE = 'mount -t tmpfs tmpfs "$0" && exec "$@"'
EXECUTOR = "org.apache.spark.executor.CoarseGrainedExecutorBackend"


@dataclass(frozen=True)
class Cluster:
    """master: its address; workers: each has one executor of one core."""

    master: str
    workers: list[subprocess.Popen[bytes]]

    def executors(self) -> list[psutil.Process]:
        """The executors' JVMs that run now."""
        alive = [worker.pid for worker in self.workers if worker.poll() is None]
        children = [
            child for pid in alive for child in psutil.Process(pid).children(recursive=True)
        ]
        return [child for child in children if _is_executor(child)]

    def kill_worker(self) -> None:
        """Ends a worker and its executor at once, as a machine that is gone."""
        worker = self.workers[-1]
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def _is_executor(process: psutil.Process) -> bool:
    try:
        return EXECUTOR in process.cmdline()
    except psutil.Error:  # it has ended meanwhile
        return False


@contextmanager
def start_cluster(folder: Path, workers: int = 2, hidden: Path | None = None) -> Iterator[Cluster]:
    """A cluster on the loopback, with its logs and work in `folder`; ends with its processes.

    hidden: a folder in whose place all of them see an empty one, as other machines may.
    """
    prefix = [] if hidden is None else ["unshare", "--mount", "sh", "-c", HIDE, str(hidden)]
    folder.mkdir(parents=True, exist_ok=True)
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, what: str, *args: str) -> subprocess.Popen[bytes]:
        with (folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *prefix,
                    SPARK_CLASS,
                    f"org.apache.spark.deploy.{what}",
                    "--host",
                    "127.0.0.1",
                    *args,
                ],
                stdout=log,
                stderr=log,
                cwd=folder,
                # Executors are to have nothing but what the application sends them.
                env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
                start_new_session=True,
            )
        started.append(process)
        return process

    def found(name: str, pattern: str) -> str:
        log = folder / f"{name}.log"
        wait_for(lambda: re.search(pattern, log.read_text()) is not None)
        match = re.search(pattern, log.read_text())
        assert match
        return match[0]

    try:
        start("master", "master.Master", "--port", "0", "--webui-port", "0")
        master = found("master", r"spark://127\.0\.0\.1:\d+")
        running = [
            start(
                f"worker-{index}",
                "worker.Worker",
                *("--webui-port", "0", "--cores", "1", "--memory", "1g"),
                *("--work-dir", str(folder / f"work-{index}"), master),
            )
            for index in range(workers)
        ]
        for index in range(workers):
            found(f"worker-{index}", "Successfully registered with master")
        yield Cluster(master, running)
    finally:
        for process in reversed(started):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
