"""Orientation: how a file stores an upright image (EXIF 2.3, tag 0x0112)."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

Pixels = npt.NDArray[np.uint8]

# From this orientation on, a stored row is a column of the upright image.
SIDEWAYS = 5
# Orientation → a view of the upright image as the file stores it.
_STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


def orientation_of(image: Image.Image) -> int:
    """The orientation of an image that Pillow has opened, 1 to 8; 1 where there is no valid one."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, struct.error):  # damaged EXIF data costs no image
        return 1
    return orientation if orientation in _STORED else 1


def canvas(width: int, height: int, orientation: int) -> tuple[Pixels, Pixels]:
    """An upright image to be filled.

    Parameters
    ----------
    width, height : int
        Of the image as its file stores it, in pixels.
    orientation : int
        1 to 8.

    Returns
    -------
    upright : uint8[h, w, 3]
        The image; its content is undefined.
    stored : uint8[height, width, 3]
        A view of it as the file stores it.
    """
    shape = (width, height, 3) if orientation >= SIDEWAYS else (height, width, 3)
    upright = np.empty(shape, np.uint8)
    return upright, _STORED[orientation](upright)


def turn_upright(stored: Pixels, orientation: int) -> Pixels:
    """The upright image, uint8[h, w, 3], of pixels as a file stores them."""
    if orientation == 1:
        return stored
    upright, view = canvas(stored.shape[1], stored.shape[0], orientation)
    view[:] = stored
    return upright
