"""The index of a store: exactly the nearest rows, of the store as it is now."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from conftest import Pomona, draw_photos
from pomona.api import open as open_store
from pomona.errors import StoreError, UsageError
from pomona.search import exact
from pomona.search.exact import find_best, unit_rows
from pomona.search.index import Index, Neighbour, current_key, open_index
from pomona.store.store import Store


def random_rows(count: int, width: int, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def brute_force(store: Store, rows: npt.NDArray[np.float32], top: int) -> list[list[str]]:
    """The paths of the nearest images, by a product in float64 and a stable sort."""
    vectors = store.pca()
    order = np.argsort(vectors.paths, kind="stable")
    known = unit_rows(vectors.array[order])
    paths = [vectors.paths[row] for row in order]
    cosines = (unit_rows(rows) @ known.T).round(9)
    return [[paths[row] for row in np.argsort(-each, kind="stable")[:top]] for each in cosines]


def paths(found: list[list[Neighbour]]) -> list[list[str]]:
    return [[each.path for each in nearest] for nearest in found]


@pytest.mark.parametrize("block", [1, 70, 2**18])
@pytest.mark.parametrize("top", [1, 7, 500])
def test_the_best_rows_are_those_of_a_full_comparison(
    block: int, top: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "BLOCK_NUMBERS", block)
    rows, queries = unit_rows(random_rows(300, 6)).astype(np.float32), random_rows(5, 6, seed=1)
    for best, query in zip(
        find_best(rows, unit_rows(queries), top), unit_rows(queries), strict=True
    ):
        wanted = np.argsort(-(rows.astype(np.float64) @ query))[:top]
        assert set(best.rows.tolist()) == set(wanted.tolist())


def test_equals_of_the_last_row_are_all_kept() -> None:
    rows = np.repeat(unit_rows(random_rows(3, 4)).astype(np.float32), 50, axis=0)
    [best] = find_best(rows, unit_rows(rows[60:61]), 7)
    assert sorted(best.rows.tolist()) == list(range(50, 100))


def test_of_very_many_equals_the_first_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "MOST_EQUALS", 5)
    monkeypatch.setattr(exact, "BLOCK_NUMBERS", 30)
    rows = np.repeat(unit_rows(random_rows(1, 4)).astype(np.float32), 100, axis=0)
    [best] = find_best(rows, unit_rows(rows[:1]), 2)
    assert sorted(best.rows.tolist()) == list(range(7))


def test_a_similarity_does_not_depend_on_the_queries_beside_it() -> None:
    rows, queries = unit_rows(random_rows(400, 9)).astype(np.float32), random_rows(40, 9, seed=1)
    together = find_best(rows, unit_rows(queries), 5)
    for best, query in zip(together, queries, strict=True):
        [alone] = find_best(rows, unit_rows(query[np.newaxis]), 5)
        assert dict(zip(alone.rows, alone.similarities, strict=True)) == dict(
            zip(best.rows, best.similarities, strict=True)
        )


def test_an_image_of_the_store_is_its_own_nearest(finished: Path, tmp_path: Path) -> None:
    store = open_store(shutil.copytree(finished, tmp_path / "store"))
    vectors = store.pca()
    index = open_index(store)
    found = index.search(vectors.array, top=5)
    assert paths(found) == brute_force(store, vectors.array, 5)
    assert index.find_path("0" * 64) is None
    digests = {row["path"]: row["sha256"] for row in store.metadata().to_pylist()}
    for path, label, nearest in zip(vectors.paths, vectors.labels, found, strict=True):
        assert nearest[0].path == path
        assert nearest[0].label == label
        assert nearest[0].similarity == pytest.approx(1, abs=1e-6)
        assert all(each.sha256 == digests[each.path] for each in nearest)
        found_path = index.find_path(digests[path])
        assert found_path is not None
        assert digests[found_path] == digests[path]
        assert [each.similarity for each in nearest] == sorted(
            (each.similarity for each in nearest), reverse=True
        )


def test_more_are_asked_for_than_there_are(finished: Path, tmp_path: Path) -> None:
    store = open_store(shutil.copytree(finished, tmp_path / "store"))
    [found] = open_index(store).search(store.pca().array[:1], top=1000)
    assert len(found) == 40


def kept(store: Path) -> dict[str, tuple[int, bytes]]:
    """The files of search/, by name: which they are, and their bytes."""
    found = sorted((store / "search").iterdir()) if (store / "search").exists() else []
    return {path.name: (path.stat().st_ino, path.read_bytes()) for path in found}


def test_the_index_is_kept_and_opened_again(store: Path) -> None:
    first = open_index(Store(store))
    before = kept(store)
    assert set(before) == {f"{first.key}-images.arrow", f"{first.key}-rows.npy", "search.json"}
    again = open_index(Store(store))
    assert kept(store) == before
    np.testing.assert_array_equal(first.rows, again.rows)
    assert np.load(store / "search" / f"{first.key}-rows.npy").shape == first.rows.shape


def test_the_index_is_made_anew_when_the_store_grows_or_its_pca_changes(
    photos: Path, store: Path, pomona: Pomona, tmp_path: Path
) -> None:
    index = open_index(Store(store))
    grown = shutil.copytree(photos, tmp_path / "grown")
    for folder in [grown, *(path for path in grown.rglob("*") if path.is_dir())]:
        folder.chmod(0o755)
    draw_photos(grown, 8, seed=1)
    pomona.done("run", grown, store, "--quiet", "--workers", "1")
    opened = open_store(store)
    assert current_key(opened) != index.key
    grew = open_index(opened)
    assert (len(index), len(grew)) == (40, 48)
    vectors = opened.pca()
    assert paths(grew.search(vectors.array, 5)) == brute_force(opened, vectors.array, 5)
    pomona.done("reduce", store, "--quiet", "--components", "3")
    reduced = open_index(Store(store))
    assert reduced.width == 3
    assert len({index.key, grew.key, reduced.key}) == 3
    assert {name.partition("-")[0] for name in kept(store)} == {reduced.key, "search.json"}


@pytest.mark.parametrize("kind", ["rows.npy", "images.arrow"])
@pytest.mark.parametrize("damage", ["gone", "short"])
def test_a_file_that_is_not_whole_is_made_again(store: Path, kind: str, damage: str) -> None:
    index = open_index(Store(store))
    rows = index.rows.copy()  # they are mapped from the file
    before = {name: data for name, (_, data) in kept(store).items()}
    path = store / "search" / f"{index.key}-{kind}"
    if damage == "gone":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size - 1)
    again = open_index(Store(store))
    np.testing.assert_array_equal(rows, again.rows)
    assert {name: data for name, (_, data) in kept(store).items()} == before


@pytest.mark.parametrize("text", ["", "{}", '{"format": 1, "key": 3, "files": {}}', "[" * 100_000])
def test_a_damaged_list_of_files_is_made_again(store: Path, text: str) -> None:
    open_index(Store(store))
    before = kept(store)["search.json"][1]
    (store / "search/search.json").write_text(text)
    open_index(Store(store))
    assert kept(store)["search.json"][1] == before


def test_a_list_of_a_later_version_is_left_alone(store: Path) -> None:
    (store / "search").mkdir()
    (store / "search/search.json").write_text('{"format": 99, "key": "k", "files": {}}')
    with pytest.raises(StoreError, match=r"later version of pomona \(format 99\): upgrade"):
        open_index(Store(store))


def test_a_store_that_a_command_holds_is_searched_in_memory(store: Path) -> None:
    opened = open_store(store)
    with opened.lock("pomona run"):
        index = open_index(opened)
        assert kept(store) == {}
    rows = opened.pca().array
    assert open_index(opened).search(rows) == index.search(rows)
    assert kept(store) != {}


def test_a_part_that_is_of_another_projection_is_left_out(store: Path) -> None:
    opened = open_store(store)
    [name, *_] = opened.part_names("pca")
    table, footer = opened.read_with_footer(name)
    opened.write_table(name, table, {**footer, "projection": "another"})
    if len(opened.part_names("pca")) > 1:
        assert len(open_index(opened)) == 40 - table.num_rows
    else:
        with pytest.raises(StoreError, match="has no components to search"):
            open_index(opened)


def test_what_cannot_be_searched_is_refused(store: Path) -> None:
    index = open_index(Store(store))
    with pytest.raises(UsageError, match="`top` 0: at least 1"):
        index.search(np.zeros((1, index.width), np.float32), top=0)
    for rows in (
        np.zeros((1, index.width + 1), np.float32),
        np.zeros(index.width, np.float32),
        np.full((1, index.width), np.nan, np.float32),
    ):
        with pytest.raises(UsageError, match=f"finite rows of {index.width} components"):
            index.search(rows)


def test_rows_of_zeros_are_like_no_other(store: Path) -> None:
    index: Index = open_index(Store(store))
    [found] = index.search(np.zeros((1, index.width), np.float32), top=3)
    assert [each.similarity for each in found] == [0, 0, 0]
    assert [each.path for each in found] == sorted(Store(store).pca().paths)[:3]


def test_a_store_without_pca_says_how_to_get_one(store: Path) -> None:
    shutil.rmtree(store / "model_info")
    with pytest.raises(StoreError, match="has no PCA"):
        open_index(Store(store))


def test_a_store_found_half_forgotten_keeps_no_index(store: Path) -> None:
    (store / "_pomona/forgetting.json").write_text('{"paths": [], "keep_projection": false}')
    with pytest.raises(StoreError, match="finish it first"):
        open_index(Store(store))
    assert kept(store) == {}


def test_labels_may_be_missing(store: Path) -> None:
    opened = open_store(store)
    for table in ("pca", "metadata"):
        for name in opened.part_names(table):
            rows, footer = opened.read_with_footer(name)
            at = rows.schema.get_field_index("label")
            none = pa.nulls(rows.num_rows, pa.string())
            opened.write_table(name, rows.set_column(at, rows.schema.field(at), none), footer)
    [found] = open_index(opened).search(opened.pca().array[:1], top=1)
    assert found[0].label is None
