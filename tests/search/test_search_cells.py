"""Beyond a size a search looks at some cells: nearly all of the nearest are found, and exactly."""

from __future__ import annotations

import importlib.util
import io
import shutil
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from conftest import Here
from pomona.api import open as open_store
from pomona.errors import UsageError
from pomona.maintenance.verify import verify
from pomona.pipeline.context import RunSettings
from pomona.progress import PlainProgress
from pomona.search import cells, files
from pomona.search.ask import search_images
from pomona.search.cells import Cells
from pomona.search.exact import find_best, unit_rows
from pomona.search.index import open_index
from pomona.store.store import Store


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores of the tests count as large."""
    monkeypatch.setattr(files, "MOST_NUMBERS", 10)


def clustered(count: int, width: int, seed: int) -> npt.NDArray[np.float32]:
    """Rows of length 1 in 100 clusters."""
    centres = np.random.default_rng(0).standard_normal((100, width))
    rng = np.random.default_rng(seed)
    rows = centres[rng.integers(0, 100, count)] + rng.standard_normal((count, width)) / 2
    return unit_rows(rows.astype(np.float32)).astype(np.float32)


@pytest.fixture(scope="module", params=[3_000, 12_000])
def rows(request: pytest.FixtureRequest) -> npt.NDArray[np.float32]:
    return clustered(request.param, 24, 1)


@pytest.fixture(scope="module")
def made(rows: npt.NDArray[np.float32]) -> Cells:
    return Cells.of(rows)


@pytest.mark.parametrize("top", [1, 10, 50])
def test_nearly_all_of_the_nearest_are_found(
    rows: npt.NDArray[np.float32], made: Cells, top: int
) -> None:
    assert made.looked_at < made.index.nlist / 2
    queries = clustered(200, 24, 2).astype(np.float64)
    exact, found = find_best(rows, queries, top), made.find_best(rows, queries, top)
    # Nothing is made up for: what the cells hold is enough.
    assert all(len(one.rows) >= top for one in made._look(rows, queries, top))
    hits = sum(len({*one.rows} & {*other.rows}) for one, other in zip(exact, found, strict=True))
    assert hits >= 0.99 * sum(len(one.rows) for one in exact)
    for one, other in zip(exact, found, strict=True):
        own = dict(zip(one.rows, one.similarities, strict=True))
        for row, similarity in zip(other.rows, other.similarities, strict=True):
            assert own.get(row, similarity) == similarity


def test_cells_are_written_and_mapped(
    rows: npt.NDArray[np.float32], made: Cells, tmp_path: Path
) -> None:
    data = io.BytesIO()
    made.write(data.write)
    (tmp_path / "cells").write_bytes(data.getvalue())
    opened = Cells.open(tmp_path / "cells", made.looked_at)
    queries = rows[:20].astype(np.float64)
    for one, other in zip(
        made.find_best(rows, queries, 5), opened.find_best(rows, queries, 5), strict=True
    ):
        assert one.rows.tolist() == other.rows.tolist()
    (tmp_path / "other").write_bytes(b"no cells")
    with pytest.raises(ValueError, match="not cells"):
        Cells.open(tmp_path / "other", 1)


def test_cells_of_few_rows_are_made_up_for(rows: npt.NDArray[np.float32], made: Cells) -> None:
    few = Cells(made.index, 1)
    [best] = few.find_best(rows, rows[:1].astype(np.float64), 2_000)
    assert len(best.rows) == 2_000


def test_rows_that_are_all_the_same_are_found() -> None:
    rows = np.repeat(clustered(1, 24, 1), 2_000, axis=0)
    same = Cells.of(rows)
    [best] = same.find_best(rows, rows[:1].astype(np.float64), 10)
    assert len(best.rows) >= 10


def test_a_large_store_has_cells(small: None, finished: Path, tmp_path: Path) -> None:
    store = shutil.copytree(finished, tmp_path / "store")
    opened = open_store(store)
    index = open_index(opened)
    assert not index.is_exact
    assert (store / "search" / f"{index.key}-cells.faiss").exists()
    vectors = opened.pca()
    found = index.search(vectors.array, top=3)
    assert [each[0].path for each in found] == vectors.paths
    assert len(index.search(vectors.array[:1], top=cells.MOST_TOP + 1)[0]) == 40
    assert verify(store, RunSettings(Here())).findings == []
    with pytest.raises(UsageError, match="`top` 0"):
        index.search(vectors.array, top=0)


def test_an_index_without_cells_gets_them(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_index(Store(store)).is_exact
    monkeypatch.setattr(files, "MOST_NUMBERS", 10)
    index = open_index(Store(store))
    assert not index.is_exact
    path = store / "search" / f"{index.key}-cells.faiss"
    path.write_bytes(path.read_bytes()[:-1])
    assert not open_index(Store(store)).is_exact


def test_without_faiss_every_row_is_compared_and_a_note_says_so(
    small: None, store: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "faiss" else found(name)
    )
    monkeypatch.setitem(sys.modules, "faiss", None)
    said = io.StringIO()
    image = photos / "Training/Pear/photo 0-002.jpg"
    settings = RunSettings(Here(), PlainProgress(said))
    _, [nearest] = search_images(store, [image], settings, top=2)
    assert nearest.nearest[0].path == "Training/Pear/photo 0-002.jpg"
    assert 'all 40 images are compared: for a store on a disk, pip install "pomona[search]"' in (
        said.getvalue()
    )
    assert not list((store / "search").glob("*cells*"))
