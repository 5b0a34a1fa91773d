"""The stores that the tests of serving share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from suspected import HTML, TWICE, suspects_of

from conftest import Here, draw_photos
from means import teach
from pomona.backbones.overrides import ModelOverrides
from pomona.pipeline import run as pipeline
from pomona.pipeline.context import RunSettings
from pomona.pipeline.settings import ExtractSettings, ReduceSettings


@pytest.fixture(scope="session")
def plain(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of small squares without a classifier, not to be changed."""
    out = tmp_path_factory.mktemp("plain") / "store"
    extracting = ExtractSettings(source=photos, overrides=ModelOverrides(input_size=32))
    pipeline.run(out, extracting, ReduceSettings(components=6), RunSettings(Here()))
    return out


@pytest.fixture(scope="session")
def taught(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a classifier, not to be changed."""
    out = shutil.copytree(plain, tmp_path_factory.mktemp("taught") / "store")
    teach(out)
    return out


@pytest.fixture(scope="session")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with four labels, one of which is HTML, and three suspects. Feedback may be added.

    A file is there under two labels. The last suspect is not in the store any more.
    """
    folder = tmp_path_factory.mktemp("collected")
    drawn = draw_photos(folder / "drawn", 160)
    for path in drawn.rglob("*.*"):
        to = folder / "photos" / str(path.relative_to(drawn)).replace("Plum 2", HTML)
        to.parent.mkdir(parents=True, exist_ok=True)
        path.rename(to)
    twin = min((folder / "photos" / "Training" / "Crème brûlée").iterdir())
    shutil.copyfile(twin, folder / "photos" / TWICE)
    out = folder / "fruit"
    extracting = ExtractSettings(source=folder / "photos", overrides=ModelOverrides(input_size=32))
    settings = RunSettings(Here(), thumbnails=False)
    pipeline.run(out, extracting, ReduceSettings(components=6), settings)
    teach(out, suspects=suspects_of(out))
    return out
