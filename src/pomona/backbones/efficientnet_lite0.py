"""EfficientNet-Lite0 as an ONNX graph, from the weights of its PyTorch conversion.

The architecture is that of Tan and Le (arXiv:1905.11946, table 1) without squeeze-and-excite and
with ReLU6, as https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
defines it. Each batch normalisation is folded into the convolution before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pomona.backbones.graphs import same_padding, serialize
from pomona.errors import BackboneError

WIDTH = 1280
CLASSES = 1000
MEAN, SCALE = 127.0, 128.0
BATCH_NORM_EPSILON = 1e-3

STEM_CHANNELS = 32
# (blocks, kernel, stride of the first, expansion, channels)
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def build(
    weights: Mapping[str, NDArray[Any]], *, input_size: int = 224, logits: bool = False
) -> bytes:
    """Returns the network as ONNX bytes, the same for the same arguments.

    Parameters
    ----------
    weights : mapping of str to ndarray
        The tensors of its PyTorch conversion, by their names there.
    input_size : int
        Side of the input "images", uint8[batch, input_size, input_size, 3] in RGB.
    logits : bool
        Whether to have a second output "logits", float32[batch, 1000].

    Returns
    -------
    bytes
        An ONNX graph whose first output "features", float32[batch, 1280], is the pooled
        activations before the classifier.

    Raises
    ------
    BackboneError
        If a tensor is missing or has another shape.
    """
    graph = _Graph(weights, input_size)
    graph.apply("Transpose", "channels_first", perm=[0, 3, 1, 2])
    graph.apply("Cast", "pixels", to=TensorProto.FLOAT)
    # Centred before the stem pads with zeros; its kernel takes the division, exact by 2**7.
    graph.apply("Sub", "centred", graph.constant("mean", np.float32(MEAN)))
    graph.convolve("_conv_stem", "_bn0", 3, STEM_CHANNELS, stride=2, scale=1 / SCALE)
    index = 0
    for blocks, kernel, first_stride, expansion, channels in STAGES:
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            graph.add_block(f"_blocks.{index}", kernel, stride, expansion, channels)
            index += 1
    graph.convolve("_conv_head", "_bn1", 1, WIDTH)
    graph.apply("GlobalAveragePool", "pooled")
    graph.apply("Flatten", "features")
    outputs = [("features", WIDTH)]
    if logits:
        graph.classify("_fc")
        outputs.append(("logits", CLASSES))
    return serialize("efficientnet_lite0", graph.nodes, graph.constants, input_size, outputs)


class _Graph:
    """The graph as far as it is built: its last tensor, the tensor's channels and side."""

    def __init__(self, weights: Mapping[str, NDArray[Any]], input_size: int) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.tensor, self.channels, self.size = "images", 3, input_size
        self.relu6_limits = [
            self.constant("zero", np.float32(0)),
            self.constant("six", np.float32(6)),
        ]

    def constant(self, name: str, value: NDArray[np.float32] | np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def apply(self, operator: str, output: str, *others: str, **attributes: Any) -> None:
        """Puts an operator behind the last tensor, which is its first input."""
        inputs = [self.tensor, *others]
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        self.tensor = output

    def convolve(
        self,
        layer: str,
        norm: str,
        kernel: int,
        channels: int,
        *,
        stride: int = 1,
        depthwise: bool = False,
        activate: bool = True,
        scale: float = 1.0,
    ) -> None:
        """Adds a convolution of the input times `scale`, its batch normalisation and ReLU6."""
        shape = (channels, 1 if depthwise else self.channels, kernel, kernel)
        gain = self._take(f"{norm}.weight", (channels,)) / np.sqrt(
            self._take(f"{norm}.running_var", (channels,)) + BATCH_NORM_EPSILON
        )
        bias = self._take(f"{norm}.bias", (channels,)) - gain * self._take(
            f"{norm}.running_mean", (channels,)
        )
        folded = self._take(f"{layer}.weight", shape) * gain[:, None, None, None] * scale
        before, after, self.size = same_padding(self.size, kernel, stride)
        self.apply(
            "Conv",
            layer,
            self.constant(f"{layer}.weight", folded.astype(np.float32)),
            self.constant(f"{layer}.bias", bias.astype(np.float32)),
            group=channels if depthwise else 1,
            kernel_shape=[kernel, kernel],
            pads=[before, before, after, after],
            strides=[stride, stride],
        )
        self.channels = channels
        if activate:
            self.apply("Clip", f"{layer}.relu6", *self.relu6_limits)

    def add_block(self, name: str, kernel: int, stride: int, expansion: int, channels: int) -> None:
        """Adds a mobile inverted bottleneck: expand, filter each channel, project, and skip."""
        start, start_channels = self.tensor, self.channels
        expanded = start_channels * expansion
        if expansion > 1:
            self.convolve(f"{name}._expand_conv", f"{name}._bn0", 1, expanded)
        self.convolve(
            f"{name}._depthwise_conv",
            f"{name}._bn1",
            kernel,
            expanded,
            stride=stride,
            depthwise=True,
        )
        self.convolve(f"{name}._project_conv", f"{name}._bn2", 1, channels, activate=False)
        if stride == 1 and channels == start_channels:
            self.apply("Add", f"{name}.skip", start)

    def classify(self, layer: str) -> None:
        """Adds the fully connected classifier."""
        matrix = self._take(f"{layer}.weight", (CLASSES, self.channels)).astype(np.float32)
        bias = self._take(f"{layer}.bias", (CLASSES,)).astype(np.float32)
        names = self.constant(f"{layer}.weight", matrix), self.constant(f"{layer}.bias", bias)
        self.apply("Gemm", "logits", *names, transB=1)

    def _take(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        if name not in self.weights:
            raise BackboneError(f"the weights of efficientnet_lite0 lack {name}")
        tensor = self.weights[name]
        if tensor.shape != shape:
            raise BackboneError(
                f"the weights of efficientnet_lite0 have {name} as {tensor.shape}, not {shape}"
            )
        return tensor.astype(np.float64)
