"""Feature tables: Parquet as Spark, pandas and Arrow write features → float32 rows."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pomona.errors import SourceError

PATHS = ("path", "image_path", "file_path", "filepath", "file_name", "filename", "file", "image")
_COLUMNS_SHOWN = 6
_VECTOR = ("type", "size", "indices", "values")  # of pyspark.ml.linalg.VectorUDT
_SPARSE, _DENSE = 0, 1
_MOST_FEATURES = 100_000  # of an image: a sparse vector may say any size
# pyarrow.ChunkedArray and pyarrow.DataType.
Column: TypeAlias = Any
Kind: TypeAlias = Any


def find_path(schema: pa.Schema) -> str:
    """Returns the column of paths; raises SourceError without one."""
    for name in PATHS:
        if name in schema.names and _is_text(schema.field(name).type):
            return name
    raise SourceError(f"no column path; it has {_in_words(schema)}")


def find_features(schema: pa.Schema, wanted: str | None) -> str:
    """Returns the column of features.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the table.
    wanted : str, optional
        Its name. None: the only one that can be, or of several the one called features.

    Raises
    ------
    SourceError
        If no column can be it, or more than one.
    """
    found = [field.name for field in schema if _is_rows(field.type)]
    if wanted is not None:
        if wanted in found:
            return wanted
        raise SourceError(f"no column {wanted} of features; it has {_in_words(schema)}")
    if len(found) == 1 or "features" in found:
        return "features" if "features" in found else found[0]
    if found:
        names = ", ".join(found[:_COLUMNS_SHOWN])
        raise SourceError(
            f"{len(found)} columns that may be the features ({names}): say `features`"
        )
    scalars = [field.name for field in schema if pa.types.is_floating(field.type)]
    if len(scalars) > 1:
        raise SourceError(
            f"each feature in a column of its own ({scalars[0]} to {scalars[-1]}): "
            "write them as one column of lists, as of table[names].to_numpy().tolist() in pandas"
        )
    raise SourceError(
        f"no column of lists of floats, vectors or tensors; it has {_in_words(schema)}"
    )


def _in_words(schema: pa.Schema) -> str:
    names = [f"{field.name} ({field.type})" for field in schema][:_COLUMNS_SHOWN]
    more = len(schema) - len(names)
    return ", ".join(names) + (f" and {more:,} more" if more else "")


def _is_text(kind: Kind) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_rows(kind: Kind) -> bool:
    """Whether each value of a column is a row of numbers."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return bool(pa.types.is_floating(kind.value_type)) and sum(n > 1 for n in kind.shape) <= 1
    if pa.types.is_struct(kind):
        return tuple(field.name for field in kind) == _VECTOR
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in tests) and bool(pa.types.is_floating(kind.value_type))


def read_rows(column: Column) -> NDArray[np.float32]:
    """Returns the numbers of a column that `find_features` found.

    Parameters
    ----------
    column : pyarrow.ChunkedArray
        Lists, Arrow's tensors or Spark's vectors.

    Returns
    -------
    float32[n, width]
        A row for each value.

    Raises
    ------
    SourceError
        If rows are of different widths, or have what is no finite number.
    """
    if not len(column):
        raise SourceError("no rows: give a table that has")
    if isinstance(column.type, pa.FixedShapeTensorType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks])
    if pa.types.is_struct(column.type):
        rows = _read_vectors(column.combine_chunks())
    else:
        _one_width(pc.unique(pc.list_value_length(column)).to_pylist())
        flat = pa.chunked_array([chunk.flatten() for chunk in column.chunks]).cast(pa.float32())
        rows = flat.to_numpy().reshape(len(column), -1)
    if not np.isfinite(rows).all():
        raise SourceError("features that are not finite numbers: drop those rows")
    return rows


def _read_vectors(vectors: Any) -> NDArray[np.float32]:
    """The rows of Spark's vectors, dense and sparse ones."""
    vectors = pa.concat_arrays(vectors.chunks) if isinstance(vectors, pa.ChunkedArray) else vectors
    kinds = vectors.field("type").to_numpy(zero_copy_only=False)
    values, counts = vectors.field("values"), pc.list_value_length(vectors.field("values"))
    sizes = pc.if_else(pc.equal(vectors.field("type"), _DENSE), counts, vectors.field("size"))
    sizes = pc.if_else(vectors.is_valid(), sizes, None)
    width = _one_width(pc.unique(sizes).to_pylist())
    rows = np.zeros((len(vectors), width), np.float32)
    numbers = values.flatten().cast(pa.float32()).to_numpy(zero_copy_only=False)
    lengths = counts.fill_null(0).to_numpy()
    row_of = np.repeat(np.arange(len(vectors)), lengths)
    is_sparse = np.repeat(kinds == _SPARSE, lengths)
    places = np.arange(len(numbers)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    indices = vectors.field("indices").flatten().to_numpy(zero_copy_only=False)
    if len(indices) != is_sparse.sum() or (
        len(indices) and not 0 <= indices.min() <= indices.max() < width
    ):
        raise SourceError("vectors whose indices do not fit their values: write it again")
    places[is_sparse] = indices
    rows[row_of, places] = numbers
    return rows


def _one_width(widths: list[int | None]) -> int:
    if len(widths) != 1 or not widths[0]:
        seen = ", ".join(str(width or "none") for width in widths[:5])
        raise SourceError(f"rows of different widths ({seen}): one is needed")
    if widths[0] > _MOST_FEATURES:
        raise SourceError(f"rows of {widths[0]:,} numbers: {_MOST_FEATURES:,} at most are taken")
    return widths[0]
