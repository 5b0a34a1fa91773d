"""Vectors: rows of numbers with the images they belong to."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from small_stores import rows

from pomona.store.tables import spread
from pomona.store.vectors import Vectors


def test_vectors_name_the_image_of_each_row() -> None:
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


@pytest.mark.parametrize(("column", "name"), [("features", "feature"), ("pca", "pc")])
def test_a_data_frame_has_a_column_for_each_number(column: str, name: str) -> None:
    table = rows(0, 6).select(["path", "label", "split", "features"])
    vectors = Vectors(table.rename_columns(["path", "label", "split", column]), column)
    frame = vectors.to_pandas()
    assert list(frame.columns) == ["path", "label", "split", *(f"{name}_{i}" for i in range(1, 6))]
    assert np.array_equal(frame.iloc[:, 3:].to_numpy(), vectors.array)
    assert frame["path"].tolist() == vectors.paths
    assert spread(vectors.table, column, name).schema.field(3).type == pa.float32()
