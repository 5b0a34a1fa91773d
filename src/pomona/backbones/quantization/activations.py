"""Ranges and means of a network's activations, as photographs show them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from pomona.backbones.quantization.reading import measured_tensors
from pomona.backbones.runtimes.onnxruntime import open_graph
from pomona.errors import BackboneError

LEVELS = 255  # steps of an activation in uint8
# Shares of a tensor's extremes that are tried as its range. Clipping the few largest values makes
# all others finer.
_SHARES = np.linspace(1, 0.3, 29)
_SAMPLES_PER_IMAGE = 997  # of each tensor; a prime, so that they wander over its rows


class Activation(NamedTuple):
    """What was measured of a tensor: the ends of its range, and the mean of each channel.

    The means are empty for a tensor that no convolution reads.
    """

    low: float
    high: float
    means: tuple[float, ...]


def measure(content: bytes, squares: Iterable[NDArray[np.uint8]]) -> dict[str, Activation]:
    """Returns each activation's range, the one that errs least in 255 steps, and its means.

    Parameters
    ----------
    content : bytes
        The network's ONNX graph, as `Network.model` has it.
    squares : iterable of ndarray of uint8[side, side, 3]
        Photographs, as the network gets them.

    Raises
    ------
    BackboneError
        If there are no photographs.
    """
    model = onnx.load_model_from_string(content)
    names = measured_tensors(model)
    read = {node.input[0] for node in model.graph.node if node.op_type == "Conv"}
    known = {each.name for each in model.graph.output}
    model.graph.output.extend(
        helper.make_empty_tensor_value_info(name) for name in names if name not in known
    )
    run = open_graph(model.SerializeToString())
    seen = {name: _Seen() for name in names}
    count = 0
    for square in squares:
        count += 1
        for name, values in zip(names, run(names, {"images": square[None]}), strict=True):
            seen[name].add(values)
    if not count:
        raise BackboneError("there are no photographs to measure the network's activations of")
    found = {name: each.result(count) for name, each in seen.items()}
    return {name: one if name in read else one._replace(means=()) for name, one in found.items()}


class _Seen:
    """What is kept of a tensor, image by image."""

    def __init__(self) -> None:
        self.low = self.high = 0.0  # which padding adds to every tensor
        self.samples: list[NDArray[np.float32]] = []
        self.sums: NDArray[np.float64] | float = 0.0

    def add(self, values: NDArray[np.float32]) -> None:
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))
        flat = values.ravel()
        self.samples.append(flat[:: max(1, flat.size // _SAMPLES_PER_IMAGE)].copy())
        axes = tuple(range(2, values.ndim))
        self.sums = self.sums + values[:1].mean(axes, dtype=np.float64)[0]

    def result(self, images: int) -> Activation:
        values = np.concatenate(self.samples)
        ends = [(self.low * share, self.high * share) for share in _SHARES]
        low, high = min(ends, key=lambda each: _error(values, *each))
        return Activation(low, high, tuple((np.asarray(self.sums) / images).tolist()))


def _error(values: NDArray[np.float32], low: float, high: float) -> float:
    scale = max(high - low, 1e-6) / LEVELS
    rounded = np.rint(values.clip(low, high) / scale) * scale
    return float(np.square(rounded - values, dtype=np.float64).sum())


def to_json(activations: Mapping[str, Activation]) -> str:
    """Returns activations as text, rounded to four digits; `from_json` reads it."""

    def shorten(number: float) -> float:
        return float(f"{number:.4g}")

    lines = [
        json.dumps(name)
        + ": "
        + json.dumps([*map(shorten, one[:2]), [*map(shorten, one.means)]], separators=(",", ":"))
        for name, one in activations.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def from_json(text: str) -> dict[str, Activation]:
    """Returns the activations that `to_json` wrote."""
    return {
        name: Activation(low, high, tuple(means))
        for name, (low, high, means) in json.loads(text).items()
    }
