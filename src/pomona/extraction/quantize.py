"""Quantize: a network and photographs → the same network in int8, and what that costs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from pomona.backbones import cache
from pomona.backbones.network import Network
from pomona.backbones.quantization.activations import measure
from pomona.backbones.quantization.graph import check, quantize
from pomona.backbones.spec import Backbone
from pomona.backbones.timing import images_per_second
from pomona.errors import BackboneError, ImageError, SourceError, UsageError
from pomona.extraction.featurize import read_pixels
from pomona.images.catalog import find_images
from pomona.images.resize import resize
from pomona.images.sources.registry import open_source
from pomona.progress import Progress
from pomona.s3.address import Access

LEAST_PHOTOGRAPHS = 8
ROUNDS, ROUND_S = 3, 0.5


@dataclass(frozen=True)
class Quantized:
    """A network in int8, and how it compares with float32 on photographs not measured.

    Attributes
    ----------
    backbone, network
        The network of int8.
    measured, compared : int
        How many photographs its activations were measured on, and it was compared on.
    cosine, least_cosine : float
        Of an image's features to those of float32: the mean and the least.
    speed : float
        Images per second of one thread, in units of float32's.
    """

    backbone: Backbone
    network: Network
    measured: int
    compared: int
    cosine: float
    least_cosine: float
    speed: float


def quantize_backbone(
    backbone: Backbone, photographs: str | Path, name: str, limit: int, access: Access | None
) -> Quantized:
    """Quantizes a network by half of some photographs, and compares it on the other half.

    Parameters
    ----------
    backbone : Backbone
        The network, in float32.
    photographs : str or Path
        A source of images, like those that the network is for.
    name : str
        The name of the new backbone.
    limit : int
        The most photographs to take, drawn evenly from the labels.
    access : Access, optional
        How buckets are read.

    Raises
    ------
    UsageError, BackboneError, SourceError
        If the network is of int8 already or cannot be, or there are too few photographs.
    """
    if backbone.precision != "float32":
        raise UsageError(f"{backbone.name} is of {backbone.precision} already")
    if limit < LEAST_PHOTOGRAPHS:
        raise UsageError(f"`limit` {limit}: give at least {LEAST_PHOTOGRAPHS}")
    floats = cache.load(backbone)
    check(onnx.load_model_from_string(floats.model))
    squares = _read(photographs, floats.input_size, limit, access)
    measured, compared = squares[::2], squares[1::2]
    model = quantize(floats.model, measure(floats.model, measured))
    made = dataclasses.replace(
        backbone,
        name=name,
        width=floats.width,
        precision="int8",
        origin=f"{backbone.origin}; quantized by {len(measured)} photographs",
        top1=None,
        top1_source=None,
    )
    network = dataclasses.replace(
        floats, backbone=name, model=model, digest=cache.sha256(model), precision="int8"
    )
    cosines = _cosines(network.features(compared), floats.features(compared))
    speeds = [
        images_per_second(network, ROUND_S) / images_per_second(floats, ROUND_S)
        for _ in range(ROUNDS)
    ]
    return Quantized(
        backbone=made,
        network=network,
        measured=len(measured),
        compared=len(compared),
        cosine=float(cosines.mean()),
        least_cosine=float(cosines.min()),
        speed=float(np.median(speeds)),
    )


def _read(
    photographs: str | Path, side: int, limit: int, access: Access | None
) -> NDArray[np.uint8]:
    """uint8[n, side, side, 3] of the images that can be read."""
    source = open_source(photographs, access)
    paths = find_images(source, Progress(), limit=limit)["path"].to_pylist()
    squares = np.empty((len(paths), side, side, 3), np.uint8)
    count = 0
    for path in paths:
        try:
            pixels = read_pixels(source.fetch(path), side)
        except ImageError:
            continue  # the count of those that could be read is told
        resize(pixels, squares[count], fit="stretch", crop_fraction=None)
        count += 1
    if count < LEAST_PHOTOGRAPHS:
        raise SourceError(
            f"{photographs} has {count} images that can be read: give {LEAST_PHOTOGRAPHS} or more"
        )
    return squares[:count]


def _cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    if not norms.all():
        raise BackboneError("the network gives features that are all 0: int8 has nothing to hold")
    return np.asarray((one * other).sum(1) / norms)
