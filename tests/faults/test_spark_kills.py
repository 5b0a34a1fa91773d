"""Spark's processes killed at random moments: what is left is made good, by Spark or by a rerun."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from clusters import Cluster, start_cluster
from killing import (
    LONG,
    Story,
    check_same,
    check_whole_files,
    quick_folder,
    quick_pomona,
    started,
    tell,
)

from conftest import Pomona, draw_photos, wait_for

pytestmark = pytest.mark.spark
SEED = 0
KILLS = 20 if LONG else 1
WHOM = ("executor", "worker", "driver")
IMAGES = 70
MOMENT_S = 2.0  # about as long as tasks run, from the first Python worker on
ATTEMPTS = 5


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with quick_folder() as made:
        yield made


@pytest.fixture(scope="module")
def pomona(folder: Path) -> Pomona:
    return quick_pomona(folder)


@pytest.fixture(scope="module")
def story(folder: Path, pomona: Pomona) -> Story:
    """A store by the local engine."""
    source = draw_photos(folder / "source", IMAGES)
    (source / "Training/Pear/cut.jpg").write_bytes(min(source.rglob("*.jpg")).read_bytes()[:300])
    return tell("local", ("run", source, "OUT", "--quiet"), source, None, folder, pomona)


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[Cluster]:
    with start_cluster(folder / "cluster") as started:
        yield started


@pytest.fixture(scope="module")
def tally() -> Iterator[Counter[str]]:
    counter: Counter[str] = Counter()
    yield counter
    for what, count in counter.items():
        print(f"\n{count:>6,}  {what}", end="", flush=True)


def python_workers(cluster: Cluster) -> list[psutil.Process]:
    """The daemon in each executor that forks Python's workers, and these."""
    found: list[psutil.Process] = []
    for executor in cluster.executors():
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in executor.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    found += [process] if "pyspark.daemon" in process.cmdline() else []
    return found


@pytest.mark.parametrize("index", range(KILLS))
def test_recovery_from_a_kill_on_spark(
    index: int, story: Story, cluster: Cluster, pomona: Pomona, folder: Path, tally: Counter[str]
) -> None:
    rng = random.Random(f"{SEED} spark {index}")  # noqa: S311
    whom, moment = WHOM[index % len(WHOM)], rng.uniform(0, MOMENT_S)
    for out in (folder / f"spark {index} {attempt}" for attempt in range(ATTEMPTS)):
        command = [*story.given(out), "--engine", "spark", "--master", cluster.master]
        with started(pomona, command) as process:
            is_killed = kill_after(moment, whom, process, cluster, rng)
            ended = pomona.end(process)
        if is_killed:
            break
        moment /= 2  # it was over already
    assert is_killed
    by_itself = "which Spark made good" if ended.status == 0 else "finished by the same command"
    assert ended.status == (-signal.SIGKILL if whom == "driver" else 0), ended
    print(f"spark {index}: {whom} after {moment:.2f} s, {by_itself}", flush=True)
    check_whole_files(out)
    # Where it is done, any command sweeps what the dead ones left.
    pomona.done(*(["reduce", out] if ended.status == 0 else command))
    check_same(out, story)
    tally[f"kills of a {whom} on Spark, {by_itself}"] += 1


def kill_after(
    moment: float,
    whom: str,
    process: subprocess.Popen[str],
    cluster: Cluster,
    rng: random.Random,
) -> bool:
    """Kills an executor's JVM, a Python worker of one, or the driver with its JVM.

    moment: in seconds from when Python's workers are there; returns whether there was one to kill.
    """
    wait_for(lambda: process.poll() is not None or bool(python_workers(cluster)))
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(moment)
        return False
    if whom == "driver":
        os.killpg(process.pid, signal.SIGKILL)
        return True
    found = cluster.executors() if whom == "executor" else python_workers(cluster)
    with contextlib.suppress(psutil.NoSuchProcess, IndexError):
        rng.choice(found).kill()
        return True
    return False
