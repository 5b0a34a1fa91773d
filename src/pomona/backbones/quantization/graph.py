"""Rewrites a network's ONNX graph so that its convolutions compute in whole numbers of 8 bits.

The graph has the integer operators themselves (QLinearConv) rather than pairs of QuantizeLinear
and DequantizeLinear around float ones: what it computes is then no choice of the runtime's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pomona.backbones.quantization.activations import LEVELS, Activation
from pomona.backbones.quantization.reading import Reader
from pomona.backbones.quantization.rounding import round_weights
from pomona.errors import BackboneError

MICROSOFT = "com.microsoft"  # ONNX Runtime's own operators, of which QLinearAdd is one
OLDEST_OPSET = 12  # from which on MaxPool takes uint8
LARGEST_BIAS = 2.0**30  # leaves as much again of an int32 for the products


class _Whole(NamedTuple):
    """A tensor of uint8 that stands for (values - zero) * scale; names in the graph, and values."""

    tensor: str
    scale_name: str
    zero_name: str
    scale: float
    zero: int


def quantize(content: bytes, activations: Mapping[str, Activation]) -> bytes:
    """Returns a network whose convolutions, and additions of their results, are of 8 bits.

    Parameters
    ----------
    content : bytes
        The ONNX graph, as `Network.model` has it.
    activations : mapping of str to Activation
        What was measured of each of its `measured_tensors`.

    Returns
    -------
    bytes
        An ONNX graph for ONNX Runtime, the same for the same arguments.

    Raises
    ------
    BackboneError
        If the network has no convolution that can be, is too old, or a measurement is missing.
    """
    model = onnx.load_model_from_string(content)
    check(model)
    graph = Reader(model)
    writer = _Writer(graph, activations)
    for node in graph.nodes:
        writer.add(node)
    writer.finish(model)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def check(model: onnx.ModelProto) -> None:
    """Raises BackboneError for a network that cannot be quantized."""
    opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    if opset < OLDEST_OPSET:
        raise BackboneError(
            f"the network is of opset {opset}: export it with {OLDEST_OPSET} or later for int8"
        )
    graph = Reader(model)
    if not any(map(graph.is_convolution, graph.nodes)):
        raise BackboneError("the network has no convolutions with weights of their own to quantize")


class _Writer:
    """The graph as far as it is written; a tensor may be there in floats, in uint8, or in both."""

    def __init__(self, graph: Reader, activations: Mapping[str, Activation]) -> None:
        self.graph, self.activations = graph, activations
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.whole: dict[str, _Whole] = {}
        self.floats: set[str] = set()
        for name, (tensor, number) in graph.pixels.items():
            self.whole[name] = self._declare(name, tensor, 1.0, number)
        self.floats |= set(graph.pixels)

    def add(self, node: onnx.NodeProto) -> None:
        """Writes a node's equal, with what brings its inputs into the numbers that it takes."""
        result = node.output[0]
        if self.graph.is_convolution(node):
            self._convolve(node)
        elif result in self.graph.limits:
            return  # the range of the convolution before it does the same
        elif node.op_type == "Add" and all(name in self.whole for name in node.input):
            self._add(node)
        elif node.op_type == "MaxPool" and len(node.output) == 1 and node.input[0] in self.whole:
            whole = self.whole[node.input[0]]
            self.whole[result] = whole._replace(tensor=f"{result}/whole")
            self._node("MaxPool", [whole.tensor], f"{result}/whole", node.attribute)
        elif node.op_type == "GlobalAveragePool" and node.input[0] in self.whole:
            self._average(node)
        else:
            for name in node.input:
                self._need_floats(name)
            self.nodes.append(node)

    def finish(self, model: onnx.ModelProto) -> None:
        """Puts what was written into the model, without what nothing uses."""
        for output in model.graph.output:
            self._need_floats(output.name)
        used = {output.name for output in model.graph.output}
        kept: list[onnx.NodeProto] = []
        for node in reversed(self.nodes):
            if used & set(node.output):
                kept.append(node)
                used |= set(node.input)
        constants = [*model.graph.initializer, *self.constants]
        del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
        model.graph.node.extend(reversed(kept))
        model.graph.initializer.extend(each for each in constants if each.name in used)
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))

    def _convolve(self, node: onnx.NodeProto) -> None:
        source = self._need_whole(node.input[0])
        weights = self.graph.constants[node.input[1]].astype(np.float64)
        bias = np.zeros(len(weights))
        if len(node.input) > 2:
            bias = self.graph.constants[node.input[2]].astype(np.float64)
        rounded, scales = round_weights(weights, np.abs(bias) / (source.scale * LARGEST_BIAS))
        name = node.output[0]
        result = self.graph.fused.get(name, name)
        unit = source.scale * scales.astype(np.float64)
        bias -= self._mean_errors(node.input[0], weights, rounded, scales)
        target = self._declare_measured(result)
        inputs = [
            *(source.tensor, source.scale_name, source.zero_name),
            self._constant(f"{name}/weights", rounded),
            self._constant(f"{name}/weight_scales", scales),
            self._constant(f"{name}/weight_zeros", np.zeros(len(weights), np.int8)),
            *(target.scale_name, target.zero_name),
            self._constant(f"{name}/bias", np.rint(bias / unit).astype(np.int32)),
        ]
        self._node("QLinearConv", inputs, target.tensor, node.attribute)

    def _mean_errors(
        self,
        source: str,
        weights: NDArray[np.float64],
        rounded: NDArray[np.int8],
        scales: NDArray[np.float32],
    ) -> NDArray[np.float64]:
        """By how much rounded weights raise the mean of each output, float64[outputs]."""
        measured = self.activations.get(source)
        if measured is None:  # pixels
            return np.zeros(len(weights))
        sides = (1,) * (weights.ndim - 1)
        errors = rounded * scales.astype(np.float64).reshape(-1, *sides) - weights
        errors = errors.reshape(*weights.shape[:2], -1).sum(2)
        group = len(weights) // (len(measured.means) // weights.shape[1])
        means = np.reshape(measured.means, (-1, weights.shape[1])).repeat(group, axis=0)
        # Exactly, for the order of a sum is each processor's own, and the graph is to be the same.
        return np.array([math.fsum(row) for row in errors * means])

    def _add(self, node: onnx.NodeProto) -> None:
        target = self._declare_measured(node.output[0])
        inputs = [part for name in node.input for part in self.whole[name][:3]]
        inputs += [target.scale_name, target.zero_name]
        self._node("QLinearAdd", inputs, target.tensor, domain=MICROSOFT)

    def _average(self, node: onnx.NodeProto) -> None:
        """Sums whole numbers: exactly, and therefore the same in any order."""
        whole, result = self.whole[node.input[0]], node.output[0]
        zero = self._constant(f"{result}/zero", np.float32(whole.zero))
        self._node("Cast", [whole.tensor], f"{result}/numbers", to=TensorProto.FLOAT)
        self._node("GlobalAveragePool", [f"{result}/numbers"], f"{result}/mean")
        self._node("Sub", [f"{result}/mean", zero], f"{result}/centred")
        self._node("Mul", [f"{result}/centred", whole.scale_name], result)
        self.floats.add(result)

    def _need_whole(self, name: str) -> _Whole:
        if name not in self.whole:
            whole = self._declare_measured(name)
            inputs = [name, whole.scale_name, whole.zero_name]
            self._node("QuantizeLinear", inputs, whole.tensor)
        return self.whole[name]

    def _need_floats(self, name: str) -> None:
        whole = self.whole.get(name)
        if whole is not None and name not in self.floats:
            self._node("DequantizeLinear", list(whole[:3]), name)
            self.floats.add(name)

    def _declare_measured(self, name: str) -> _Whole:
        if name not in self.activations:
            raise BackboneError(f"nothing was measured of the network's tensor {name}")
        low, high, _ = self.activations[name]
        least, largest = self.graph.limits.get(name, (-np.inf, np.inf))
        # 0 is always among them: convolutions pad with it.
        low, high = max(min(low, 0.0), least), min(max(high, 0.0), largest)
        scale = np.float32(max(high - low, 1e-6) / LEVELS)
        zero = int(np.clip(np.rint(-low / scale), 0, LEVELS))
        self.whole[name] = self._declare(name, f"{name}/whole", float(scale), zero)
        return self.whole[name]

    def _declare(self, name: str, tensor: str, scale: float, zero: int) -> _Whole:
        scale_name = self._constant(f"{name}/scale", np.float32(scale))
        return _Whole(
            tensor, scale_name, self._constant(f"{name}/at0", np.uint8(zero)), scale, zero
        )

    def _constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _node(
        self,
        operator: str,
        inputs: list[str],
        output: str,
        attributes: Any = (),
        *,
        domain: str = "",
        **more: Any,
    ) -> None:
        node = helper.make_node(operator, inputs, [output], output, domain=domain, **more)
        node.attribute.extend(attributes)
        self.nodes.append(node)
