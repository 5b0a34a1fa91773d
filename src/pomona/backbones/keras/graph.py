"""A network of Keras as an ONNX graph: each layer becomes the operators that do its work.

The graph is built rather than exported: channels come first from the start, batch normalisations
are folded into the convolution before them, padding into the convolution behind it and scaling of
the pixels into one step, so that it runs as fast as one written by hand; and its bytes depend on
no exporter's version. Keras itself is not imported here: a layer is asked for its own settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pomona.backbones.graphs import serialize
from pomona.backbones.preprocessing import Channels, Preprocessing
from pomona.errors import BackboneError

Array = NDArray[Any]
# Adds a layer of Keras behind its inputs; returns its output.
AddLayer = Callable[["Graph", Any, list[str]], str]


def build(
    model: Any,
    name: str,
    input_size: int,
    preprocessing: Preprocessing,
    layers: Mapping[str, AddLayer],
) -> tuple[bytes, Preprocessing]:
    """Returns a functional Keras model as ONNX bytes.

    Parameters
    ----------
    model : keras.Model
        Takes float32[n, input_size, input_size, 3]; gives pooled features, float32[n, width].
    name : str
        The graph's name.
    input_size : int
        Side of the graph's input "images", uint8[batch, input_size, input_size, 3] in RGB.
    preprocessing : Preprocessing
        What Keras does to the pixels before the model.
    layers : mapping
        How each kind of layer is added.

    Returns
    -------
    model : bytes
        An ONNX graph whose output is "features", float32[batch, width].
    preprocessing : Preprocessing
        All that happens to a pixel before the first layer with weights of its own: what was given,
        and the model's own scaling.

    Raises
    ------
    BackboneError
        If a layer is of an unknown kind.
    """
    graph = Graph(preprocessing, layers)
    graph.emit("Transpose", ["images"], "channels_first", perm=[0, 3, 1, 2])
    pixels = "channels_first"
    if preprocessing.bgr:
        order = graph.constant("blue_green_red", np.array([2, 1, 0], np.int64))
        pixels = graph.emit("Gather", [pixels, order], "bgr", axis=1)
    pixels = graph.emit("Cast", [pixels], "pixels", to=TensorProto.FLOAT)
    last = graph.walk(model, graph.begin(pixels))
    graph.makers[last].output[:] = ["features"]
    constants = [numpy_helper.from_array(value, key) for key, value in graph.constants.items()]
    outputs = [("features", model.output.shape[-1])]
    return serialize(name, graph.nodes, constants, input_size, outputs), graph.seen


class Graph:
    """The graph as far as it is built; four-dimensional tensors have their channels first."""

    def __init__(self, preprocessing: Preprocessing, layers: Mapping[str, AddLayer]) -> None:
        self.layers = layers
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.seen = preprocessing
        # Noted of a tensor, and not yet done to it
        self.scalings: dict[str, tuple[Array, Array]] = {}
        self.paddings: dict[str, tuple[str, tuple[int, ...]]] = {}
        self.makers: dict[str, onnx.NodeProto] = {}
        self.uses: dict[int, int] = {}

    def constant(self, name: str, value: Array) -> str:
        self.constants[name] = value
        return name

    def emit(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Adds an operator, and returns its output."""
        done = [self.settle(name) for name in inputs]
        node = helper.make_node(operator, done, [output], output, **attributes)
        self.nodes.append(node)
        self.makers[output] = node
        return output

    def begin(self, pixels: str) -> str:
        """The tensor that the model begins with: the pixels, scaled once it is clear how."""
        scale = 1 / np.array(self.seen.std)
        return self.scale(pixels, scale, -np.array(self.seen.mean) * scale)

    def scale(self, tensor: str, scale: Array, offset: Array) -> str:
        """Notes that `tensor` is to be times `scale` plus `offset`, a number a channel."""
        name = f"{tensor}.scaled"
        if tensor in self.scalings:
            before, shift = self.scalings.pop(tensor)
            scale, offset, name = before * scale, shift * scale + offset, tensor
        self.scalings[name] = (scale, offset)
        return name

    def settle(self, tensor: str) -> str:
        """Does to the tensor what was only noted so far."""
        if tensor in self.scalings:
            scale, offset = self.scalings.pop(tensor)
            std, mean = 1 / scale, -offset / scale
            self.seen = Preprocessing(_three(mean), _three(std), self.seen.bgr)
            before = tensor.removesuffix(".scaled")
            centred, scaled = np.any(mean != 0), np.any(std != 1)
            if centred:
                name = self.constant("mean", per_channel(mean))
                last = f"{before}.centred" if scaled else tensor
                before = self.emit("Sub", [before, name], last)
            if scaled:
                name = self.constant("scale", per_channel(scale))
                before = self.emit("Mul", [before, name], tensor)
            return before
        if tensor in self.paddings:
            before, (top, left, bottom, right) = self.paddings.pop(tensor)
            return self.pad(before, (top, left, bottom, right), tensor)
        return tensor

    def pad(self, tensor: str, pads: tuple[int, ...], name: str) -> str:
        """Puts zeros around maps."""
        top, left, bottom, right = pads
        sides = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
        # Next to zero: ONNX Runtime 1.31 moves a padding with zeros into a MaxPool behind it,
        # which pads with −∞.
        zero = self.constant("next_to_zero", np.array(np.finfo(np.float32).tiny, np.float32))
        return self.emit("Pad", [tensor, self.constant(f"{name}.pads", sides), zero], name)

    def walk(self, model: Any, tensor: str) -> str:
        """Adds a model's layers behind `tensor`, and returns the last one's output."""
        if not hasattr(model, "operations"):  # a chain
            for layer in model.layers:
                tensor = self.add(layer, [tensor])
            return tensor
        made = {id(model.inputs[0]): tensor}
        for operation in model.operations:
            for argument in operation._inbound_nodes[0].input_tensors:
                self.uses[id(argument)] = self.uses.get(id(argument), 0) + 1
        for operation in model.operations:
            node = operation._inbound_nodes[0]
            if node.input_tensors:
                inputs = [made[id(each)] for each in node.input_tensors]
                made[id(operation.output)] = self.add(operation, inputs)
        return made[id(model.outputs[0])]

    def add(self, layer: Any, inputs: list[str]) -> str:
        """Adds one layer behind `inputs`, and returns its output."""
        kind = type(layer).__name__
        if kind not in self.layers:
            raise BackboneError(
                f"cannot convert {layer.name}, a layer of kind {kind}; export the network with "
                "Keras (model.export(file, format='onnx')) and use the file as the backbone"
            )
        return self.layers[kind](self, layer, inputs)

    def used_once(self, layer: Any) -> bool:
        return self.uses.get(id(layer.output), 0) <= 1


def _three(channels: Array) -> Channels:
    red, green, blue = np.broadcast_to(channels, 3).tolist()
    return red, green, blue


def per_channel(values: Array) -> Array:
    """Returns numbers as float32[channels, 1, 1]."""
    return np.asarray(values, np.float32).reshape(-1, 1, 1)
