"""Backbone: a pretrained network's facts, and how it becomes ONNX bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

DEFAULT = "efficientnet_lite0"


@dataclass(frozen=True)
class Backbone:
    """A pretrained network cut at its feature layer.

    Parameters
    ----------
    name : str
        As users choose it, and as a store's recipe records it.
    width : int, optional
        Features per image. None: not known before the network is added.
    input_size : int
        Side of the square images that it takes, in pixels. `dataclasses.replace` gives the same
        weights at another size.
    crop_fraction : float
        The part of the short side that its own evaluation keeps.
    preprocessing : str
        What its graph does to the pixels, for people.
    weights_sha256 : str, optional
        SHA-256 of the published file, in hexadecimal. None: the weights are not here yet.
    licence, origin : str
        Of the weights.
    top1 : float, optional
        ImageNet top-1 accuracy in percent, as `top1_source` publishes it.
    revision : int
        Raised whenever `build` comes to give another network.
    remedy : str
        What to do if the weights are damaged.
    find_weights : callable
        Returns the weights file's path; raises BackboneError if there is none.
    build : callable
        Gets that path and an input size, and returns ONNX bytes as `Network.model` has them.
    cacheable : bool
        Whether the cache keeps what `build` returns.
    note : str, optional
        What a user should know before it runs.
    precision : str
        The numbers that the graph computes in: float32, which runtimes may lower, or int8.
    activations : str, optional
        The file, in this package, of what was measured of its activations. None: nothing was.
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
    cacheable: bool = True
    note: str | None = None
    precision: str = "float32"
    activations: str | None = field(default=None, repr=False)

    def facts(self) -> dict[str, Any]:
        """Returns what a table, JSON or an ONNX file's metadata say of it."""
        own = ("find_weights", "build", "cacheable", "remedy", "note", "activations")
        return {
            each.name: getattr(self, each.name) for each in fields(self) if each.name not in own
        }
