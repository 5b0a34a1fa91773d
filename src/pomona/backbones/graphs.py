"""The common parts of the ONNX graphs that pomona builds."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

# Old enough for every ONNX Runtime from 1.20 on, and fixed so that the bytes are.
OPSET, IR_VERSION = 17, 8


def serialize(
    name: str,
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto],
    input_size: int,
    outputs: Sequence[tuple[str, int]],
) -> bytes:
    """Returns a checked graph as ONNX bytes, the same for the same arguments.

    Parameters
    ----------
    name : str
        The graph's name.
    nodes, constants
        What it is made of.
    input_size : int
        Side of its input "images", uint8[batch, input_size, input_size, 3] in RGB.
    outputs : sequence of (str, int)
        Names and widths of its outputs, float32[batch, width].
    """
    images = helper.make_tensor_value_info(
        "images", TensorProto.UINT8, ["batch", input_size, input_size, 3]
    )
    rows = [
        helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", width])
        for output, width in outputs
    ]
    model = helper.make_model(
        helper.make_graph(nodes, name, [images], rows, constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="pomona",
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int, int]:
    """Returns TensorFlow's "SAME" padding of an axis.

    https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2

    Parameters
    ----------
    size, kernel, stride : int
        The axis, the kernel along it and its steps, in pixels.

    Returns
    -------
    before, after, output : int
        Pixels of padding on either side, and the output's size.
    """
    output = -(-size // stride)
    total = max((output - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2, output
