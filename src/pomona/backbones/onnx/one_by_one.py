"""A network that takes one image alone, in a loop over those of a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pomona.errors import BackboneError

OLDEST_OPSET = 9  # from which on a Scan goes over the first axis


def loop(path: Path, model: onnx.ModelProto, side: int, width: int) -> None:
    """Makes a network of one image one of many, which it sees one by one.

    Parameters
    ----------
    path : Path
        The model's file, for messages.
    model : onnx.ModelProto
        Makes float32[1, width] "features" of uint8[1, side, side, 3] "images"; it is changed.
    side : int
        Of its images, in pixels.
    width : int
        Its features.

    Raises
    ------
    BackboneError
        If the model is too old for it.
    """
    [version] = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    if version < OLDEST_OPSET:
        raise BackboneError(
            f"{path} is of opset {version} and takes one image alone: export it with a free batch"
        )
    graph = model.graph
    for name, sizes in {"one": [1, side, side, 3], "row": [width]}.items():
        shape = numpy_helper.from_array(np.array(sizes, np.int64), f"pomona/shape_of_{name}")
        graph.initializer.append(shape)
    # No tensor may have the name of one outside.
    graph.node[0].input[0], graph.node[-1].output[0] = "pomona/one", "pomona/only"
    body = helper.make_graph(
        [
            helper.make_node("Reshape", ["pomona/image", "pomona/shape_of_one"], ["pomona/one"]),
            *graph.node,
            helper.make_node("Reshape", ["pomona/only", "pomona/shape_of_row"], ["pomona/row"]),
        ],
        "pomona",
        [helper.make_tensor_value_info("pomona/image", TensorProto.UINT8, [side, side, 3])],
        [helper.make_tensor_value_info("pomona/row", TensorProto.FLOAT, [width])],
    )
    del graph.node[:]
    graph.node.append(
        helper.make_node("Scan", ["images"], ["features"], body=body, num_scan_inputs=1)
    )
