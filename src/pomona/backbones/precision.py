"""Backbones in the precision that a user chose: float32, bfloat16, int8, or the fastest here."""

from __future__ import annotations

import dataclasses
from functools import partial
from importlib.resources import files
from pathlib import Path

from pomona.backbones import cache, registry
from pomona.backbones.network import Network
from pomona.backbones.runtimes import registry as runtimes
from pomona.backbones.runtimes.base import AUTO, DEFAULT_PRECISION
from pomona.backbones.spec import Backbone
from pomona.errors import UsageError

INT8 = "int8"


def load(backbone: Backbone, runtime: str, precision: str) -> Network:
    """Returns a backbone ready to run, by a runtime and in a precision.

    Parameters
    ----------
    backbone : Backbone
        The network. One whose graph is of int8 stays so where float32 is asked for.
    runtime, precision : str
        As `runtimes.registry.get` allows them, or `AUTO` for the precision.

    Raises
    ------
    UsageError
        If the runtime lacks the precision, or the backbone cannot be had in it.
    BackboneError
        As `cache.load`.
    """
    if backbone.precision != DEFAULT_PRECISION and precision in (AUTO, DEFAULT_PRECISION):
        precision = backbone.precision
    if precision == AUTO:
        precision = fastest(backbone, runtime)
    chosen = runtimes.get(runtime, precision)
    if precision == INT8:
        backbone = quantized(backbone)
    elif backbone.precision != DEFAULT_PRECISION:
        raise UsageError(
            f"`precision` {precision}: {backbone.name} is of {backbone.precision}: "
            "leave it out, or give the network that it was made from"
        )
    return dataclasses.replace(cache.load(backbone), runtime=chosen, precision=precision)


def fastest(backbone: Backbone, runtime: str) -> str:
    """Returns the fastest precision of a runtime on this machine that the backbone can be had in.

    Only those for which this processor has instructions, and float32.
    """
    able = runtimes.get(runtime, DEFAULT_PRECISION)
    if backbone.precision != DEFAULT_PRECISION:
        return backbone.precision
    lower = [each for each in able.batch_sizes if each != DEFAULT_PRECISION]
    if _activations(backbone) is None and INT8 in lower:
        lower.remove(INT8)
    return next((each for each in lower if able.load().is_fast(each)), DEFAULT_PRECISION)


def quantized(backbone: Backbone) -> Backbone:
    """Returns a backbone whose graph is of int8.

    Raises
    ------
    UsageError
        If nothing was measured of its activations.
    """
    if backbone.precision == INT8:
        return backbone
    measured = _activations(backbone)
    if measured is None:
        raise UsageError(
            f"`precision` int8: nothing was measured of {backbone.name} for it; `pomona backbones "
            f"quantize {backbone.name} PHOTOS OUT.onnx` writes a file of int8 to give as `backbone`"
        )
    return dataclasses.replace(
        backbone,
        precision=INT8,
        activations=measured,
        build=partial(_build, backbone, measured),
    )


def _activations(backbone: Backbone) -> str | None:
    """The file of what was measured of a backbone, or of the bundled one that it is a copy of."""
    if backbone.activations:
        return backbone.activations
    bundled = registry.BUNDLED.get(backbone.name)
    same = bundled is not None and bundled.weights_sha256 == backbone.weights_sha256
    return bundled.activations if bundled is not None and same else None


def _build(backbone: Backbone, measured: str, weights: Path, input_size: int) -> bytes:
    from pomona.backbones.quantization.activations import from_json
    from pomona.backbones.quantization.graph import quantize

    text = (files("pomona.backbones") / measured).read_text(encoding="ascii")
    return quantize(backbone.build(weights, input_size), from_json(text))
