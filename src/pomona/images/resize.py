"""Resize: pixels of any size → the network's square."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np

from pomona.images.orientation import Pixels


def resize(pixels: Pixels, out: Pixels, *, fit: str, crop_fraction: float | None) -> None:
    """Resizes an image to a square, each side for itself: by area to shrink, linearly to grow.

    Parameters
    ----------
    pixels : uint8[h, w, 3]
        The image.
    out : uint8[s, s, 3]
        The square, which is written.
    fit : {"stretch", "crop"}
        Whether all of the image fills the square, or only its central square.
    crop_fraction : float or None
        For "crop": the side of the central square, as a share of the short side. None: all of it.
    """
    if fit == "crop":
        height, width = pixels.shape[:2]
        side = max(1, round(min(height, width) * (crop_fraction or 1.0)))
        top, left = (height - side) // 2, (width - side) // 2
        pixels = pixels[top : top + side, left : left + side]
    size = out.shape[0]
    height, width = min(pixels.shape[0], size), min(pixels.shape[1], size)
    with _intel_resize():
        if pixels.shape[:2] != (height, width):
            pixels = np.asarray(
                cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8
            )
        if (height, width) == (size, size):
            out[:] = pixels
        elif cv2.ipp.useIPP():
            cv2.resize(pixels, (size, size), dst=out, interpolation=cv2.INTER_LINEAR)
        else:  # OpenCV's own code for bytes errs by up to 0.78 of a level
            exact = cv2.resize(
                pixels.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR
            )
            cv2.convertScaleAbs(exact, dst=out)


@contextmanager
def _intel_resize() -> Iterator[None]:
    """Lets OpenCV resize by Intel's library in this thread, where it has it (not on ARM).

    OpenCV disables it because its bits differ. They are as accurate or more, and faster.
    """
    before = cv2.ipp.useIPP_NotExact()
    cv2.ipp.setUseIPP_NotExact(True)
    try:
        yield
    finally:
        cv2.ipp.setUseIPP_NotExact(before)
