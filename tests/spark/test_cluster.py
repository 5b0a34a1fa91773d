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
from pathlib import Path
from typing import Any

import pyspark
import pytest
from clusters import SPARK_CLASS, Cluster, start_cluster

import pomona as pomona_package
from conftest import TIMEOUT_S, Pomona, draw_photos, tables, unpack_fruits, wait_for

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with start_cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


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


def survive(source: Path, out: Path, images: int, folder: Path) -> None:
    """Runs on a cluster, of which an executor and then a whole worker are killed meanwhile."""
    with start_cluster(folder) as cluster:
        process = Pomona().start(
            "run", source, out, "--engine", "spark", "--master", cluster.master
        )

        def parts() -> int:
            features = out / "features"
            return len(list(features.iterdir())) if features.is_dir() else 0

        wait_for(lambda: parts() >= 2)
        random.Random(0).choice(cluster.executors()).kill()  # noqa: S311
        wait_for(lambda: parts() >= 5)
        cluster.kill_worker()
        ended = Pomona().end(process, timeout_s=900)  # thousands of photographs on one core
    assert ended.status == 0, ended
    assert last_run(out)["retries"] >= 1
    store = pomona_package.open(out)
    paths = [*store.features().paths, *store.errors()["path"].to_pylist()]
    assert len(paths) == len(set(paths)) == images


def test_a_run_survives_an_executor_and_a_worker(tmp_path: Path, pomona: Pomona) -> None:
    photos = draw_photos(tmp_path / "photos", 800)
    survive(photos, tmp_path / "out", 800, tmp_path / "cluster")
    pomona.done("run", photos, tmp_path / "undisturbed", "--quiet")
    assert tables(tmp_path / "out") == tables(tmp_path / "undisturbed")


@pytest.mark.real
@pytest.mark.needs("photographs")
def test_the_photographs_survive_it_too(tmp_path: Path) -> None:
    """One photograph in four: both kills come within the first five parts."""
    fruits = unpack_fruits(tmp_path)
    photographs = sorted(fruits.rglob("*.jpg"))
    for at, path in enumerate(photographs):
        if at % 4:
            path.unlink()
    survive(fruits, tmp_path / "out", len(photographs[::4]), tmp_path / "cluster")


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
    ended = bare("run", photos, tmp_path / "out", "--engine", "spark", "--master", cluster.master)
    assert ended.status == 1
    assert "the executors' Python has no pomona" in ended.complaint
    assert "docs/how-to/spark.md" in ended.complaint


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
    ended = bare("run", photos, tmp_path / "out", "--engine", "spark", "--master", cluster.master)
    assert ended.status == 1
    assert "has pomona, but no onnxruntime: install its dependencies there" in ended.complaint


@pytest.mark.needs("mount namespaces")
@pytest.mark.parametrize("what", ["photos", "out"])
def test_a_cluster_that_sees_other_disks_is_refused(what: str, tmp_path: Path) -> None:
    photos, out = draw_photos(tmp_path / "photos", 8), tmp_path / "shared" / "out"
    out.parent.mkdir()
    hidden = photos if what == "photos" else out.parent
    with start_cluster(tmp_path / "cluster", workers=1, hidden=hidden) as cluster:
        ended = Pomona()("run", photos, out, "--engine", "spark", "--master", cluster.master)
    assert ended.status == 1
    if what == "photos":
        assert f"cannot read {photos}/" in ended.complaint
        assert "put SOURCE on a disk that all nodes share" in ended.complaint
    else:
        assert f"does not see {out}: put OUT on a disk that all nodes share" in ended.complaint
    assert not (out / "pomona.json").exists()


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
