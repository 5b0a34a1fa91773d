"""A real standalone cluster: what a run leaves there is what it leaves on one machine."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyspark
import pytest
from clusters import SPARK_CLASS, Cluster, start_cluster

import pomona as pomona_package
from conftest import TIMEOUT_S, Pomona, draw_photos, tables, unpack_fruits, wait_for
from machine import lacking

PROJECT = Path(__file__).parents[2]
MANY = 415
ONE_EXECUTOR = ("--spark-conf", "spark.cores.max=1")


@dataclass(frozen=True)
class Disks:
    """Two folders; where the machine can hide one from it, the cluster sees the first alone."""

    seen: Path
    hidden: Path


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Disks:
    folder = tmp_path_factory.mktemp("disks")
    for name in ("seen", "hidden"):
        draw_photos(folder / name / "photos", 8)
    return Disks(folder / "seen", folder / "hidden")


@pytest.fixture(scope="module")
def cluster(disks: Disks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all tests; the last of them kills one of its two workers."""
    hidden = None if lacking("mount namespaces") else disks.hidden
    with start_cluster(tmp_path_factory.mktemp("cluster"), hidden=hidden) as started:
        yield started


def refused(cluster: Cluster, source: Path, out: Path, pomona: Pomona) -> str:
    """What a run says that the cluster refuses; it asks for one executor alone."""
    flags = ("--engine", "spark", "--master", cluster.master, *ONE_EXECUTOR)
    ended = pomona("run", source, out, *flags)
    assert ended.status == 1
    assert not (out / "pomona.json").exists()
    return ended.complaint


def last_run(out: Path) -> dict[str, Any]:
    run: dict[str, Any] = json.loads((out / "pomona.json").read_text())["runs"][-1]
    return run


def test_a_cluster_makes_the_same_store(
    cluster: Cluster, photos: Path, finished: Path, pomona: Pomona, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ended = pomona.done("run", photos, out, "--engine", "spark", "--master", cluster.master)
    assert tables(out) == tables(finished)
    assert f"Spark {pyspark.__version__} on {cluster.master}, its page is http" in ended.stderr
    run = last_run(out)
    assert (run["engine"], run["retries"]) == ("spark", 0)
    sent = run["broadcasts"]["extract"]
    assert 1 <= sent["executors"] <= 2
    assert sent["loads"] == sent["workers"]
    # The network, 13 MB, once to an executor; how many tasks there are decides the other.
    assert sent["bytes"] / sent["executors"] == pytest.approx(13.4e6, rel=0.02)
    parts = len(list((out / "features").iterdir()))
    assert sent["bytes_with_every_task"] == sent["bytes"] // sent["executors"] * parts


@pytest.fixture(scope="module")
def without_pomona(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has what pomona needs, but not pomona."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    venv.create(folder, symlinks=True)
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin" / "python"


def test_executors_without_pomona_are_refused(
    cluster: Cluster, photos: Path, without_pomona: Path, tmp_path: Path
) -> None:
    bare = Pomona(env={"PYSPARK_PYTHON": str(without_pomona)})
    complaint = refused(cluster, photos, tmp_path / "out", bare)
    assert "the executors' Python has no pomona" in complaint
    assert "docs/how-to/spark.md" in complaint


@pytest.mark.any_spark  # a task of pomona's looks for it, and tells as any task does
def test_executors_without_the_runtime_are_refused(
    cluster: Cluster, photos: Path, without_pomona: Path, tmp_path: Path
) -> None:
    others = tmp_path / "others"
    others.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith("onnxruntime"):
            (others / path.name).symlink_to(path)
    (others / "pomona").symlink_to(Path(pomona_package.__file__).parent)
    shutil.copytree(without_pomona.parents[1], tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    [listed] = python.parents[1].glob("lib/python*/site-packages/others.pth")
    listed.write_text(str(others))
    bare = Pomona(env={"PYSPARK_PYTHON": str(python)})
    complaint = refused(cluster, photos, tmp_path / "out", bare)
    assert "has pomona, but no onnxruntime: install its dependencies there" in complaint


@pytest.mark.any_spark  # likewise
@pytest.mark.needs("mount namespaces")
@pytest.mark.parametrize("what", ["photos", "out"])
def test_a_cluster_that_sees_other_disks_is_refused(
    what: str, cluster: Cluster, disks: Disks, pomona: Pomona
) -> None:
    if what == "photos":
        photos = disks.hidden / "photos"
        complaint = refused(cluster, photos, disks.seen / "out", pomona)
        assert f"cannot read {photos}/" in complaint
        assert "put SOURCE on a disk that all nodes share" in complaint
    else:
        out = disks.hidden / "out"
        complaint = refused(cluster, disks.seen / "photos", out, pomona)
        assert f"does not see {out}: put OUT on a disk that all nodes share" in complaint


def test_spark_submit_brings_pomona_along(
    cluster: Cluster, photos: Path, finished: Path, without_pomona: Path, tmp_path: Path
) -> None:
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*wheel, "--wheel-dir", tmp_path, PROJECT], check=True, timeout=TIMEOUT_S)
    job = tmp_path / "job.py"
    job.write_text("from pomona.commands.main import main; main()")
    submit = [str(SPARK_CLASS.with_name("spark-submit")), "--master", cluster.master]
    # Spark takes no wheels, but a wheel is a zip.
    archive = next(tmp_path.glob("*.whl")).rename(tmp_path / "pomona.zip")
    submit += ["--py-files", str(archive)]
    submitted = subprocess.run(
        [*submit, job, "run", photos, tmp_path / "out", "--engine", "spark"],
        env={
            **os.environ,
            "PYSPARK_DRIVER_PYTHON": str(without_pomona),
            "PYSPARK_PYTHON": str(without_pomona),
        },
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        cwd=tmp_path,
    )
    assert submitted.returncode == 0, submitted.stderr
    assert "40 images done" in submitted.stdout
    assert tables(tmp_path / "out") == tables(finished)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """415 images, in 13 parts: photographs where they are, else drawn ones."""
    folder = tmp_path_factory.mktemp("many")
    if lacking("photographs"):
        return draw_photos(folder / "photos", MANY)
    return unpack_fruits(folder, every=21)


def test_a_run_survives_an_executor_and_a_worker(
    cluster: Cluster, many: Path, pomona: Pomona, tmp_path: Path
) -> None:
    """The last test of the cluster, which it leaves with one worker."""
    out = tmp_path / "out"
    process = pomona.start("run", many, out, "--engine", "spark", "--master", cluster.master)

    def parts() -> int:
        features = out / "features"
        return len(list(features.iterdir())) if features.is_dir() else 0

    wait_for(lambda: parts() >= 2)
    random.Random(0).choice(cluster.executors()).kill()  # noqa: S311
    wait_for(lambda: parts() >= 5)
    cluster.kill_worker()
    ended = pomona.end(process)
    assert ended.status == 0, ended
    assert last_run(out)["retries"] >= 1
    store = pomona_package.open(out)
    paths = [*store.features().paths, *store.errors()["path"].to_pylist()]
    assert len(paths) == len(set(paths)) == MANY
    pomona.done("run", many, tmp_path / "undisturbed", "--quiet")
    assert tables(out) == tables(tmp_path / "undisturbed")
