"""`pomona drift` on drawn photographs, some of which another camera took."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

import pomona as pomona_package
from conftest import Here, Pomona, contents, draw_photos
from means import teach
from pomona.backbones.overrides import ModelOverrides
from pomona.errors import PomonaError
from pomona.feedback.journal import Entry, Journal
from pomona.operations.drift import measure_drift
from pomona.pipeline import run as pipeline
from pomona.pipeline.context import RunSettings
from pomona.pipeline.settings import ExtractSettings, ReduceSettings


def take_in(photos: Path, out: Path) -> None:
    extracting = ExtractSettings(source=photos, overrides=ModelOverrides(input_size=32))
    settings = RunSettings(Here(), thumbnails=False)
    pipeline.run(out, extracting, ReduceSettings(components=6, keep_projection=True), settings)


def drift(out: Path, **given: Any) -> dict[str, Any]:
    found, _ = measure_drift(out, **given)
    return found.to_dict()


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos and out: 120 images, then 60 as before, then 60 with another background."""
    folder = tmp_path_factory.mktemp("grown")
    photos, out = folder / "photos", folder / "out"
    draw_photos(photos, 120)
    take_in(photos, out)
    teach(out)
    draw_photos(photos, 60, seed=1)
    take_in(photos, out)
    draw_photos(folder / "later", 60, seed=2)
    for path in (folder / "later").rglob("*.*"):
        to = photos / path.relative_to(folder / "later")
        with Image.open(path) as picture:
            ImageOps.expand(picture.convert("RGB"), 14, "white").save(to)
    take_in(photos, out)
    return folder


def run_ids(out: Path) -> list[str]:
    runs = json.loads((out / "pomona.json").read_bytes())["runs"]
    return [run["id"] for run in runs]


def test_the_last_run_brought_other_images(pomona: Pomona, grown: Path, tmp_path: Path) -> None:
    out = grown / "out"
    before = contents(out)
    page = tmp_path / "drift.html"
    ended = pomona("drift", out, "--since", run_ids(out)[1], "--page", page, "--json")
    found = json.loads(ended.stdout)
    assert (ended.status, found["drift"]) == (4, True)
    assert (found["images"], found["known"]) == (60, 180)
    assert found["p"] <= found["level"] == 0.01
    assert found["variance_explained"] < found["variance_before"]
    assert found["unlike"]["share"] > found["unlike"]["before"]
    assert found["unsure"]["of"] == 60
    assert sum(each["share"] for each in found["labels"].values()) == pytest.approx(1)
    farthest = [each["distance"] for each in found["farthest"]]
    assert farthest == sorted(farthest, reverse=True)
    assert contents(out) == before
    text = page.read_text("utf-8")
    assert "They have changed" in text
    assert "data:image/webp" in text
    assert "http" not in text.replace("http-equiv", "")


def test_images_as_before_raise_no_alarm(grown: Path, tmp_path: Path) -> None:
    out, other = grown / "out", tmp_path / "other"
    take_in(draw_photos(tmp_path / "more", 60, seed=3), other)
    found = drift(out, against=other)
    assert (found["drift"], found["known_in_all"]) == (False, 240)
    assert 0 < found["unlike"]["share"] <= found["max_unlike"] == 0.5
    assert drift(out, against=other, max_unlike=0.0)["drift"]
    assert drift(out, since=run_ids(out)[0])["images"] == 120


def test_feedback_tells_the_accuracy(grown: Path, tmp_path: Path) -> None:
    out = shutil.copytree(grown / "out", tmp_path / "out")
    last = pomona_package.open(out).metadata(["path", "label", "sha256"]).to_pylist()[-40:]
    journal = Journal(out)
    for number, image in enumerate(last):
        predicted = image["label"] if number % 4 else "Quince"
        entry = Entry(
            str(number), image["sha256"], predicted, 0.9, "m", bool(number % 4), image["label"]
        )
        journal.append(entry)
    found = drift(out, since=run_ids(out)[1])
    told = found["accuracy"]
    assert told["images"] == 40
    assert told["low"] <= told["right"] / 40 <= told["high"]


def test_what_cannot_be_compared_is_refused(grown: Path, finished: Path) -> None:
    out = grown / "out"
    refusals: list[tuple[dict[str, Any], str]] = [
        ({"since": "2001"}, "no run of"),
        ({"since": ""}, "3 runs of"),
        ({"since": run_ids(out)[2]}, "there are no images added since the run"),
        ({"since": "2", "against": out}, "give `since` or `against`, not both"),
        ({"against": finished}, "features of another recipe"),
        ({"level": 2.0}, "`level` 2: give a probability"),
        ({"level": 0.00001}, "give at least 0.001"),
        ({"max_unlike": 7.0}, "`max_unlike` 7: give a share"),
    ]
    for given, problem in refusals:
        with pytest.raises(PomonaError, match=problem):
            measure_drift(out, **given)
    with pytest.raises(PomonaError, match="is not a pomona store"):
        measure_drift(out / "nowhere")
