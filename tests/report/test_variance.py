from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pomona as api
from conftest import Pomona, draw_photos
from pomona.report.sections.variance import measure_added
from pomona.store.layout import REPORT
from pomona.store.store import Store


def test_the_variance_of_images_added_after_the_fit_is_measured(
    pomona: Pomona, tmp_path: Path
) -> None:
    source, out = draw_photos(tmp_path / "source", 24), tmp_path / "out"
    pomona.done("run", source, out, "--quiet", "--components", "5")
    store = Store(out)
    assert measure_added(store, store.projection) is None
    before = set(store.features().paths)
    draw_photos(source, 16, seed=1)
    pomona.done("run", source, out, "--quiet")
    projection, rows = store.projection, store.features()
    assert (projection.n, len(rows)) == (24, 40)
    new = rows.array[[path not in before for path in rows.paths]] - projection.mean
    residual = new - new @ projection.components.T @ projection.components
    found = measure_added(store, projection)
    assert found is not None
    assert (found.images, found.is_sample) == (16, False)
    explained = 1 - (residual**2).sum() / (new**2).sum()
    assert found.explained == pytest.approx(explained, rel=1e-4)
    page = " ".join((out / REPORT).read_text().split())
    assert (
        f"variance of 16 images added since, the kept components explain {100 * explained:.1f}"
        in page
    )
    api.run(source, out, refit=True, progress=False)
    assert measure_added(store, store.projection) is None
    assert np.isfinite(store.projection.variances).all()
