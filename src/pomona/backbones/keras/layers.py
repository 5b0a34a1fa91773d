"""Each kind of Keras layer as ONNX operators; `LAYERS` has those of keras.applications.

To add a kind, write a function that adds it to the graph, and give it an entry in `LAYERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pomona.backbones.graphs import same_padding
from pomona.backbones.keras.graph import AddLayer, Array, Graph, per_channel
from pomona.errors import BackboneError

_NO_PADS = (0, 0, 0, 0)


def _weights(layer: Any, names: str) -> list[Array | None]:
    weights = [getattr(layer, name, None) for name in names.split()]
    return [None if each is None else np.asarray(each, np.float64) for each in weights]


def _pass(graph: Graph, layer: Any, inputs: list[str]) -> str:
    return inputs[0]


def _nested(graph: Graph, layer: Any, inputs: list[str]) -> str:
    return graph.walk(layer, inputs[0])


def _activate(graph: Graph, function: Any, tensor: str, name: str) -> str:
    """Add one of Keras's activation functions, by its name."""
    kind = getattr(function, "__name__", str(function))
    match kind:
        case "linear":
            return tensor
        case "relu":
            return graph.emit("Relu", [tensor], name)
        case "relu6":
            return _clip(graph, tensor, name, 6.0)
        case "sigmoid":
            return graph.emit("Sigmoid", [tensor], name)
        case "silu" | "swish":
            gate = graph.emit("Sigmoid", [tensor], f"{name}.gate")
            return graph.emit("Mul", [tensor, gate], name)
        case "hard_sigmoid":
            return graph.emit("HardSigmoid", [tensor], name, alpha=1 / 6, beta=0.5)
        case "hard_silu" | "hard_swish":
            return graph.emit("HardSwish", [tensor], name)
        case "gelu":
            return _gelu(graph, tensor, name)
    raise BackboneError(f"cannot convert {name}: its activation is {kind}")


def _clip(graph: Graph, tensor: str, name: str, limit: float) -> str:
    zero = graph.constant("zero", np.array(0, np.float32))
    top = graph.constant(f"limit_{limit:g}", np.array(limit, np.float32))
    return graph.emit("Clip", [tensor, zero, top], name)


def _gelu(graph: Graph, tensor: str, name: str) -> str:
    # x / 2 · (1 + erf(x / √2)), the exact one, as Keras's default is.
    root = graph.constant("root_2", np.array(np.sqrt(2), np.float32))
    one = graph.constant("one", np.array(1, np.float32))
    half = graph.constant("half", np.array(0.5, np.float32))
    share = graph.emit("Erf", [graph.emit("Div", [tensor, root], f"{name}.scaled")], f"{name}.erf")
    share = graph.emit("Add", [share, one], f"{name}.share")
    return graph.emit("Mul", [graph.emit("Mul", [tensor, share], f"{name}.twice"), half], name)


def _activation(graph: Graph, layer: Any, inputs: list[str]) -> str:
    return _activate(graph, layer.activation, inputs[0], layer.name)


def _relu(graph: Graph, layer: Any, inputs: list[str]) -> str:
    if layer.negative_slope or layer.threshold:
        raise BackboneError(f"cannot convert {layer.name}: a ReLU with a slope or a threshold")
    if layer.max_value is None:
        return graph.emit("Relu", inputs, layer.name)
    return _clip(graph, inputs[0], layer.name, float(layer.max_value))


def _rescale(graph: Graph, layer: Any, inputs: list[str]) -> str:
    return graph.scale(inputs[0], np.asarray(layer.scale, float), np.asarray(layer.offset, float))


def _normalize(graph: Graph, layer: Any, inputs: list[str]) -> str:
    mean, variance = (np.asarray(one, float).ravel() for one in (layer.mean, layer.variance))
    scale = 1 / np.maximum(np.sqrt(variance), 1e-7)
    return graph.scale(inputs[0], scale, -mean * scale)


def _pads(graph: Graph, layer: Any, tensor: str, kernel: Any) -> tuple[str, tuple[int, ...]]:
    """The tensor and the padding with zeros of a convolution of it."""
    if layer.padding == "same":
        _, height, width, _ = layer.input.shape
        dilated = [(k - 1) * d + 1 for k, d in zip(kernel, layer.dilation_rate, strict=True)]
        top, bottom, _ = same_padding(height, dilated[0], layer.strides[0])
        left, right, _ = same_padding(width, dilated[1], layer.strides[1])
        return tensor, (top, left, bottom, right)
    return graph.paddings.pop(tensor, (tensor, _NO_PADS))


def _convolve(
    graph: Graph, layer: Any, tensor: str, kernel: Array, bias: Array | None, group: int, name: str
) -> str:
    """kernel: [out, in, rows, columns]."""
    size = kernel.shape[2:]
    tensor, pads = _pads(graph, layer, tensor, size)
    values = [graph.constant(f"{name}.weight", kernel.astype(np.float32))]
    shift = np.zeros(len(kernel)) if bias is None else bias
    values.append(graph.constant(f"{name}.bias", shift.astype(np.float32)))
    return graph.emit(
        "Conv",
        [tensor, *values],
        name,
        group=group,
        kernel_shape=size,
        pads=pads,
        strides=layer.strides,
        dilations=layer.dilation_rate,
    )


def _conv(graph: Graph, layer: Any, inputs: list[str]) -> str:
    kernel, bias = _weights(layer, "kernel bias")
    assert kernel is not None  # noqa: S101 - a layer that was built has one
    made = _convolve(
        graph, layer, inputs[0], kernel.transpose(3, 2, 0, 1), bias, layer.groups, layer.name
    )
    return _activate(graph, layer.activation, made, f"{layer.name}.active")


def _depthwise_kernel(kernel: Array) -> Array:
    """[rows, columns, in, multiplier] → [in · multiplier, 1, rows, columns]."""
    rows, columns, channels, multiplier = kernel.shape
    return kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, rows, columns)


def _depthwise(graph: Graph, layer: Any, inputs: list[str]) -> str:
    kernel, bias = _weights(layer, "kernel bias")
    assert kernel is not None  # noqa: S101
    group = kernel.shape[2]
    made = _convolve(graph, layer, inputs[0], _depthwise_kernel(kernel), bias, group, layer.name)
    return _activate(graph, layer.activation, made, f"{layer.name}.active")


def _separable(graph: Graph, layer: Any, inputs: list[str]) -> str:
    depthwise, pointwise, bias = _weights(layer, "depthwise_kernel pointwise_kernel bias")
    assert depthwise is not None  # noqa: S101
    assert pointwise is not None  # noqa: S101
    group = depthwise.shape[2]
    each = _convolve(
        graph, layer, inputs[0], _depthwise_kernel(depthwise), None, group, f"{layer.name}.each"
    )
    values = [graph.constant(f"{layer.name}.weight", pointwise.transpose(3, 2, 0, 1).astype("f4"))]
    shift = np.zeros(pointwise.shape[-1]) if bias is None else bias
    values.append(graph.constant(f"{layer.name}.bias", shift.astype(np.float32)))
    made = graph.emit("Conv", [each, *values], layer.name, kernel_shape=[1, 1])
    return _activate(graph, layer.activation, made, f"{layer.name}.active")


def _batch_norm(graph: Graph, layer: Any, inputs: list[str]) -> str:
    gamma, beta, mean, variance = _weights(layer, "gamma beta moving_mean moving_variance")
    assert mean is not None  # noqa: S101
    assert variance is not None  # noqa: S101
    gain = (1.0 if gamma is None else gamma) / np.sqrt(variance + layer.epsilon)
    shift = (0.0 if beta is None else beta) - mean * gain
    maker = graph.makers.get(inputs[0])
    alone = graph.uses.get(id(layer.input), 0) <= 1
    if maker is not None and maker.op_type == "Conv" and alone:
        _, weight, bias = maker.input
        kernel = graph.constants[weight] * gain.reshape(-1, 1, 1, 1)
        graph.constants[weight] = kernel.astype(np.float32)
        graph.constants[bias] = (graph.constants[bias] * gain + shift).astype(np.float32)
        return inputs[0]
    scale = graph.constant(f"{layer.name}.gain", per_channel(gain))
    offset = graph.constant(f"{layer.name}.shift", per_channel(shift))
    scaled = graph.emit("Mul", [inputs[0], scale], f"{layer.name}.scaled")
    return graph.emit("Add", [scaled, offset], layer.name)


def _layer_norm(graph: Graph, layer: Any, inputs: list[str]) -> str:
    gamma, beta = _weights(layer, "gamma beta")
    width = layer.input.shape[-1]
    scale = np.ones(width) if gamma is None else gamma
    shift = np.zeros(width) if beta is None else beta
    values = [
        graph.constant(f"{layer.name}.gain", scale.astype(np.float32)),
        graph.constant(f"{layer.name}.shift", shift.astype(np.float32)),
    ]

    def normalise(tensor: str, name: str) -> str:
        return graph.emit(
            "LayerNormalization", [tensor, *values], name, axis=-1, epsilon=layer.epsilon
        )

    return _channels_last(graph, layer, inputs[0], normalise)


def _dense(graph: Graph, layer: Any, inputs: list[str]) -> str:
    kernel, bias = _weights(layer, "kernel bias")
    assert kernel is not None  # noqa: S101
    matrix = graph.constant(f"{layer.name}.weight", kernel.astype(np.float32))
    shift = np.zeros(kernel.shape[1]) if bias is None else bias
    shift_name = graph.constant(f"{layer.name}.bias", shift.astype(np.float32))

    def multiply(tensor: str, name: str) -> str:
        product = graph.emit("MatMul", [tensor, matrix], f"{name}.product")
        return graph.emit("Add", [product, shift_name], name)

    made = _channels_last(graph, layer, inputs[0], multiply)
    return _activate(graph, layer.activation, made, f"{layer.name}.active")


def _channels_last(graph: Graph, layer: Any, tensor: str, work: Callable[[str, str], str]) -> str:
    """Do `work` on the last axis: of maps between two transpositions (two in a row cancel out)."""
    if len(layer.input.shape) == 2:
        return work(tensor, layer.name)
    maker = graph.makers.get(tensor)
    if maker is not None and maker.op_type == "Transpose" and maker.name.endswith(".first"):
        last = str(maker.input[0])
    else:
        last = graph.emit("Transpose", [tensor], f"{layer.name}.last", perm=[0, 2, 3, 1])
    made = work(last, f"{layer.name}.made")
    return graph.emit("Transpose", [made], f"{layer.name}.first", perm=[0, 3, 1, 2])


def _zero_pad(graph: Graph, layer: Any, inputs: list[str]) -> str:
    (top, bottom), (left, right) = layer.padding
    pads = (top, left, bottom, right)
    if not graph.used_once(layer):
        return graph.pad(inputs[0], pads, layer.name)
    graph.paddings[layer.name] = (graph.settle(inputs[0]), pads)
    return str(layer.name)


def _crop(graph: Graph, layer: Any, inputs: list[str]) -> str:
    (top, bottom), (left, right) = layer.cropping
    _, height, width, _ = layer.input.shape
    names = [
        graph.constant(f"{layer.name}.{what}", np.array(values, np.int64))
        for what, values in (
            ("starts", (top, left)),
            ("ends", (height - bottom, width - right)),
            ("axes", (2, 3)),
        )
    ]
    return graph.emit("Slice", [inputs[0], *names], layer.name)


def _pool(operator: str) -> AddLayer:
    def add(graph: Graph, layer: Any, inputs: list[str]) -> str:
        pads: tuple[int, ...] = _NO_PADS
        if operator == "MaxPool" and inputs[0] in graph.paddings:
            unpadded = graph.paddings[inputs[0]][0]
            # Among numbers that are not negative a zero never wins.
            if graph.makers[unpadded].op_type == "Relu":
                tensor, pads = graph.paddings.pop(inputs[0])
                inputs = [tensor]
        if layer.padding == "same":
            _, height, width, _ = layer.input.shape
            top, bottom, _ = same_padding(height, layer.pool_size[0], layer.strides[0])
            left, right, _ = same_padding(width, layer.pool_size[1], layer.strides[1])
            pads = (top, left, bottom, right)
        # Padding is left out of a mean, as in Keras: count_include_pad is 0 by default.
        return graph.emit(
            operator,
            inputs,
            layer.name,
            kernel_shape=layer.pool_size,
            strides=layer.strides,
            pads=pads,
        )

    return add


def _global_average(graph: Graph, layer: Any, inputs: list[str]) -> str:
    if layer.keepdims:
        return graph.emit("GlobalAveragePool", inputs, layer.name)
    pooled = graph.emit("GlobalAveragePool", inputs, f"{layer.name}.maps")
    return graph.emit("Flatten", [pooled], layer.name)


def _reshape(graph: Graph, layer: Any, inputs: list[str]) -> str:
    # Only a row of channels as a map of one pixel, where the order of axes makes no difference.
    _, *shape = layer.output.shape
    if len(shape) != 3 or shape[:2] != [1, 1]:
        raise BackboneError(f"cannot convert {layer.name}: a reshape to {shape}")
    target = graph.constant(f"{layer.name}.shape", np.array([0, shape[2], 1, 1], np.int64))
    return graph.emit("Reshape", [inputs[0], target], layer.name)


def _arithmetic(operator: str) -> AddLayer:
    def add(graph: Graph, layer: Any, inputs: list[str]) -> str:
        given = list(inputs)
        for value in layer._inbound_nodes[0].arguments.args:
            if isinstance(value, (int, float)):
                number = np.array(value, np.float32)
                given.append(graph.constant(f"{layer.name}.number", number))
        last = given[0]
        for index, other in enumerate(given[1:], 2):
            name = layer.name if index == len(given) else f"{layer.name}.{index}"
            last = graph.emit(operator, [last, other], name)
        return last

    return add


def _concatenate(graph: Graph, layer: Any, inputs: list[str]) -> str:
    if layer.axis not in (-1, 3):
        raise BackboneError(f"cannot convert {layer.name}: it joins axis {layer.axis}")
    return graph.emit("Concat", inputs, layer.name, axis=1)


def _custom_scale(graph: Graph, layer: Any, inputs: list[str]) -> str:
    # Inception-ResNet's: the first input plus the second times a number.
    scale = graph.constant(f"{layer.name}.scale", np.array(layer.scale, np.float32))
    scaled = graph.emit("Mul", [inputs[1], scale], f"{layer.name}.scaled")
    return graph.emit("Add", [inputs[0], scaled], layer.name)


def _layer_scale(graph: Graph, layer: Any, inputs: list[str]) -> str:
    scale = graph.constant(f"{layer.name}.scale", per_channel(np.asarray(layer.gamma)))
    return graph.emit("Mul", [inputs[0], scale], layer.name)


LAYERS: dict[str, AddLayer] = {
    "Activation": _activation,
    "Add": _arithmetic("Add"),
    "AveragePooling2D": _pool("AveragePool"),
    "BatchNormalization": _batch_norm,
    "Concatenate": _concatenate,
    "Conv2D": _conv,
    "Cropping2D": _crop,
    "CustomScaleLayer": _custom_scale,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise,
    "Dropout": _pass,
    "Functional": _nested,
    "GlobalAveragePooling2D": _global_average,
    "InputLayer": _pass,
    "LayerNormalization": _layer_norm,
    "LayerScale": _layer_scale,
    "MaxPooling2D": _pool("MaxPool"),
    "Multiply": _arithmetic("Mul"),
    "Normalization": _normalize,
    "ReLU": _relu,
    "Rescaling": _rescale,
    "Reshape": _reshape,
    "SeparableConv2D": _separable,
    "Sequential": _nested,
    "StochasticDepth": _pass,
    "ZeroPadding2D": _zero_pad,
}
