"""Tables: what is written is read, to the bit, and damage is found."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pytest
from small_stores import FOOTER, empty, rows

from pomona.errors import StoreError
from pomona.store import schemas
from pomona.store.layout import part_name
from pomona.store.store import Store
from pomona.store.tables import matrix

__all__ = ["empty"]


@pytest.mark.parametrize("count", [0, 1, 200])
def test_a_table_and_its_footer_are_read_as_they_were_written(empty: Store, count: int) -> None:
    empty.write_table("features/x.parquet", rows(0, count), FOOTER)
    assert empty.read_table("features/x.parquet").equals(rows(0, count))
    assert empty.footer("features/x.parquet") == {**FOOTER, "rows": str(count)}
    assert empty.read_table("features/x.parquet", columns=["path"]).equals(
        rows(0, count).select(["path"])
    )


def test_a_table_of_every_schema_is_read_as_it_was_written(empty: Store) -> None:
    for schema in (schemas.CATALOG, schemas.PLAN, schemas.METADATA, schemas.ERRORS, schemas.pca(3)):
        empty.write_table("x.parquet", schema.empty_table())
        assert empty.read_table("x.parquet").schema == schema
        assert empty.footer("x.parquet") == {"rows": "0"}


def test_floats_are_read_to_the_bit(empty: Store) -> None:
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


def test_pandas_polars_and_duckdb_read_the_parts(empty: Store) -> None:
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
    with pytest.raises(StoreError, match=rf"{name} is damaged: delete it and run the store's"):
        store.read_table(name)


def test_a_file_damaged_in_its_middle_cannot_be_read(empty: Store) -> None:
    empty.write_table("features/x.parquet", rows(0, 50), FOOTER)
    data = bytearray(empty.files.read("features/x.parquet"))
    data[4:60] = bytes(56)
    empty.files.write("features/x.parquet", bytes(data))
    with pytest.raises(StoreError, match="is damaged"):
        empty.read_table("features/x.parquet")


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6])
def test_a_bit_that_changed_among_the_numbers_is_found(empty: Store, share: float) -> None:
    empty.write_table("features/x.parquet", rows(0, 500), FOOTER)
    data = bytearray(empty.files.read("features/x.parquet"))
    numbers = matrix(rows(0, 500), "features").tobytes()
    start = bytes(data).index(numbers[:40])  # they are stored as they are
    data[start + int(share * len(numbers))] ^= 1
    empty.files.write("features/x.parquet", bytes(data))
    assert empty.footer("features/x.parquet")
    with pytest.raises(StoreError, match="is damaged"):
        empty.read_table("features/x.parquet")


def test_a_file_that_is_not_there_has_no_footer(empty: Store) -> None:
    assert empty.footer("features/x.parquet") is None
    with pytest.raises(FileNotFoundError):
        empty.read_table("features/x.parquet")


def test_a_csv_has_a_header_and_quotes_what_needs_it(empty: Store) -> None:
    paths = ['a,"b".jpg', "two\nlines.jpg", "é.jpg"]
    table = pa.table({"path": paths, "label": ["x", None, "007"], "pc_1": [1.5, -2.0, 0.0]})
    empty.write_csv("csv/x.csv", table)
    frame = pd.read_csv(empty.files.path("csv/x.csv"), dtype={"label": str})
    assert frame["path"].tolist() == paths
    assert frame["label"].tolist()[::2] == ["x", "007"]
    assert frame["pc_1"].tolist() == [1.5, -2.0, 0.0]


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
def test_a_matrix_has_a_row_for_each_row_of_its_table(table: pa.Table) -> None:
    array = matrix(table, "features")
    assert array.shape == (table.num_rows, 5)
    assert array.tolist() == table["features"].to_pylist()
