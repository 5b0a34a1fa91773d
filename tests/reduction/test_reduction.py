"""Reduction: the moments of a store's parts, the projection, and the files made with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest

from pomona.extraction.parts import write_part
from pomona.pca.moments import Moments, solve
from pomona.pca.moments import measure as measure_rows
from pomona.pca.projection import Projection
from pomona.reduction import measure, model
from pomona.reduction.measure import BLOCK_ROWS, MOMENTS, Group, measure_group, merge_groups
from pomona.reduction.project import ProjectTask, is_projected, project
from pomona.store import schemas
from pomona.store.layout import CSV_TABLES, PROJECTION, part_name
from pomona.store.plan import Shard
from pomona.store.recipe import Recipe
from pomona.store.store import Store
from pomona.store.tables import matrix

WIDTH = 5
RECIPE = Recipe("efficientnet_lite0", "a" * 64, "b" * 64, 224, WIDTH)
BROKEN = {"stage": "decode", "reason": "empty", "detail": None, "retryable": False}
IMAGE = {"label": "Äpfel", "split": None, "fingerprint": "f"}
PARTS = (0, 1, 4)

Features = npt.NDArray[np.float32]


def add_part(store: Store, part: int, count: int, generation: str = "first") -> Features:
    """Writes a part of images of which the first broke; returns the features of the others."""
    features = np.random.default_rng(part).normal(size=(count, WIDTH)).astype(np.float32)
    rows = [
        {**IMAGE, "path": f"{part}/{index:04d}.jpg", "sha256": f"{index:064x}"}
        for index in range(count)
    ]
    shard = Shard(part, pa.Table.from_pylist(rows, schemas.CATALOG), generation)
    write_part(store, shard, RECIPE, rows, {0: BROKEN}, features)
    return features[1:]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    store.begin("/photos", RECIPE)
    for part in PARTS:
        add_part(store, part, 10 + part)
    return store


@pytest.fixture
def projection(store: Store) -> Projection:
    return solve(measure_rows(store.features().array), ("components", 2))


def footers(store: Store, table: str) -> list[dict[str, str] | None]:
    return [store.footer(name) for name in store.part_names(table)]


def test_moments_of_groups_merge_to_those_of_all_rows(store: Store) -> None:
    found = [Group(0, (0, 4), 22), Group(1, (1,), 10)]
    assert [measure_group(group, store.files) for group in found] == [22, 10]
    assert store.files.exists(MOMENTS)
    total, expected = merge_groups(store, found), measure_rows(store.features().array)
    assert not store.files.exists(MOMENTS)
    assert total.n == expected.n == 32
    np.testing.assert_allclose(total.mean, expected.mean, atol=1e-12)
    np.testing.assert_allclose(total.scatter, expected.scatter, atol=1e-12)


def test_rows_are_multiplied_in_blocks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks: list[int] = []

    def watched(rows: Features) -> Moments:
        blocks.append(len(rows))
        return measure_rows(rows)

    monkeypatch.setattr(measure, "measure", watched)
    parts = tuple(range(10, 16))
    for part in parts:
        add_part(store, part, 401)
    assert measure_group(Group(0, parts, 2400), store.files) == 2400
    assert blocks == [1200, 1200]
    assert all(size >= BLOCK_ROWS for size in blocks)
    blocks.clear()
    assert measure_group(Group(0, (*parts, 0), 2409), store.files) == 2409
    assert blocks == [1200, 1200, 9]


@pytest.mark.parametrize("csv", [False, True])
def test_parts_are_projected_once(store: Store, projection: Projection, csv: bool) -> None:
    task = ProjectTask(store.files, projection, csv)
    assert not any(is_projected(store, part, task) for part in PARTS)
    project(PARTS[:2], task)
    assert [is_projected(store, part, task) for part in PARTS] == [True, True, False]
    project(PARTS[2:], task)
    assert all(is_projected(store, part, task) for part in PARTS)
    rows = matrix(store.read_all("pca", schemas.pca(2)), "pca")
    assert np.array_equal(rows, projection.apply(store.features().array))
    paths = store.features().paths
    assert store.read_all("pca", schemas.pca(2))["path"].to_pylist() == paths
    assert {footer["projection"] for footer in footers(store, "pca") if footer} == {projection.id}
    assert [store.files.exists(f"csv/{table}") for table in CSV_TABLES] == [csv] * 3


def test_a_part_is_projected_anew_where_anything_is_of_another_origin(
    store: Store, projection: Projection
) -> None:
    task = ProjectTask(store.files, projection, csv=True)
    project(PARTS, task)
    for component in (0, 1):
        other = Projection(
            projection.mean + component,
            -projection.components,
            projection.variances,
            projection.n,
            projection.requested,
        )
        assert other.id != projection.id
        assert not is_projected(store, 0, ProjectTask(store.files, other, csv=True))
    for table in CSV_TABLES:
        kept = store.files.read(name := part_name(f"csv/{table}", 0, "csv"))
        store.files.delete(name)
        assert not is_projected(store, 0, task)
        assert is_projected(store, 0, ProjectTask(store.files, projection, csv=False))
        store.files.write(name, kept)
    assert is_projected(store, 0, task)
    features, footer = store.read_with_footer(part_name("features", 0))
    store.write_table(part_name("features", 0), features, {**footer, "generation": "second"})
    assert not is_projected(store, 0, task)
    store.files.delete(part_name("pca", 1))
    assert not is_projected(store, 1, task)


def test_a_part_that_is_written_anew_loses_what_was_made_of_it(
    store: Store, projection: Projection
) -> None:
    task = ProjectTask(store.files, projection, csv=True)
    project(PARTS, task)
    add_part(store, 1, 11, "second")
    assert not store.files.exists(part_name("pca", 1))
    assert not any(store.files.exists(part_name(f"csv/{table}", 1, "csv")) for table in CSV_TABLES)
    assert [is_projected(store, part, task) for part in PARTS] == [True, False, True]


def test_csv_files_hold_the_rows_of_the_tables(store: Store, projection: Projection) -> None:
    project(PARTS, ProjectTask(store.files, projection, csv=True))
    for part in PARTS:
        frames = {
            table: pd.read_csv(store.files.path(part_name(f"csv/{table}", part, "csv")))
            for table in CSV_TABLES
        }
        assert {table: len(frame) for table, frame in frames.items()} == {
            "metadata": 10 + part,
            "errors": 1,
            "pca": 9 + part,
        }
        assert list(frames["pca"].columns) == ["path", "label", "split", "pc_1", "pc_2"]
        table = store.read_table(part_name("pca", part))
        assert frames["pca"]["path"].tolist() == table["path"].to_pylist()
        np.testing.assert_allclose(frames["pca"].iloc[:, 3:], matrix(table, "pca"), rtol=1e-6)
        assert list(frames["metadata"].columns) == schemas.METADATA.names
        assert frames["errors"]["reason"].tolist() == ["empty"]


def test_without_a_projection_csv_files_are_made_of_what_there_is(store: Store) -> None:
    task = ProjectTask(store.files, None, csv=True)
    assert not is_projected(store, 0, task)
    project(PARTS, task)
    assert all(is_projected(store, part, task) for part in PARTS)
    assert [store.files.exists(f"csv/{table}") for table in CSV_TABLES] == [True, True, False]
    assert not store.files.exists("pca")
    assert is_projected(store, 0, ProjectTask(store.files, None, csv=False))


def test_another_projection_leaves_nothing_of_the_one_before(
    store: Store, projection: Projection
) -> None:
    model.save(store, projection)
    model.describe(store, projection)
    project(PARTS, ProjectTask(store.files, projection, csv=True))
    other = solve(measure_rows(store.features().array), ("components", 3))
    model.save(store, other)
    assert store.projection.id == other.id
    assert store.files.names("model_info") == [PROJECTION]
    assert not any(map(store.files.exists, ("pca", "csv/pca")))
    assert store.files.exists("csv/metadata")
    model.save(store, None)
    assert store.find_projection() is None


def test_a_description_gives_the_variance_of_each_component(
    store: Store, projection: Projection
) -> None:
    model.describe(store, projection)
    variance = pd.read_csv(store.files.path(model.VARIANCE))
    assert variance["component"].tolist() == [1, 2]
    np.testing.assert_allclose(variance["variance_explained"], projection.explained[:2])
    np.testing.assert_allclose(variance["cumulative_variance"], np.cumsum(projection.explained[:2]))
    info = json.loads(store.files.read(model.MODEL_INFO))
    assert info == {"recipe": RECIPE.to_dict(), "pca": projection.summary()}
    store.files.write(model.VARIANCE, b"kept")
    model.describe(store, projection)
    assert store.files.read(model.VARIANCE) == b"kept"
