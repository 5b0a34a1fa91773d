"""Small ONNX classifiers in the layouts that exporters give, made with the `onnx` package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIDE, CHANNELS, CLASSES = 16, 8, 5

Node = tuple[str, str, str] | tuple[str, str, str, dict[str, Any]]

RANDOM = np.random.default_rng(0)
KERNEL = RANDOM.normal(0, 0.3, (CHANNELS, 3, 3, 3)).astype(np.float32)
MATRIX = RANDOM.normal(0, 0.3, (CHANNELS, CLASSES)).astype(np.float32)
CONSTANTS: dict[str, NDArray[Any]] = {
    "kernel": KERNEL,
    "matrix": MATRIX,
    "bias": RANDOM.normal(0, 0.3, CLASSES).astype(np.float32),
    "one_row": np.array([1, CHANNELS], np.int64),
    "rows": np.array([-1, CHANNELS], np.int64),
    "one_cube": np.array([1, 2, 4], np.int64),
    "axes": np.array([1, 2], np.int64),
}

# operator, inputs, output
TORCH: list[Node] = [
    ("Conv", "input kernel", "conv"),
    ("Relu", "conv", "relu"),
    ("GlobalAveragePool", "relu", "pool"),
    ("Flatten", "pool", "flat"),
    ("Dropout", "flat", "dropped"),
    ("Gemm", "dropped matrix bias", "logits"),
]
TENSORFLOW: list[Node] = [
    ("Transpose", "input", "first", {"perm": [0, 3, 1, 2]}),
    ("Conv", "first kernel", "conv"),
    ("Relu", "conv", "relu"),
    ("Transpose", "relu", "last", {"perm": [0, 2, 3, 1]}),
    ("ReduceMean", "last", "mean", {"axes": [1, 2], "keepdims": 0}),
    ("MatMul", "mean matrix", "product"),
    ("Add", "product bias", "sum"),
    ("Softmax", "sum", "probabilities"),
]


def model(
    nodes: Sequence[Node],
    shape: Sequence[int | str | None] = ("batch", 3, SIDE, SIDE),
    dtype: int = TensorProto.FLOAT,
    *,
    opset: int = 17,
    inputs: Sequence[str] = ("input",),
) -> onnx.ModelProto:
    made, used = [], set()
    for operator, taken, given, *attributes in nodes:
        made.append(
            helper.make_node(
                operator,
                taken.split(),
                [given],
                f"/{given}",
                **(attributes[0] if attributes else {}),
            )
        )
        used.update(taken.split())
    end = nodes[-1][2]
    graph = helper.make_graph(
        made,
        "small",
        [helper.make_tensor_value_info(name, dtype, shape) for name in inputs],
        [helper.make_tensor_value_info(end, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in CONSTANTS.items() if name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def expected(images: NDArray[np.uint8], mean: Any = 0.0, std: Any = 1.0) -> NDArray[np.float64]:
    """float64[n, CHANNELS]: what enters the classifier, by NumPy alone."""
    x = (images.astype(np.float64) - mean) / std
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    maps = np.einsum("nhwcij,ocij->nhwo", windows, KERNEL.astype(np.float64))
    found: NDArray[np.float64] = np.maximum(maps, 0).mean(axis=(1, 2))
    return found
