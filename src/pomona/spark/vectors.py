"""Matrices of columns of `pyspark.ml` vectors in Arrow, and back.

Spark sends a vector column through Arrow as the struct that it is stored as, and takes such a
struct back: a dense vector is (type 1, null, null, its values), a sparse one (type 0, its size,
where it is not 0, its values there). So neither way makes a Python object of a number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pomona.errors import UsageError

Matrix = npt.NDArray[np.float64]

_SPARSE, _DENSE = 0, 1


def to_matrix(column: pa.Array) -> Matrix:
    """Returns a column as a matrix; nulls are left out.

    Parameters
    ----------
    column : pyarrow.Array
        Vectors, or lists of numbers, of one width.

    Returns
    -------
    ndarray of float64[n, width]
        A row for each that is not null.

    Raises
    ------
    UsageError
        If they are not of one width, or a list holds a null.
    """
    column = column.drop_null()
    lists = _dense(column) if pa.types.is_struct(column.type) else column
    widths = pc.unique(pc.list_value_length(lists)).to_pylist()
    if len(widths) > 1:
        raise UsageError(f"vectors of one width wanted, not of {min(widths)} and {max(widths)}")
    values = lists.flatten()
    if values.null_count:
        raise UsageError("a vector holds a null among its numbers: replace it or leave the row out")
    numbers = values.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    matrix: Matrix = numbers.reshape(len(lists), widths[0] if widths else 0)
    return matrix


def _dense(vectors: pa.StructArray) -> pa.Array:
    if not pc.any(pc.equal(vectors.field("type"), _SPARSE)).as_py():
        return vectors.field("values")
    rows = []
    for vector in vectors.to_pylist():
        row = vector["values"]
        if vector["type"] == _SPARSE:
            row = np.zeros(vector["size"])
            row[vector["indices"]] = vector["values"]
        rows.append(row)
    return pa.array(rows, pa.list_(pa.float64()))


def to_vectors(
    matrix: npt.NDArray[np.floating[Any]], present: npt.NDArray[np.bool_]
) -> pa.StructArray:
    """Returns a matrix as a column of dense vectors and nulls.

    Parameters
    ----------
    matrix : ndarray of float[n, width]
        The vectors, in order.
    present : ndarray of bool[rows]
        Which rows have a vector; n are True.
    """
    rows = len(present)
    offsets = np.concatenate([[0], np.cumsum(present)]) * matrix.shape[1]
    values = pa.array(matrix.astype(np.float64, copy=False).ravel())
    return pa.StructArray.from_arrays(
        [
            pa.array(np.full(rows, _DENSE, np.int8)),
            pa.nulls(rows, pa.int32()),
            pa.nulls(rows, pa.list_(pa.int32())),
            pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values),
        ],
        ["type", "size", "indices", "values"],
        mask=pa.array(~present),
    )
