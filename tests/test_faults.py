"""Faulty codecs: what crashes or hangs costs one image, on every engine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

import pomona
from conftest import Pomona, draw_photos, tables
from pomona.engines import NAMES

PLANTED = Pomona(env={"PYTHONPATH": str(Path(__file__).parent / "planted")})
CRASHED, HUNG = "Training/Pear/a crash.jpg", "Test/Plum 2/a hang.jpg"


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 images; one of them crashes the planted codec, another one hangs it."""
    folder = draw_photos(tmp_path_factory.mktemp("marked"), 20)
    for name, mark in {CRASHED: b"crash", HUNG: b"hang"}.items():
        Image.new("RGB", (32, 32), "red").save(folder / name, comment=mark)
    return folder


@pytest.mark.parametrize("engine", NAMES)
def test_a_codec_that_crashes_or_hangs_costs_one_image_each(
    engine: str, marked: Path, tmp_path: Path
) -> None:
    flags = ("--engine", engine, "--workers", "2", "--image-timeout", "3", "--max-error-rate", "1")
    PLANTED.done("run", marked, tmp_path / "out", *flags)
    store = pomona.open(tmp_path / "out")
    errors = {row["path"]: row for row in store.errors().to_pylist()}
    assert {path: (row["stage"], row["reason"]) for path, row in errors.items()} == {
        CRASHED: ("decode", "crashed"),
        HUNG: ("decode", "timed_out"),
    }
    assert errors[CRASHED]["detail"] == "killed by signal 11 (Segmentation fault)"
    assert errors[HUNG]["detail"] == "more than 3 s"
    assert len(store.features()) == 20
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
        == pomona.open(tmp_path / "undisturbed").features().array.tobytes()
    ), name
