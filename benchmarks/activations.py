"""Measures the activations of efficientnet_lite0 anew: python -m benchmarks.activations.

On the photographs that come with scikit-image and scikit-learn: each whole, and some random parts
of it, mirrored or of another brightness. What is written decides the bytes of int8's features, so
a new file needs a new revision.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pomona.backbones import cache, registry
from pomona.backbones.quantization import activations
from pomona.images.resize import resize

PLACES = (("skimage", "data"), ("sklearn", "datasets/images"))
DRAWINGS = ("chessboard", "color", "logo", "multipage", "phantom")
PARTS = 6


def squares(side: int) -> Iterator[NDArray[np.uint8]]:
    """Yields uint8[side, side, 3]."""
    rng = np.random.default_rng(7)
    for package, folder in PLACES:
        for path in sorted(Path(str(files(package))).joinpath(folder).iterdir()):
            if path.suffix in (".png", ".jpg") and not path.name.startswith(DRAWINGS):
                with Image.open(path) as image:
                    pixels = np.asarray(image.convert("RGB"))
                for part in (pixels, *(_part(pixels, rng) for _ in range(PARTS))):
                    square = np.empty((side, side, 3), np.uint8)
                    resize(part, square, fit="stretch", crop_fraction=None)
                    yield square


def _part(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width = (int(size * rng.uniform(0.4, 1)) for size in pixels.shape[:2])
    top, left = (
        rng.integers(0, whole - part + 1)
        for whole, part in zip(pixels.shape[:2], (height, width), strict=True)
    )
    part = pixels[top : top + height, left : left + width]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    if rng.random() < 0.5:
        bright = part * rng.uniform(0.6, 1.4) + rng.uniform(-20, 20)
        part = bright.clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(part)


if __name__ == "__main__":
    backbone = registry.BUNDLED[registry.DEFAULT]
    found = activations.measure(cache.load(backbone).model, squares(backbone.input_size))
    file = Path(str(files("pomona.backbones"))) / "efficientnet_lite0_activations.json"
    file.write_text(activations.to_json(found), encoding="ascii")
    print(file)
