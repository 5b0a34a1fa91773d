"""The stores that the tests of serving share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conftest import Here
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
