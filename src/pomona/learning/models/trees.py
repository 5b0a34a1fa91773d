"""Sums over trees, in a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from pomona.learning.models.base import check_size

# Old enough for every ONNX Runtime from 1.20 on.
TREES_DOMAIN, TREES_OPSET = "ai.onnx.ml", 3
# What a node and a weight take in a file, in trees of 2¹⁴ nodes and more: smaller ones take less.
NODE_BYTES, WEIGHT_BYTES = 29, 14
LESS, LESS_OR_EQUAL = "BRANCH_LT", "BRANCH_LEQ"


@dataclass(frozen=True)
class Tree:
    """A tree of decisions. Node 0 is its root; a leaf has no children.

    Attributes
    ----------
    left, right : int64[nodes]
        Where a row goes on whose value is below the threshold, or not; -1 for a leaf.
    column : int64[nodes]
        Which of the row's values it is.
    threshold : float32[nodes]
        What it is compared with.
    leaves, classes : int64[weights]
        The leaves, and the classes, that have a weight; a leaf may have several.
    weights : float32[weights]
        What a row in the leaf adds to the class.
    """

    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    column: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float32]
    leaves: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]


def sum_node(
    x: str, output: str, trees: Sequence[Tree], comparison: str, base: npt.NDArray[np.float32]
) -> onnx.NodeProto:
    """Returns the node that computes the sums over trees, float32[n, classes].

    Parameters
    ----------
    x, output : str
        The tensor of rows, and that of the sums.
    trees : sequence of Tree
        The trees.
    comparison : str
        When a row goes left: `LESS` or `LESS_OR_EQUAL`.
    base : float32[classes]
        What is added to each sum.

    Raises
    ------
    PomonaError
        If an ONNX file cannot hold them, before they take many times as much memory.
    """
    check_size(estimate_bytes(trees))
    sizes = [len(tree.left) for tree in trees]
    counts = [len(tree.weights) for tree in trees]
    numbers = np.arange(len(trees))
    is_leaf = np.concatenate([tree.left < 0 for tree in trees])

    def inner(name: str) -> list[int]:
        values: list[int] = np.where(is_leaf, 0, _all(trees, name)).tolist()
        return values

    return helper.make_node(
        "TreeEnsembleRegressor",
        [x],
        [output],
        domain=TREES_DOMAIN,
        aggregate_function="SUM",
        base_values=base.tolist(),
        n_targets=len(base),
        nodes_falsenodeids=inner("right"),
        nodes_featureids=inner("column"),
        nodes_modes=np.where(is_leaf, "LEAF", comparison).tolist(),
        nodes_nodeids=np.concatenate([np.arange(size) for size in sizes]).tolist(),
        nodes_treeids=np.repeat(numbers, sizes).tolist(),
        nodes_truenodeids=inner("left"),
        nodes_values=np.where(is_leaf, 0, _all(trees, "threshold")).tolist(),
        post_transform="NONE",
        target_ids=_all(trees, "classes").tolist(),
        target_nodeids=_all(trees, "leaves").tolist(),
        target_treeids=np.repeat(numbers, counts).tolist(),
        target_weights=_all(trees, "weights").tolist(),
    )


def estimate_bytes(trees: Sequence[Tree]) -> int:
    """Returns about how many bytes of an ONNX file trees take."""
    nodes = sum(len(tree.left) for tree in trees)
    return NODE_BYTES * nodes + WEIGHT_BYTES * sum(len(tree.weights) for tree in trees)


def _all(trees: Sequence[Tree], name: str) -> npt.NDArray[Any]:
    return np.concatenate([getattr(tree, name) for tree in trees])
