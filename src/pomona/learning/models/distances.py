"""Distances to stored rows, in a graph."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from pomona.learning.models.base import Graph, Rows


def squared_distances_graph(x: str, rows: Rows, squares: str) -> Graph:
    """Returns what computes squared distances, float64[n, m].

    As |x|² + |row|² − 2·x·row, which is one matrix product; in float64, for in float32 that of two
    rows that are alike is noise.

    Parameters
    ----------
    x : str
        The tensor of rows float32[n, width].
    rows : float32[m, width]
        What they are compared with.
    squares : str
        The tensor that is computed.
    """
    wide = rows.astype(np.float64)
    nodes = [
        helper.make_node("Cast", [x], ["x64"], to=TensorProto.DOUBLE),
        # The rows are stored in half the space.
        helper.make_node("Cast", ["columns"], ["columns64"], to=TensorProto.DOUBLE),
        helper.make_node("MatMul", ["x64", "columns64"], ["products"]),
        helper.make_node("Mul", ["products", "minus_two"], ["doubled"]),
        helper.make_node("ReduceSumSquare", ["x64"], ["lengths"], axes=[1], keepdims=1),
        helper.make_node("Add", ["lengths", "row_lengths"], ["sum_of_lengths"]),
        helper.make_node("Add", ["doubled", "sum_of_lengths"], ["difference"]),
        helper.make_node("Max", ["difference", "nothing"], [squares]),
    ]
    constants = [
        numpy_helper.from_array(np.ascontiguousarray(rows.T), "columns"),
        numpy_helper.from_array(np.asarray(-2.0), "minus_two"),
        numpy_helper.from_array((wide * wide).sum(axis=1)[None], "row_lengths"),
        numpy_helper.from_array(np.asarray(0.0), "nothing"),
    ]
    return Graph(nodes, constants)
