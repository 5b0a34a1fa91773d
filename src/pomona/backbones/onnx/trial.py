"""Tries out a network of an ONNX file: runs it on a few images to see what it really does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from pomona.backbones.network import Network
from pomona.backbones.onnx.cut import shown
from pomona.backbones.runtimes.onnxruntime import run_unoptimized
from pomona.errors import BackboneError

# Of the features' scale; float16 inside a network is rounded otherwise when it is optimized.
TOLERANCE, HALF_TOLERANCE = 1e-3, 3e-2


def shape_of(
    path: Path, model: onnx.ModelProto, tensor: str, side: int, count: int, at: str
) -> list[int]:
    """Returns the shape that an output of a model has for some images.

    Parameters
    ----------
    path : Path
        The model's file, for messages.
    model : onnx.ModelProto
        The model.
    tensor : str
        The output.
    side : int
        Side of the images, in pixels.
    count : int
        How many images.
    at : str
        Where the output is, for messages.

    Raises
    ------
    BackboneError
        If the model cannot be run on them, or the output lacks a row for each.
    """
    images = np.zeros((count, side, side, 3), np.uint8)
    shape = list(_run_unoptimized(path, model.SerializeToString(), tensor, images).shape)
    if not shape or shape[0] != count:
        raise BackboneError(
            f"{path} gives float32{shape} {at} for {count} images: "
            "export it with a free batch, or say another `layer`"
        )
    return shape


def try_out(path: Path, network: Network) -> None:
    """Checks a network's features on three images.

    They must be finite numbers, as many as the network says, the same whatever else is in the
    batch, and the same without a runtime's optimizations.

    Raises
    ------
    BackboneError
        If they are not. It names the file at `path`.
    """
    side = network.input_size
    images = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), np.uint8)
    features = network.features(images)
    if features.shape != (len(images), network.width):
        raise BackboneError(
            f"{path} gives float32{list(features.shape)} for {len(images)} images, "
            f"not {network.width} numbers each: export it again"
        )
    if not np.isfinite(features).all():
        raise BackboneError(f"{path} gives features that are not finite numbers: check its input")
    tolerance = HALF_TOLERANCE if b"pomona/cast" in network.model else TOLERANCE
    tolerance *= float(np.abs(features).max())
    alone = np.concatenate([network.features(image[None]) for image in images])
    if np.abs(features - alone).max() > tolerance:
        raise BackboneError(
            f"{path} gives an image other features in another batch: export it for inference"
        )
    plain = _run_unoptimized(path, network.model, "features", images)
    if np.abs(features - plain).max() > tolerance:
        raise BackboneError(
            f"the optimizations of ONNX Runtime change what {path} gives by "
            f"{np.abs(features - plain).max() / np.abs(plain).max():.1e} of its scale, which is a "
            "bug there: another version of onnxruntime, or of the exporter, may avoid it"
        )


def _run_unoptimized(
    path: Path, model: bytes, tensor: str, images: NDArray[np.uint8]
) -> NDArray[np.float32]:
    try:
        return run_unoptimized(model, tensor, images)
    except Exception as exc:  # ONNX Runtime's exceptions share no other base
        raise BackboneError(
            f"ONNX Runtime cannot run {path} on images of {images.shape[1]} × {images.shape[2]} "
            f"({shown(' '.join(str(exc).split())[:300])}); "
            "export it with a free batch, for this size"
        ) from exc
