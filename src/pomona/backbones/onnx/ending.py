"""The end of an ONNX network: one row of features for an image."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pomona.backbones.onnx import trial
from pomona.backbones.onnx.cut import Cut, shown
from pomona.backbones.onnx.images import Images
from pomona.errors import BackboneError

_RAW = "pomona/raw"
# Tokens that stand before those of the patches: a class token, with a second of DeiT's distilled
# networks, or with four registers of DINOv2's.
_LEADING = (1, 2, 5)


def put_behind(
    path: Path, model: onnx.ModelProto, images: Images, cut: Cut, count: int
) -> tuple[str, int]:
    """Makes "features", float32 rows, of the tensor at the cut.

    Maps are averaged. Of a transformer's tokens the first is taken if it is a class token, else
    their mean.

    Parameters
    ----------
    path : Path
        The model's file, for messages.
    model : onnx.ModelProto
        The model, which is changed.
    images : Images
        Its input.
    cut : Cut
        Where it ends.
    count : int
        How many images to try it on.

    Returns
    -------
    tuple
        What was done, for people, and the number of features.

    Raises
    ------
    BackboneError
        If no row can be made of it.
    """
    graph = model.graph
    graph.node.append(helper.make_node("Cast", [cut.tensor], [_RAW], _RAW, to=TensorProto.FLOAT))
    graph.output.append(helper.make_tensor_value_info(_RAW, TensorProto.FLOAT, None))
    shape = trial.shape_of(path, model, _RAW, images.side, count, f"at {shown(cut.tensor)}")
    del graph.output[:]
    done, width = "", shape[-1]
    if len(shape) == 4:
        done, width = _average_maps(path, graph, shape, cut)
    elif len(shape) == 3:
        done = _reduce_tokens(path, graph, shape, cut)
    elif len(shape) == 2:
        graph.node.append(helper.make_node("Identity", [_RAW], ["features"], "pomona/same"))
    else:
        raise _refusal(path, shape, cut)
    graph.output.append(
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", width])
    )
    return done, width


def _average_maps(
    path: Path, graph: onnx.GraphProto, shape: list[int], cut: Cut
) -> tuple[str, int]:
    _, one, two, three = shape
    if (one == two) == (two == three) and (one, two, three) != (1, 1, 1):
        raise BackboneError(
            f"{path} has float32{shape} at {shown(cut.tensor)}, channels first or last?"
        )
    last, done = _RAW, ""
    if two != three:  # height and width come first
        graph.node.append(
            helper.make_node(
                "Transpose", [last], ["pomona/first"], "pomona/first", perm=[0, 3, 1, 2]
            )
        )
        last = "pomona/first"
    if two > 1:
        graph.node.append(
            helper.make_node("GlobalAveragePool", [last], ["pomona/pooled"], "pomona/pooled")
        )
        last, done = "pomona/pooled", ", its maps averaged"
    graph.node.append(helper.make_node("Flatten", [last], ["features"], "pomona/flat"))
    return done, one if two == three else three


def _reduce_tokens(path: Path, graph: onnx.GraphProto, shape: list[int], cut: Cut) -> str:
    """Makes features of float32[batch, tokens, width]."""
    _, tokens, width = shape
    leading = [count for count in _LEADING if tokens > 4 and _is_square(tokens - count)]
    if leading and not _is_square(tokens):
        first = numpy_helper.from_array(np.array(0, np.int64), "pomona/class_token")
        graph.initializer.append(first)
        graph.node.append(
            helper.make_node("Gather", [_RAW, first.name], ["features"], "pomona/token", axis=1)
        )
        return f", the first of {tokens} tokens, its class token"
    # Maps that were made flat have channels first, and more of them than pixels.
    if not _is_square(tokens) or tokens >= width:
        raise _refusal(path, shape, cut)
    graph.node.append(
        helper.make_node("Transpose", [_RAW], ["pomona/first"], "pomona/first", perm=[0, 2, 1])
    )
    graph.node.append(
        helper.make_node("GlobalAveragePool", ["pomona/first"], ["pomona/pooled"], "pomona/pooled")
    )
    graph.node.append(helper.make_node("Flatten", ["pomona/pooled"], ["features"], "pomona/flat"))
    return f", its {tokens} tokens averaged"


def _is_square(number: int) -> bool:
    return number > 0 and math.isqrt(number) ** 2 == number


def _refusal(path: Path, shape: list[int], cut: Cut) -> BackboneError:
    return BackboneError(
        f"{path} has float32{shape} at {shown(cut.tensor)} ({cut.reason}), "
        "not a row or map of features per image: say another `layer`"
    )
