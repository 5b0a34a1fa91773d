from __future__ import annotations

import hashlib
import io
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from page_stores import fit, image, write_report, write_store
from PIL import Image

import pomona as api
from conftest import Pomona, draw_photos
from pomona.engines.base import Engine
from pomona.engines.local import LocalEngine
from pomona.images.sources.local import LocalSource
from pomona.pipeline.here import map_here
from pomona.report import thumbnails
from pomona.report.thumbnails import SIDE
from pomona.store.layout import REPORT, THUMBNAILS
from pomona.store.recipe import Recipe
from pomona.store.store import Store

PLANTED = Path(__file__).parents[1] / "planted"
RECIPE = Recipe("efficientnet_lite0", None, None, 224, 1280)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return draw_photos(tmp_path / "source", 8)


def wanted(source: Path) -> dict[str, str]:
    files = sorted(path for path in source.rglob("*") if path.is_file())
    return {
        file.relative_to(source).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


def provide(
    store: Store,
    source: Path,
    recipe: Recipe,
    paths: dict[str, str],
    limit_s: float,
    engine: Engine | None = None,
) -> dict[str, bytes]:
    """The store's thumbnails, drawn by the engine or by a worker of its own."""
    with map_here(engine) as run_here:
        return thumbnails.provide(
            store, str(source), recipe, paths, limit_s=limit_s, map_here=run_here
        )


def test_thumbnails_look_like_their_images(source: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    made = provide(store, source, RECIPE, wanted(source), 60)
    assert made.keys() == wanted(source).keys()
    for path, data in made.items():
        assert len(data) < 4_000
        picture = Image.open(io.BytesIO(data))
        assert (picture.format, picture.size) == ("WEBP", (SIDE, SIDE))
        original = Image.open(source / path).convert("RGB").resize((SIDE, SIDE))
        difference = np.asarray(picture.convert("RGB"), float) - np.asarray(original, float)
        assert np.abs(difference).mean() < 8


def test_an_image_above_the_usual_pixel_limit_has_a_thumbnail(
    tmp_path: Path,
) -> None:
    (tmp_path / "source").mkdir()
    Image.new("1", (10_001, 10_000)).save(tmp_path / "source" / "large.tif")
    [(path, sha256)] = wanted(tmp_path / "source").items()
    rows = [image(path, width=10_001, height=10_000, sha256=sha256), image("small.jpg")]
    store, manifest = write_store(
        tmp_path / "out",
        rows,
        projection=fit(("components", 2)),
        projected=np.eye(2, dtype=np.float32),
        source=str(tmp_path / "source"),
    )
    write_report(store, manifest)
    assert store.read_table(THUMBNAILS)["path"].to_pylist() == ["large.tif"]


def test_a_thumbnail_is_cropped_as_for_the_network(tmp_path: Path) -> None:
    """Red sides, blue in the middle: of a wide image the central square is taken."""
    pixels = np.zeros((40, 120, 3), np.uint8)
    pixels[:, :, 0] = 255
    pixels[:, 40:80] = (0, 0, 255)
    (tmp_path / "source").mkdir()
    Image.fromarray(pixels).save(tmp_path / "source" / "wide.png")
    recipe = Recipe("efficientnet_lite0", None, None, 224, 1280, "crop", 0.875)
    paths = wanted(tmp_path / "source")
    made = provide(Store(tmp_path / "out"), tmp_path / "source", recipe, paths, 60)
    colours = np.asarray(Image.open(io.BytesIO(made["wide.png"])).convert("RGB"), int)
    assert (colours[:, :, 2] > 200).all()
    assert (colours[:, :, 0] < 60).all()


def test_stored_thumbnails_need_no_source_and_unwanted_ones_are_removed(
    source: Path, tmp_path: Path
) -> None:
    store, paths = Store(tmp_path / "out"), wanted(source)
    made = provide(store, source, RECIPE, paths, 60)
    shutil.rmtree(source)
    some = dict(list(paths.items())[:3])
    assert provide(store, source, RECIPE, some, 60) == {path: made[path] for path in some}
    kept = store.read_table(THUMBNAILS)
    assert kept["path"].to_pylist() == sorted(some)
    assert provide(store, source, RECIPE, {}, 60) == {}
    assert not store.files.exists(THUMBNAILS)


def test_a_changed_or_broken_file_has_no_thumbnail(source: Path, tmp_path: Path) -> None:
    (source / "broken.jpg").write_bytes(b"no image")
    paths = wanted(source)
    first, second, *rest = (path for path in paths if path != "broken.jpg")
    (source / first).write_bytes((source / second).read_bytes())
    made = provide(Store(tmp_path / "out"), source, RECIPE, paths, 60)
    assert made.keys() == {second, *rest}


def test_a_source_that_cannot_be_opened_gives_no_thumbnails(source: Path, tmp_path: Path) -> None:
    paths = wanted(source)
    (source / "pomona-pack.json").write_text("{}")
    assert provide(Store(tmp_path / "out"), source, RECIPE, paths, 60) == {}


@pytest.mark.parametrize("fault", [b"crash", b"hang"])
def test_a_codec_that_crashes_or_hangs_costs_one_thumbnail(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: bytes
) -> None:
    marked = source / "Training" / "Pear" / "a fault.jpg"
    Image.new("RGB", (40, 40)).save(marked, comment=fault)
    python_path = os.pathsep.join([str(PLANTED), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", python_path)
    monkeypatch.setattr(thumbnails, "TIMEOUT_S", 2.0)
    paths = wanted(source)
    made = provide(Store(tmp_path / "out"), source, RECIPE, paths, 60)
    assert paths.keys() - made.keys() == {"Training/Pear/a fault.jpg"}


class Stalling(LocalSource):
    """Far away, and one of its images takes long to come."""

    def fetch(self, path: str, expected: str | None = None) -> bytes:
        if path.endswith("stalls.jpg"):
            time.sleep(6)
        return super().fetch(path, expected)


def test_an_image_that_does_not_arrive_costs_its_own_thumbnail(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "open_source", lambda where, access: Stalling(where, ahead=4))
    shutil.copy(next(source.rglob("*.jpg")), source / "zz stalls.jpg")
    paths = wanted(source)
    made = provide(Store(tmp_path / "out"), source, RECIPE, paths, 3)
    assert paths.keys() - made.keys() == {"zz stalls.jpg"}


def test_a_killed_worker_costs_no_thumbnail(source: Path, tmp_path: Path) -> None:
    paths = wanted(source)
    with LocalEngine(1) as engine:
        engine.start([])
        engine._pool[0].process.kill()
        made = provide(Store(tmp_path / "out"), source, RECIPE, paths, 60, engine)
    assert made.keys() == paths.keys()
    assert engine.facts["retries"] == 1


def test_no_time_gives_no_thumbnails_and_a_damaged_table_is_made_again(
    source: Path, tmp_path: Path
) -> None:
    store, paths = Store(tmp_path / "out"), wanted(source)
    assert provide(store, source, RECIPE, paths, -1) == {}
    assert len(provide(store, source, RECIPE, paths, 60)) == 8
    store.files.write(THUMBNAILS, b"PAR1 damaged PAR1")
    assert len(provide(store, source, RECIPE, paths, 60)) == 8
    assert store.read_table(THUMBNAILS).num_rows == 8


def test_no_thumbnails_removes_them_until_they_are_requested(
    pomona: Pomona, photos: Path, store: Path
) -> None:
    kept = store / THUMBNAILS
    assert kept.exists()
    pomona.done("report", store, "--no-thumbnails")
    assert not kept.exists()
    assert api.open(store).manifest["thumbnails"] is False
    pomona.done("reduce", store, "--components", "4")  # as before
    assert not kept.exists()
    main = (store / REPORT).read_text().split("<main>")[1].split("</main>")[0]
    assert "picture" not in main
    pomona.done("run", photos, store, "--thumbnails")
    assert kept.exists()
    runs = api.open(store).manifest["runs"]
    assert runs[-1]["command"].endswith("--thumbnails")


def test_the_python_api_can_leave_thumbnails_out(photos: Path, tmp_path: Path) -> None:
    store = api.run(photos, tmp_path / "out", limit=4, thumbnails=False, progress=False)
    assert store.manifest["thumbnails"] is False
    assert store.manifest["runs"][0]["command"].endswith("limit=4, thumbnails=False)")
    assert not store.files.exists(THUMBNAILS)


def test_the_page_counts_missing_pictures(pomona: Pomona, photos: Path, tmp_path: Path) -> None:
    source = shutil.copytree(photos, tmp_path / "source")
    out = tmp_path / "out"
    pomona.done("run", source, out, "--no-thumbnails", "--quiet")
    gone = sorted(source.rglob("*.jpg"))[:2]
    for path in (*gone, *(path.parent for path in gone)):
        path.chmod(0o755)
    for path in gone:
        path.unlink()
    pomona.done("report", out, "--thumbnails")
    assert "2 pictures are missing on this page" in (out / REPORT).read_text()
    assert Store(out).read_table(THUMBNAILS).num_rows == 38
