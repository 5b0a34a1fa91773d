from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pytest

from pomona.errors import StoreBusyError, StoreError
from pomona.pca.projection import Projection
from pomona.store import schemas
from pomona.store.layout import LOCK, MANIFEST, PLAN, PROJECTION, TEMPORARIES, part_name
from pomona.store.locks.lease import find_holder
from pomona.store.recipe import Recipe
from pomona.store.store import Store
from pomona.store.tables import matrix, spread
from pomona.store.vectors import Vectors
from unprivileged import unprivileged

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


# Tables


@pytest.mark.parametrize("count", [0, 1, 200])
def test_a_table_and_its_footer_come_back(empty: Store, count: int) -> None:
    empty.write_table("features/x.parquet", rows(0, count), FOOTER)
    assert empty.read_table("features/x.parquet").equals(rows(0, count))
    assert empty.footer("features/x.parquet") == {**FOOTER, "rows": str(count)}
    assert empty.read_table("features/x.parquet", columns=["path"]).equals(
        rows(0, count).select(["path"])
    )


def test_every_table_of_the_schemas_comes_back(empty: Store) -> None:
    for schema in (schemas.CATALOG, schemas.PLAN, schemas.METADATA, schemas.ERRORS, schemas.pca(3)):
        empty.write_table("x.parquet", schema.empty_table())
        assert empty.read_table("x.parquet").schema == schema
        assert empty.footer("x.parquet") == {"rows": "0"}


def test_floats_come_back_to_the_bit(empty: Store) -> None:
    odd = np.array([0.0, -0.0, np.nan, np.inf, 1e-45], np.float32)
    table = rows(0, 1).set_column(
        6, schemas.features(5).field(6), pa.FixedSizeListArray.from_arrays(odd, 5)
    )
    empty.write_table("x.parquet", table)
    assert matrix(empty.read_table("x.parquet"), "features").tobytes() == odd.tobytes()


def test_the_same_table_is_the_same_bytes_however_it_is_chunked(empty: Store) -> None:
    table = rows(0, 100)
    chunked = pa.concat_tables([table.slice(0, 30), table.slice(30)])
    for name, written in (("1", table), ("2", chunked), ("3", table.take(list(range(100))))):
        empty.write_table(name, written, FOOTER)
    assert empty.files.read("1") == empty.files.read("2") == empty.files.read("3")


def test_other_programs_read_the_folder(empty: Store) -> None:
    table = pa.concat_tables([rows(0, 40), rows(40, 10)])
    empty.write_table(part_name("features", 0), rows(0, 40), FOOTER)
    empty.write_table(part_name("features", 1), rows(40, 10), {"generation": "g2"})
    folder = empty.files.path("features")
    paths = table["path"].to_pylist()
    frame = pd.read_parquet(folder)
    assert frame["path"].tolist() == paths
    assert np.array_equal(np.stack(frame["features"].tolist()), matrix(table, "features"))
    assert polars.read_parquet(folder / "*.parquet")["path"].to_list() == paths
    query = f"select path, features from '{folder}/*.parquet' order by path"  # noqa: S608
    assert [path for path, _ in duckdb.execute(query).fetchall()] == sorted(paths)


@pytest.mark.parametrize("keep", [0, 3, 4, 100, -1, -4, -9])
def test_a_file_that_ends_early_has_no_footer_and_cannot_be_read(empty: Store, keep: int) -> None:
    empty.write_table("features/x.parquet", rows(0, 50), FOOTER)
    empty.files.write("features/x.parquet", empty.files.read("features/x.parquet")[:keep])
    check_damaged(empty, "features/x.parquet")


@pytest.mark.parametrize("content", [b"words" * 100, b"PAR1" + bytes(100) + b"PAR1", bytes(2000)])
def test_a_file_of_something_else_has_no_footer_and_cannot_be_read(
    empty: Store, content: bytes
) -> None:
    empty.files.write("features/x.parquet", content)
    check_damaged(empty, "features/x.parquet")


def check_damaged(store: Store, name: str) -> None:
    assert store.footer(name) is None
    with pytest.raises(StoreError, match=rf"{name} is damaged: delete it and give the store's"):
        store.read_table(name)


def test_a_file_damaged_in_its_middle_cannot_be_read(empty: Store) -> None:
    empty.write_table("features/x.parquet", rows(0, 50), FOOTER)
    data = bytearray(empty.files.read("features/x.parquet"))
    data[4:60] = bytes(56)
    empty.files.write("features/x.parquet", bytes(data))
    with pytest.raises(StoreError, match="is damaged"):
        empty.read_table("features/x.parquet")


def test_a_file_that_is_not_there_has_no_footer(empty: Store) -> None:
    assert empty.footer("features/x.parquet") is None
    with pytest.raises(FileNotFoundError):
        empty.read_table("features/x.parquet")


def test_parts_come_together_in_their_order(empty: Store) -> None:
    for part in (2, 10, 0):
        empty.write_table(part_name("features", part), rows(part * 10, 10))
    together = empty.read_all("features", schemas.features(5))
    assert together.equals(pa.concat_tables([rows(0, 10), rows(20, 10), rows(100, 10)]))
    assert empty.read_all("errors", schemas.ERRORS).equals(schemas.ERRORS.empty_table())


def test_rows_are_counted_from_the_footers(empty: Store) -> None:
    empty.write_table(part_name("features", 0), rows(0, 7))
    empty.write_table(part_name("features", 2), rows(0, 0))
    plan = pa.table({"part": pa.array([0, 0, 1, 2], pa.int32())})
    assert empty.rows_by_part("features", plan) == {0: 7, 2: 0}


def test_a_csv_has_a_header_and_quotes_what_needs_it(empty: Store) -> None:
    paths = ['a,"b".jpg', "two\nlines.jpg", "é.jpg"]
    table = pa.table({"path": paths, "label": ["x", None, "007"], "pc_1": [1.5, -2.0, 0.0]})
    empty.write_csv("csv/x.csv", table)
    frame = pd.read_csv(empty.files.path("csv/x.csv"), dtype={"label": str})
    assert frame["path"].tolist() == paths
    assert frame["label"].tolist()[::2] == ["x", "007"]
    assert frame["pc_1"].tolist() == [1.5, -2.0, 0.0]


# Vectors


def test_vectors_say_whose_each_row_is() -> None:
    table = rows(0, 12)
    vectors = Vectors(table, "features")
    assert vectors.array.shape == (12, 5)
    assert vectors.array.dtype == np.float32
    assert vectors.array.tolist() == table["features"].to_pylist()
    assert vectors.paths == table["path"].to_pylist()
    assert vectors.labels == table["label"].to_pylist()
    assert vectors.splits == table["split"].to_pylist()
    assert len(vectors) == 12
    assert repr(vectors) == "<12 rows of features, 5 numbers each>"
    assert vectors.to_arrow() is table


@pytest.mark.parametrize(
    "table",
    [
        rows(0, 0),
        rows(0, 9).slice(2, 3),
        pa.concat_tables([rows(0, 4).slice(1), rows(4, 5)]),
        schemas.features(5).empty_table(),
        pa.Table.from_batches([], schemas.features(5)),
    ],
    ids=["no rows", "slice", "chunks", "empty", "no chunks"],
)
def test_a_matrix_has_a_row_for_each_of_the_table(table: pa.Table) -> None:
    array = matrix(table, "features")
    assert array.shape == (table.num_rows, 5)
    assert array.tolist() == table["features"].to_pylist()


@pytest.mark.parametrize(("column", "name"), [("features", "feature"), ("pca", "pc")])
def test_a_data_frame_has_a_column_for_each_number(column: str, name: str) -> None:
    table = rows(0, 6).select(["path", "label", "split", "features"])
    vectors = Vectors(table.rename_columns(["path", "label", "split", column]), column)
    frame = vectors.to_pandas()
    assert list(frame.columns) == ["path", "label", "split", *(f"{name}_{i}" for i in range(1, 6))]
    assert np.array_equal(frame.iloc[:, 3:].to_numpy(), vectors.array)
    assert frame["path"].tolist() == vectors.paths
    assert spread(vectors.table, column, name).schema.field(3).type == pa.float32()


# What a user reads


def test_an_open_store_gives_what_was_written(empty: Store) -> None:
    projection = Projection(np.zeros(5), np.eye(2, 5), np.arange(5.0, 0, -1), 10, ("components", 2))
    empty.begin("/data/fruit é", RECIPE)
    empty.write_table(part_name("features", 0), rows(0, 10))
    numbers = projection.apply(matrix(rows(0, 10), "features"))
    identity = rows(0, 10).select(["path", "label", "split"])
    pca = identity.append_column("pca", pa.FixedSizeListArray.from_arrays(numbers.ravel(), 2))
    empty.write_table(part_name("pca", 0), pca.cast(schemas.pca(2)))
    empty.files.write(PROJECTION, projection.to_bytes())

    store = Store(str(empty.files))
    assert store.manifest["source"] == "/data/fruit é"
    assert store.manifest["recipe"] == RECIPE.to_dict()
    assert store.recipe == RECIPE
    assert store.projection.id == projection.id
    assert np.array_equal(store.features().array, matrix(rows(0, 10), "features"))
    assert np.array_equal(store.pca().array, numbers)
    assert np.array_equal(store.project(store.features().array), store.pca().array)
    assert store.metadata().num_rows == store.errors().num_rows == 0
    assert store.plan().equals(schemas.PLAN.empty_table())
    assert str(empty.files) in repr(store)


def test_a_store_without_pca_says_how_to_make_it(empty: Store) -> None:
    empty.begin("/data", RECIPE)
    assert empty.find_projection() is None
    with pytest.raises(StoreError, match=r"holds no PCA: .*`pomona reduce"):
        _ = empty.projection


def test_a_folder_without_a_manifest_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(
            StoreError, match=r"is not a pomona store: it has no pomona.json; make one"
        ):
            _ = Store(root).manifest


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b"null", b"\xff\xfe", b'{"format_version"', b'"text"', b"7"],
)
def test_a_damaged_manifest_is_told(empty: Store, content: bytes) -> None:
    empty.files.write(MANIFEST, content)
    with pytest.raises(StoreError, match=r"pomona.json is damaged: restore it from a copy"):
        _ = empty.manifest


@pytest.mark.parametrize("version", [2, 0, "1", None])
def test_a_manifest_of_another_version_is_told(empty: Store, version: Any) -> None:
    empty.begin("/data", RECIPE)
    empty.write_json(MANIFEST, {**empty.manifest, "format_version": version})
    with pytest.raises(StoreError, match=rf"has format {version}, this pomona reads 1: use"):
        _ = empty.manifest


def test_a_manifest_that_may_not_be_read_is_told(commons: Path) -> None:
    store = Store(commons / "store")
    store.begin("/data", RECIPE)
    store.files.path(MANIFEST).chmod(0)
    with unprivileged(), pytest.raises(StoreError, match=r"cannot read .*: Permission denied"):
        _ = store.manifest


def test_a_recipe_of_a_later_version_has_another_digest(empty: Store) -> None:
    empty.begin("/data", RECIPE)
    later = {**RECIPE.to_dict(), "sharpen": 2, "digest": "x"}
    empty.write_json(MANIFEST, {**empty.manifest, "recipe": later})
    assert empty.recipe == RECIPE
    assert empty.recipe.digest != empty.manifest["recipe"]["digest"]
    assert dataclasses.replace(RECIPE, fit="crop") != empty.recipe


# Whether a folder can become a store


def test_an_absent_an_empty_and_a_barely_begun_folder_are_new(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "begun/_pomona/tmp").mkdir(parents=True)
    (tmp_path / "link").symlink_to("empty")
    for name in ("absent", "absent/deeper", "empty", "begun", "link"):
        assert Store(tmp_path / name).is_new()


def test_a_store_is_not_new_whatever_else_it_holds(empty: Store) -> None:
    empty.begin("/data", RECIPE)
    assert not empty.is_new()
    empty.files.write("notes.txt", b"")
    assert not empty.is_new()


def test_a_store_that_lost_its_manifest_is_refused(empty: Store) -> None:
    empty.begin("/data", RECIPE)
    empty.write_table(PLAN, schemas.PLAN.empty_table())
    empty.write_table(part_name("features", 0), rows(0, 1))
    empty.files.delete(MANIFEST)
    with pytest.raises(StoreError, match=r"is not a pomona store and not empty"):
        empty.is_new()


@pytest.mark.parametrize("name", ["photo.jpg", ".hidden", "features", "_pomona2"])
def test_a_folder_of_something_else_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    (tmp_path / "z").mkdir()
    with pytest.raises(StoreError, match=rf"not empty \(it holds '{name}'\): choose another"):
        Store(tmp_path).is_new()
    assert sorted(os.listdir(tmp_path)) == sorted([name, "z"])


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file is a file: give a folder for the store"):
        Store(tmp_path / "file").is_new()


def test_a_folder_that_may_not_be_read_is_refused(commons: Path) -> None:
    (commons / "locked").mkdir(mode=0)
    with unprivileged(), pytest.raises(StoreError, match=r"Permission denied; choose another"):
        Store(commons / "locked").is_new()
    (commons / "locked").rmdir()


# The lock

HOLDER = """
import sys
from pomona.store.store import Store

with Store(sys.argv[1]).lock("pomona run of another"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def another_process_holds(store: Store) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the store's lock until its stdin is closed or it is killed."""
    command = [sys.executable, "-c", HOLDER, str(store.files)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            yield holder
        finally:
            holder.kill()


def test_a_store_is_for_one_process_at_a_time(empty: Store) -> None:
    with another_process_holds(empty) as holder:
        with pytest.raises(StoreBusyError) as caught, empty.lock("pomona run"):
            pass
        words = f"is in use by pomona run of another (process {holder.pid} on "
        assert words in str(caught.value)
        assert "wait until it has ended, or choose another folder" in str(caught.value)
        holder.communicate("")
        assert holder.returncode == 0
    with empty.lock("pomona run"):
        told = str(find_holder(empty.files.path(LOCK)))
        assert told.startswith(f"pomona run (process {os.getpid()} on ")


def test_a_refused_run_leaves_the_holders_name(empty: Store) -> None:
    with another_process_holds(empty):
        said = set()
        for _ in range(3):
            with pytest.raises(StoreBusyError) as caught, empty.lock("pomona reduce"):
                pass
            said.add(str(caught.value))
        assert len(said) == 1


def test_the_lock_of_a_killed_process_is_free_and_its_leftovers_are_swept(empty: Store) -> None:
    with another_process_holds(empty) as holder:
        for name in ("half written", "folder/with/more"):
            empty.files.write(f"{TEMPORARIES}/{name}", b"1")
        empty.write_table(part_name("features", 0), rows(0, 3))
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with empty.lock("pomona run"):
        assert empty.files.names(TEMPORARIES) == []
        assert empty.read_table(part_name("features", 0)).equals(rows(0, 3))


def test_the_lock_is_free_after_an_error(empty: Store) -> None:
    with pytest.raises(ZeroDivisionError), empty.lock("first"):
        _ = 1 / 0
    with empty.lock("second"):
        pass


def test_a_locked_folder_is_still_new(empty: Store) -> None:
    with empty.lock("pomona run") as (locked, _):
        assert locked.is_new()
    assert empty.is_new()


def test_a_copy_of_a_store_is_not_locked(empty: Store, tmp_path: Path) -> None:
    with another_process_holds(empty):
        copy = Store(shutil.copytree(empty.files.root, tmp_path / "copy"))
        with copy.lock("pomona run"), copy.files.path(LOCK).open() as file:
            with pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            assert f"(process {os.getpid()} on " in str(find_holder(copy.files.path(LOCK)))
