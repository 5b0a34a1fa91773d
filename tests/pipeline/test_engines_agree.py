"""One story of a store, told by each engine: every chapter ends with the same bytes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import pomona
from conftest import contents, draw_photos
from pomona.engines.registry import ENGINES, open_engine
from pomona.pipeline.context import RunSettings
from pomona.pipeline.run import extract, reduce
from pomona.pipeline.settings import ExtractSettings, ReduceSettings

pytestmark = pytest.mark.spark
FOLDERS = ("features", "pca", "metadata", "errors", "csv", "model_info")


class Story:
    """A source, changed once a chapter, and its store, worked on by each engine."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.source = folder, draw_photos(folder / "photos", 70)

    def run(self, **settings: Any) -> None:
        for engine in ENGINES:
            out = self.folder / engine
            pomona.run(self.source, out, engine=engine, workers=2, progress=False, **settings)

    def first(self) -> None:
        self.run()

    def grown(self) -> None:
        draw_photos(self.source, 50, seed=1)
        self.run()

    def damaged(self) -> None:
        """Bad images of several kinds, a changed one, and one that is gone."""
        images = sorted(self.source.rglob("*.jpg"))
        images[0].write_bytes(images[0].read_bytes()[:300])
        images[1].write_bytes(b"")
        images[2].write_bytes(b"no image at all")
        Image.new("RGB", (20, 30), "green").save(images[3])
        images[4].unlink()
        self.run(components=5)

    def mended(self) -> None:
        for image in sorted(self.source.rglob("*.jpg"))[:3]:
            Image.new("RGB", (30, 20), "blue").save(image)
        self.run(refit=True, variance=0.8)

    def lost(self) -> None:
        """Files of the store are gone, and one is cut off."""
        for engine in ENGINES:
            (self.folder / engine / "features/part-00001.parquet").unlink()
            shutil.rmtree(self.folder / engine / "csv")
            os.truncate(self.folder / engine / "metadata/part-00000.parquet", 100)
        self.run()

    def halves(self) -> None:
        """extract and reduce, one after the other, with other settings."""
        extracting = ExtractSettings(
            source=self.source, include=("*/Pear/*",), limit=12, seed=3, fit="crop"
        )
        for engine in ENGINES:
            out = self.folder / engine
            shutil.rmtree(out)
            extract(out, extracting, RunSettings(open_engine(engine, 2)))
            reduce(
                out, ReduceSettings(components=3, csv=False), RunSettings(open_engine(engine, 2))
            )

    def held(self, engine: str) -> dict[str, bytes | None]:
        return {
            name: data
            for name, data in contents(self.folder / engine).items()
            if name.partition("/")[0] in FOLDERS
        }


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return Story(tmp_path_factory.mktemp("story"))


@pytest.mark.parametrize("chapter", ["first", "grown", "damaged", "mended", "lost", "halves"])
def test_every_engine_writes_the_same_bytes(story: Story, chapter: str) -> None:
    getattr(story, chapter)()
    local = story.held("local")
    assert any(name.startswith("features/") for name in local)
    for engine in ENGINES:
        held = story.held(engine)
        assert held.keys() == local.keys()
        assert [name for name in held if held[name] != local[name]] == []
