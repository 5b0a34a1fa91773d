"""What the tests of stores share: an empty store, and rows to put into one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pomona.store import schemas
from pomona.store.recipe import Recipe
from pomona.store.store import Store

RECIPE = Recipe("efficientnet_lite0", "a" * 64, "b" * 64, 224, 5)
FOOTER = {"generation": "g1", "recipe": "é ü"}


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def rows(start: int, count: int) -> pa.Table:
    """A table of features/ of width 5."""
    numbers = np.random.default_rng(start).standard_normal(count * 5).astype(np.float32)
    indexes = range(start, start + count)
    return pa.table(
        [
            pa.array([f"Apple é/{index:04d}.jpg" for index in indexes], pa.string()),
            pa.array([None if index % 3 else "Apple é" for index in indexes], pa.string()),
            pa.array([None if index % 2 else "Test" for index in indexes], pa.string()),
            pa.array([100] * count, pa.int32()),
            pa.array([80] * count, pa.int32()),
            pa.array([f"{index:064x}" for index in indexes], pa.string()),
            pa.FixedSizeListArray.from_arrays(numbers, 5),
        ],
        schema=schemas.features(5),
    )
