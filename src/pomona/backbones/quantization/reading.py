"""Reads a network's graph of floats: what of it can be computed in whole numbers of 8 bits."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

LARGEST_PIXEL = 255


def measured_tensors(model: onnx.ModelProto) -> list[str]:
    """Returns the tensors whose ranges `quantize` needs, in the order of the graph."""
    graph = Reader(model)
    needed: dict[str, None] = {}
    whole = set(graph.pixels)
    for node in graph.nodes:
        result = graph.fused.get(node.output[0], node.output[0])
        if graph.is_convolution(node):
            if node.input[0] not in whole:
                needed[node.input[0]] = None
            needed[result] = None
            whole |= {node.input[0], result}
        elif node.op_type == "Add" and whole >= set(node.input):
            needed[result] = None
            whole.add(result)
        elif node.op_type == "MaxPool" and node.input[0] in whole:
            whole.add(node.output[0])
    return list(needed)


class Reader:
    """A graph of floats as it is: constants, activations within convolutions, tensors of pixels.

    Attributes
    ----------
    fused : dict of str to str
        Results of convolutions and additions, and those of the Relu or Clip behind them, which a
        range with the same ends does as well.
    pixels : dict of str to (str, int)
        Tensors that are pixels less a whole number: the tensor of uint8, and the number.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.outputs = {each.name for each in model.graph.output}
        self.constants = {
            each.name: numpy_helper.to_array(each) for each in model.graph.initializer
        }
        self.constants |= {
            node.output[0]: numpy_helper.to_array(node.attribute[0].t)
            for node in self.nodes
            if node.op_type == "Constant" and node.attribute[0].name == "value"
        }
        uses: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                uses.setdefault(name, []).append(node)
        self.fused, self.limits = {}, {}
        for node in self.nodes:
            limits = self._limits(node)
            if limits and uses[node.input[0]] == [node] and node.input[0] not in self.outputs:
                producer = next((one for one in self.nodes if node.input[0] in one.output), None)
                if producer is not None and self.is_convolution(producer):
                    self.fused[node.input[0]], self.limits[node.output[0]] = node.output[0], limits
        self.pixels = self._find_pixels({each.name for each in model.graph.input})

    def _limits(self, node: onnx.NodeProto) -> tuple[float, float] | None:
        """The ends of what a Relu or Clip lets through, if it begins at 0."""
        if node.op_type == "Relu":
            return 0.0, np.inf
        if node.op_type == "Clip" and len(node.input) == 3:
            ends = [self.constants.get(name) for name in node.input[1:]]
            if all(end is not None for end in ends) and float(ends[0]) == 0:  # type: ignore[arg-type]
                return 0.0, float(ends[1])  # type: ignore[arg-type]
        return None

    def _find_pixels(self, inputs: set[str]) -> dict[str, tuple[str, int]]:
        pixels: dict[str, tuple[str, int]] = {}
        moved = set(inputs)
        for node in self.nodes:
            source = node.input[0] if node.input else ""
            if node.op_type in ("Transpose", "Identity") and source in moved:
                moved.add(node.output[0])
            elif node.op_type == "Identity" and source in pixels:
                pixels[node.output[0]] = pixels[source]
            elif node.op_type == "Cast" and source in moved:
                pixels[node.output[0]] = source, 0
            elif node.op_type == "Sub" and source in pixels:
                number = self.constants.get(node.input[1], np.empty(0))
                if number.size == 1 and float(number.item()) in range(LARGEST_PIXEL + 1):
                    pixels[node.output[0]] = pixels[source][0], int(number.item())
        return pixels

    def is_convolution(self, node: onnx.NodeProto) -> bool:
        """Returns whether a node is a convolution with weights of its own."""
        return node.op_type == "Conv" and all(
            name in self.constants and self.constants[name].dtype == np.float32
            for name in node.input[1:]
        )
