"""Backbone: what is known of a network, and how it becomes ONNX bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

DEFAULT = "efficientnet_lite0"


@dataclass(frozen=True)
class Backbone:
    """A pretrained network cut at its feature layer.

    width: numbers per image. input_size: the side, in pixels, of the square images it takes;
    `dataclasses.replace` gives the same weights at another size. crop_fraction: the part of the
    short side that its own evaluation keeps. preprocessing: what its graph does to the pixels.
    weights_sha256: of the file as published; None of weights that are not there yet. top1:
    ImageNet top-1 accuracy in percent, as `top1_source` publishes it. revision: raised whenever
    `build` comes to give another network. remedy: what to do when the weights are damaged.
    kept: whether the cache keeps what `build` gives. note: what a user should know of it.
    """

    name: str
    width: int | None
    input_size: int
    crop_fraction: float
    preprocessing: str
    weights_sha256: str | None
    licence: str
    origin: str
    top1: float | None
    top1_source: str | None
    revision: int
    remedy: str
    find_weights: Callable[[], Path] = field(repr=False)
    build: Callable[[Path, int], bytes] = field(repr=False)
    kept: bool = True
    note: str | None = None

    def facts(self) -> dict[str, Any]:
        """What can be said of it in a table, as JSON or in an ONNX file's metadata."""
        own = ("find_weights", "build", "kept", "remedy", "note")
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name not in own}
