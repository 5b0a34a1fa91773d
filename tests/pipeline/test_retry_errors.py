"""Faulty codecs: what crashes or hangs costs one image, on every engine."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from PIL import Image

import pomona as api
from conftest import Pomona, contents, draw_photos, tables, wait_for
from pomona.engines.registry import ENGINES

PLANTED = Pomona(env={"PYTHONPATH": str(Path(__file__).parents[1] / "planted")})
CRASHED, HUNG = "Training/Pear/a crash.jpg", "Test/Plum 2/a hang.jpg"


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images; one of them crashes the planted codec, another one hangs it."""
    folder = draw_photos(tmp_path_factory.mktemp("marked"), 40)
    for name, mark in {CRASHED: b"crash", HUNG: b"hang"}.items():
        Image.new("RGB", (32, 32), "red").save(folder / name, comment=mark)
    return folder


@pytest.mark.parametrize("engine", ENGINES)
def test_a_codec_that_crashes_or_hangs_costs_one_image_each(
    engine: str, marked: Path, tmp_path: Path
) -> None:
    flags = ("--engine", engine, "--workers", "2", "--image-timeout", "3", "--max-error-rate", "1")
    PLANTED.done("run", marked, tmp_path / "out", *flags)
    store = api.open(tmp_path / "out")
    errors = {row["path"]: row for row in store.errors().to_pylist()}
    assert {path: (row["stage"], row["reason"]) for path, row in errors.items()} == {
        CRASHED: ("decode", "crashed"),
        HUNG: ("decode", "timed_out"),
    }
    assert errors[CRASHED]["detail"] == "killed by signal 11 (Segmentation fault)"
    assert errors[HUNG]["detail"] == "more than 3 s"
    assert len(store.features()) == 40
    [run] = store.manifest["runs"]
    assert run["retries"] >= 1

    # The images beside them are what they are in an undisturbed store.
    harmless = shutil.copytree(marked, tmp_path / "harmless")
    for name in (CRASHED, HUNG):
        (harmless / name).unlink()
    PLANTED.done("run", harmless, tmp_path / "undisturbed", "--quiet", "--no-csv")
    undisturbed = tables(tmp_path / "undisturbed")
    name = "features/part-00000.parquet"
    assert tables(tmp_path / "out").keys() == undisturbed.keys()
    assert (
        store.features().array.tobytes()
        == api.open(tmp_path / "undisturbed").features().array.tobytes()
    ), name


@pytest.fixture(scope="module")
def undisturbed(marked: Path, pomona: Pomona, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of `marked` by a codec that is harmless."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    pomona.done("run", marked, out, "--quiet")
    return out


@pytest.fixture(scope="module")
def faulty(marked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of `marked` with an error that may pass, and one that may not."""
    out = tmp_path_factory.mktemp("faulty") / "out"
    flags = ("--workers", "1", "--image-timeout", "1", "--max-error-rate", "1", "--quiet")
    PLANTED.done("run", marked, out, *flags)
    return out


@pytest.fixture
def hurt(faulty: Path, tmp_path: Path) -> Path:
    return shutil.copytree(faulty, tmp_path / "out")


def reasons(out: Path) -> dict[str, str]:
    return {row["path"]: row["reason"] for row in api.open(out).errors().to_pylist()}


def test_error_rows_are_retried_on_request(
    marked: Path, hurt: Path, undisturbed: Path, pomona: Pomona
) -> None:
    before = contents(hurt)
    run = ("run", marked, hurt, "--max-error-rate", "1")
    assert "Nothing to do" in pomona.done(*run).stdout
    assert contents(hurt) == before

    told = json.loads(pomona.done(*run, "--retry-errors=all", "--dry-run", "--json").stdout)
    assert told["to_do"] == 2
    assert contents(hurt) == before

    ended = pomona.done("run", "--retry-errors", *run[1:])
    assert "retrying 1 image that gave no features" in ended.stderr
    assert reasons(hurt) == {CRASHED: "crashed"}
    assert api.open(hurt).manifest["runs"][-1]["images"] == 1

    api.run(marked, hurt, retry_errors="all", refit=True, progress=False)
    assert tables(hurt) == tables(undisturbed)
    refused = pomona(*run, "--retry-errors=some")
    assert (refused.status, "--retry-errors some" in refused.complaint) == (2, True)


def test_a_retry_that_fails_again_leaves_the_store_unchanged(marked: Path, hurt: Path) -> None:
    before = tables(hurt)
    flags = ("--workers", "1", "--image-timeout", "1", "--max-error-rate", "1")
    PLANTED.done("run", marked, hurt, "--retry-errors=all", *flags)
    assert tables(hurt) == before


def test_images_gone_or_excluded_are_not_retried(hurt: Path, marked: Path, pomona: Pomona) -> None:
    before = tables(hurt)
    flags = ("--retry-errors=all", "--include", "photo*", "--max-error-rate", "1")
    pomona.done("run", marked, hurt, *flags)
    assert tables(hurt) == before


def test_a_killed_retry_is_finished_by_the_same_command(
    marked: Path, hurt: Path, undisturbed: Path, pomona: Pomona
) -> None:
    errors = hurt / "errors" / "part-00000.parquet"
    before = errors.read_bytes()
    retry = ("run", marked, hurt, "--retry-errors=all", "--quiet")
    process = pomona.start(*retry)
    wait_for(lambda: errors.read_bytes() != before)
    os.killpg(process.pid, signal.SIGKILL)
    pomona.end(process)
    pomona.done(*retry)
    pomona.done("run", marked, hurt, "--refit")
    assert reasons(hurt) == {}
    assert tables(hurt) == tables(undisturbed)


def test_an_image_that_changes_during_the_run_is_retried(
    marked: Path, tmp_path: Path, pomona: Pomona
) -> None:
    source = shutil.copytree(marked, tmp_path / "source")
    images = sorted(path.relative_to(source).as_posix() for path in source.rglob("*.jpg"))
    gone, replaced, touched = images[0], images[-2], images[-1]
    out = tmp_path / "out"
    command = ("run", source, out, "--workers", "1", "--max-error-rate", "1", "--no-csv")
    process = pomona.start(*command)
    wait_for((out / "_pomona" / "plan.parquet").exists)
    os.killpg(process.pid, signal.SIGSTOP)  # before its worker has the network
    (source / gone).unlink()
    shutil.copy(source / images[1], source / replaced)
    os.utime(source / touched, (1, 1))
    os.killpg(process.pid, signal.SIGCONT)
    assert pomona.end(process).status == 0
    assert reasons(out) == {gone: "not_found", replaced: "changed", touched: "changed"}
    assert all(api.open(out).errors()["retryable"].to_pylist())

    shutil.copy(marked / gone, source / gone)
    ended = pomona.done(*command, "--retry-errors", "--refit")
    assert "that gave no features" in ended.stderr
    pomona.done("run", source, tmp_path / "fresh", "--no-csv", "--quiet")
    assert tables(out) == tables(tmp_path / "fresh")
