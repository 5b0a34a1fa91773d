"""Features as Spark, pandas and Arrow write them into Parquet: `pomona import-features`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.ml.linalg import DenseVector, SparseVector, VectorUDT

from pomona.errors import SourceError
from pomona.maintenance.feature_tables import find_features, read_rows

ROWS = np.array([[0.5, 0, 0, 2], [0, 0, 3, 0], [0, 0, 0, 0]])
VECTOR = pa.struct(
    [
        ("type", pa.int8()),
        ("size", pa.int32()),
        ("indices", pa.list_(pa.int32())),
        ("values", pa.list_(pa.float64())),
    ]
)


def vectors(*given: Any) -> pa.Array:
    """As Spark writes vectors of its ML library."""
    names = [field.name for field in VECTOR]
    told = [one and dict(zip(names, VectorUDT().serialize(one), strict=True)) for one in given]
    return pa.array(told, VECTOR)


def sparse(row: Any) -> SparseVector:
    at = np.flatnonzero(row)
    return SparseVector(len(row), at, row[at])


def tensors(shape: tuple[int, ...], dtype: type = np.float32) -> pa.Array:
    return pa.FixedShapeTensorArray.from_numpy_ndarray(ROWS.astype(dtype).reshape(3, *shape))


def fixed(kind: pa.DataType) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(ROWS.ravel(), kind), 4)


@pytest.mark.parametrize(
    "column",
    [
        vectors(*map(DenseVector, ROWS)),
        vectors(*map(sparse, ROWS)),
        vectors(DenseVector(ROWS[0]), sparse(ROWS[1]), DenseVector(ROWS[2])),
        tensors((4,)),
        tensors((1, 4, 1), np.float64),
        fixed(pa.float16()),
        fixed(pa.float64()),
        pa.array(ROWS.tolist(), pa.large_list(pa.float64())),
        pa.array(ROWS.astype(np.float16).tolist(), pa.list_(pa.float16())),
    ],
)
def test_rows_of_every_kind_are_read(column: pa.Array, tmp_path: Path) -> None:
    table = pa.table({"path": ["a", "b", "c"], "vector": column})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    found = pq.read_table(tmp_path / "t.parquet")
    assert find_features(found.schema, None) == "vector"
    rows = read_rows(found["vector"])
    assert rows.dtype == np.float32
    assert np.array_equal(rows, ROWS)


@pytest.mark.parametrize(
    ("column", "told"),
    [
        (vectors(DenseVector([1.0]), DenseVector([1.0, 2.0])), r"different widths \(1, 2\)"),
        (vectors(DenseVector([1.0]), None), r"different widths \(1, none\)"),
        (vectors(SparseVector(2**31 - 1, [1], [1.0])), "2,147,483,647 numbers: 100,000 at most"),
        (
            pa.array([{"type": 0, "size": 4, "indices": [4], "values": [1.0]}], VECTOR),
            "indices do not fit",
        ),
        (
            pa.array([{"type": 0, "size": 4, "indices": [1, 2], "values": [1.0]}], VECTOR),
            "indices do not fit",
        ),
        (vectors(DenseVector([float("inf")])), "not finite"),
        (pa.array([], VECTOR), "no rows"),
    ],
)
def test_rows_that_cannot_be_used_are_refused(column: pa.Array, told: str) -> None:
    with pytest.raises(SourceError, match=told):
        read_rows(pa.chunked_array([column]))


def test_the_column_of_features_is_the_one_that_is_named() -> None:
    lists = pa.list_(pa.float32())
    kinds = {"path": pa.string(), "bbox": lists, "features": lists, "embedding": lists}
    assert find_features(pa.schema(kinds), None) == "features"
    assert find_features(pa.schema(kinds), "embedding") == "embedding"
    with pytest.raises(SourceError, match="no column path of features; it has path"):
        find_features(pa.schema(kinds), "path")
    del kinds["features"]
    with pytest.raises(SourceError, match=r"2 columns .* \(bbox, embedding\): say `features`"):
        find_features(pa.schema(kinds), None)
    maps = {"path": pa.string(), "maps": pa.fixed_shape_tensor(pa.float32(), [7, 7, 2])}
    with pytest.raises(SourceError, match="no column of lists of floats, vectors or tensors"):
        find_features(pa.schema(maps), None)
    wide = pa.schema([("path", pa.string()), *((f"f{at}", pa.float32()) for at in range(1_280))])
    with pytest.raises(SourceError, match=r"\(f0 to f1279\): write them as one column") as caught:
        find_features(wide, None)
    assert len(str(caught.value)) < 200


def test_a_table_of_pandas_becomes_a_store(pomona: Any, tmp_path: Path) -> None:
    """A label that some rows lack makes floats of whole numbers."""
    rows = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    frame = pd.DataFrame(
        {
            "image_path": [f"{at}.jpg" for at in range(9)],
            "label": [*range(8), None],
            "bbox": rows[:, :2].tolist(),
            "embedding": rows.tolist(),
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    done = pomona(
        "import-features", tmp_path / "t.parquet", tmp_path / "out", "--features", "embedding"
    )
    assert "paths are from the column image_path, features from embedding" in done.stderr
    import pomona as api

    found = api.open(tmp_path / "out").features()
    assert found.labels == [*map(str, range(8)), None]
    assert np.array_equal(found.array, rows)
