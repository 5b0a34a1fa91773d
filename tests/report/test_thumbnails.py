from __future__ import annotations

import hashlib
import io
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from page_stores import fit, image, write_store
from PIL import Image

import pomona as api
from conftest import Pomona, draw_photos
from pomona.engines.local import LocalEngine
from pomona.images.sources.local import LocalSource
from pomona.report import thumbnails, write
from pomona.report.thumbnails import SIDE, provide
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


def test_pictures_are_of_the_images(source: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    made = provide(store, str(source), RECIPE, wanted(source), 60)
    assert made.keys() == wanted(source).keys()
    for path, data in made.items():
        assert len(data) < 4_000
        picture = Image.open(io.BytesIO(data))
        assert (picture.format, picture.size) == ("WEBP", (SIDE, SIDE))
        original = Image.open(source / path).convert("RGB").resize((SIDE, SIDE))
        difference = np.asarray(picture.convert("RGB"), float) - np.asarray(original, float)
        assert np.abs(difference).mean() < 8


def test_an_image_beyond_the_usual_limit_that_the_store_took_in_has_a_picture(
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
    write(store, manifest)
    assert store.read_table(THUMBNAILS)["path"].to_pylist() == ["large.tif"]


def test_a_crop_is_seen_as_the_network_sees_it(tmp_path: Path) -> None:
    """Red sides, blue in the middle: of a wide image the central square is taken."""
    pixels = np.zeros((40, 120, 3), np.uint8)
    pixels[:, :, 0] = 255
    pixels[:, 40:80] = (0, 0, 255)
    (tmp_path / "source").mkdir()
    Image.fromarray(pixels).save(tmp_path / "source" / "wide.png")
    recipe = Recipe("efficientnet_lite0", None, None, 224, 1280, "crop", 0.875)
    paths = wanted(tmp_path / "source")
    made = provide(Store(tmp_path / "out"), str(tmp_path / "source"), recipe, paths, 60)
    colours = np.asarray(Image.open(io.BytesIO(made["wide.png"])).convert("RGB"), int)
    assert (colours[:, :, 2] > 200).all()
    assert (colours[:, :, 0] < 60).all()


def test_kept_pictures_need_no_source_and_others_go(source: Path, tmp_path: Path) -> None:
    store, paths = Store(tmp_path / "out"), wanted(source)
    made = provide(store, str(source), RECIPE, paths, 60)
    shutil.rmtree(source)
    some = dict(list(paths.items())[:3])
    assert provide(store, str(source), RECIPE, some, 60) == {path: made[path] for path in some}
    kept = store.read_table(THUMBNAILS)
    assert kept["path"].to_pylist() == sorted(some)
    assert provide(store, str(source), RECIPE, {}, 60) == {}
    assert not store.files.exists(THUMBNAILS)


def test_a_file_that_changed_or_is_no_image_gives_no_picture(source: Path, tmp_path: Path) -> None:
    (source / "broken.jpg").write_bytes(b"no image")
    paths = wanted(source)
    first, second, *rest = (path for path in paths if path != "broken.jpg")
    (source / first).write_bytes((source / second).read_bytes())
    made = provide(Store(tmp_path / "out"), str(source), RECIPE, paths, 60)
    assert made.keys() == {second, *rest}


def test_a_source_that_cannot_be_opened_costs_the_pictures(source: Path, tmp_path: Path) -> None:
    paths = wanted(source)
    (source / "pomona-pack.json").write_text("{}")
    assert provide(Store(tmp_path / "out"), str(source), RECIPE, paths, 60) == {}


@pytest.mark.parametrize("fault", [b"crash", b"hang"])
def test_a_codec_that_fails_costs_one_picture(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: bytes
) -> None:
    marked = source / "Training" / "Pear" / "a fault.jpg"
    Image.new("RGB", (40, 40)).save(marked, comment=fault)
    python_path = os.pathsep.join([str(PLANTED), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", python_path)
    monkeypatch.setattr(thumbnails, "TIMEOUT_S", 2.0)
    paths = wanted(source)
    made = provide(Store(tmp_path / "out"), str(source), RECIPE, paths, 60)
    assert paths.keys() - made.keys() == {"Training/Pear/a fault.jpg"}


class Stalling(LocalSource):
    """Far away, and one of its images takes long to come."""

    def fetch(self, path: str, expected: str | None = None) -> bytes:
        if path.endswith("stalls.jpg"):
            time.sleep(6)
        return super().fetch(path, expected)


def test_an_image_that_does_not_come_costs_its_own_picture(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "open_source", lambda where, access: Stalling(where, ahead=4))
    shutil.copy(next(source.rglob("*.jpg")), source / "zz stalls.jpg")
    paths = wanted(source)
    made = provide(Store(tmp_path / "out"), str(source), RECIPE, paths, 3)
    assert paths.keys() - made.keys() == {"zz stalls.jpg"}


def test_a_worker_that_is_killed_costs_no_picture(source: Path, tmp_path: Path) -> None:
    paths = wanted(source)
    with LocalEngine(1) as engine:
        engine.start([])
        engine._pool[0].process.kill()
        made = provide(Store(tmp_path / "out"), str(source), RECIPE, paths, 60, engine=engine)
    assert made.keys() == paths.keys()
    assert engine.facts["retries"] == 1


def test_no_time_and_damage_cost_pictures_alone(source: Path, tmp_path: Path) -> None:
    store, paths = Store(tmp_path / "out"), wanted(source)
    assert provide(store, str(source), RECIPE, paths, -1) == {}
    assert len(provide(store, str(source), RECIPE, paths, 60)) == 8
    store.files.write(THUMBNAILS, b"PAR1 damaged PAR1")
    assert len(provide(store, str(source), RECIPE, paths, 60)) == 8
    assert store.read_table(THUMBNAILS).num_rows == 8


def test_without_thumbnails_none_are_kept_until_asked_for(
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


def test_python_can_leave_them_out(photos: Path, tmp_path: Path) -> None:
    store = api.run(photos, tmp_path / "out", limit=4, thumbnails=False, progress=False)
    assert store.manifest["thumbnails"] is False
    assert store.manifest["runs"][0]["command"].endswith("limit=4, thumbnails=False)")
    assert not store.files.exists(THUMBNAILS)


def test_what_the_source_lacks_is_told(pomona: Pomona, photos: Path, tmp_path: Path) -> None:
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
