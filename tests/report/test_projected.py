from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pomona.report import projected
from pomona.store.store import Store


def test_a_sample_keeps_each_image_with_its_own_row(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Store(store)
    projection, metadata = opened.projection, opened.metadata()
    every = projected.load(opened, projection, metadata)
    assert len(every) == every.total == opened.pca().array.shape[0]
    np.testing.assert_array_equal(every.array, opened.pca().array)
    monkeypatch.setattr(projected, "MOST_IMAGES", 7)
    some = projected.load(opened, projection, metadata)
    assert (len(some), some.total, some.is_sample) == (7, every.total, True)
    paths = every.images["path"].to_pylist()
    rows = [paths.index(path) for path in some.images["path"].to_pylist()]
    np.testing.assert_array_equal(some.array, every.array[rows])
