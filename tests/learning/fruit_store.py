"""What the tests of learning share: a store of drawn fruit, with a leak."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conftest import Pomona

VARIETIES = 6


@pytest.fixture(scope="session")
def fruit_photos(pomona: Pomona, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn fruit of six varieties, Training and Test; two test images are training images."""
    folder = tmp_path_factory.mktemp("fruit") / "photos"
    pomona.done("sample", folder, "--varieties", VARIETIES, "--quiet")
    first, second, *_ = sorted(path for path in (folder / "Training").iterdir())
    copied = sorted(first.iterdir())[0]
    shutil.copy(copied, folder / "Test" / first.name / f"same {copied.name}")
    shutil.copy(copied, folder / "Test" / second.name / f"other {copied.name}")
    return folder


@pytest.fixture(scope="session")
def fruit(pomona: Pomona, fruit_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of `fruit_photos`, not to be changed."""
    out = tmp_path_factory.mktemp("fruit-store") / "out"
    pomona.done("run", fruit_photos, out, "--quiet")
    return out
