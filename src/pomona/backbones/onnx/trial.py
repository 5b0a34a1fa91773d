"""What a network of an ONNX file really does, found by running it on a few images."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from pomona.backbones.onnx.cut import shown
from pomona.backbones.runtime import Network
from pomona.errors import BackboneError

# Of the features' scale; float16 inside a network is rounded otherwise when it is optimised.
TOLERANCE, HALF_TOLERANCE = 1e-3, 3e-2


def shape_of(path: Path, model: onnx.ModelProto, tensor: str, side: int, at: str) -> list[int]:
    """The shape that `tensor`, an output of the model, has for two images.

    Raises BackboneError when it cannot be run on two images, or has not a row for each.
    """
    images = np.zeros((2, side, side, 3), np.uint8)
    shape = list(_run_plainly(path, model.SerializeToString(), tensor, images).shape)
    if not shape or shape[0] != 2:
        raise BackboneError(
            f"{path} gives float32{shape} {at} for 2 images: "
            "export it with a free batch, or say another --layer"
        )
    return shape


def try_out(path: Path, network: Network) -> None:
    """Raises BackboneError unless an image's features are finite numbers, the same whatever the
    others of its batch, as many as it says, and those that the network gives without a runtime's
    optimisations.
    """
    side = network.input_size
    images = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), np.uint8)
    features = network.features(images)
    if features.shape != (len(images), network.width):
        raise BackboneError(
            f"{path} gives float32{list(features.shape)} for {len(images)} images, "
            f"not {network.width} numbers each: export it anew"
        )
    if not np.isfinite(features).all():
        raise BackboneError(f"{path} gives features that are no finite numbers: check its input")
    tolerance = HALF_TOLERANCE if b"pomona/cast" in network.model else TOLERANCE
    tolerance *= float(np.abs(features).max())
    alone = np.concatenate([network.features(image[None]) for image in images])
    if np.abs(features - alone).max() > tolerance:
        raise BackboneError(
            f"{path} gives an image other features in another batch: export it for inference"
        )
    plain = _run_plainly(path, network.model, "features", images)
    if np.abs(features - plain).max() > tolerance:
        raise BackboneError(
            f"the optimisations of ONNX Runtime change what {path} gives by "
            f"{np.abs(features - plain).max() / np.abs(plain).max():.1e} of its scale, which is a "
            "bug there: another version of onnxruntime, or of the exporter, may avoid it"
        )


def _run_plainly(
    path: Path, model: bytes, tensor: str, images: NDArray[np.uint8]
) -> NDArray[np.float32]:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        found: NDArray[np.float32]
        (found,) = session.run([tensor], {"images": images})
    except Exception as exc:  # its exceptions share no other base
        raise BackboneError(
            f"ONNX Runtime cannot run {path} on images of {images.shape[1]} × {images.shape[2]} "
            f"({shown(' '.join(str(exc).split())[:300])}); "
            "export it with a free batch, for this size"
        ) from exc
    return found
