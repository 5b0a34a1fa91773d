"""Square: how pixels of any size become the network's square, in NumPy alone.

Exported files carry this source, for programs that lack pomona. On x86 it gives the bytes of
`images.resize`, but for ties where an image shrinks: OpenCV adds areas in float32, and enlarges by
Intel's library, in weights of 14 bits. On ARM, OpenCV's own sums may round another way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def square(
    pixels: NDArray[np.uint8], side: int, crop_fraction: float | None = None
) -> NDArray[np.uint8]:
    """Returns uint8[side, side, 3] of uint8[h, w, 3]: all of it, or its central square.

    Parameters
    ----------
    pixels : uint8[h, w, 3]
        The image.
    side : int
        The side of the square.
    crop_fraction : float, optional
        The side of the central square to keep, as a share of the short side. None: all is kept.
    """
    height, width = pixels.shape[:2]
    if crop_fraction:
        kept = max(1, round(min(height, width) * crop_fraction))
        top, left = (height - kept) // 2, (width - kept) // 2
        pixels, height, width = pixels[top : top + kept, left : left + kept], kept, kept

    def shares(size: int, smaller: int) -> NDArray[np.float64]:
        at, pixel = np.arange(smaller)[:, None] * size / smaller, np.arange(size)
        overlap = np.minimum(at + size / smaller, pixel + 1) - np.maximum(at, pixel)
        shared: NDArray[np.float64] = np.clip(overlap, 0, 1) * smaller / size
        return shared

    def blend(x: NDArray[np.int64]) -> NDArray[np.int64]:
        at = np.clip((np.arange(side) + 0.5) * len(x) / side - 0.5, 0, len(x) - 1)
        before = at.astype(int)
        weight = ((at - before) * 2**14).astype(int)[:, None, None]
        after = np.minimum(before + 1, len(x) - 1)
        blended: NDArray[np.int64] = x[before] * (2**14 - weight) + x[after] * weight
        return blended

    # Shrink by area, where it is larger.
    low = np.tensordot(shares(height, min(height, side)), pixels, 1).swapaxes(0, 1)
    small = np.tensordot(shares(width, min(width, side)), low, 1)
    # Enlarge linearly, where it is smaller.
    wide = blend(np.rint(small.round(6)).astype(int)).swapaxes(0, 1)
    tall = (blend((wide + 2**7) >> 8) + 2**19) >> 20
    at, edge = (np.arange(side) + 0.5) * len(wide) / side - 0.5, (wide + 2**13) >> 14
    tall[at < 0], tall[at >= len(wide) - 1] = edge[0], edge[-1]
    return tall.astype(np.uint8)
