"""Grey of more than 8 bits: scaled by the depth that its values use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pomona.errors import ImageError
from pomona.images import tiff

# How many bits the levels of cameras, scanners and instruments have. One bit less has a sign.
_DEPTHS = (8, 10, 12, 14, 16, 24, 32)
_SIGNED_DEPTHS = (8, 10, 12, 14, 15, 16, 24, 31)
# From so many levels on, an image of 16-bit colours uses more than 12 bits, by its upper bytes.
_LEVELS_OF_12_BITS = 16


@dataclass(frozen=True)
class Depth:
    """How the integers of an image are read.

    Attributes
    ----------
    white : int
        The value that stands for white: the greatest of the least depth that holds all values. An
        image that uses 12 of its 16 bits would else be black.
    is_unsigned : bool
        Whether integers of 32 bits have no sign, as Pillow thinks they have.
    """

    white: int
    is_unsigned: bool

    def narrow(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Some rows of the image as uint8[h, w], its transparent value as white."""
        wide = _values(image, self.is_unsigned)
        narrow = ((510 * wide + self.white) // (2 * self.white)).astype(np.uint8)
        if isinstance(key := image.info.get("transparency"), int):
            narrow[wide == key] = 255
        return narrow


def measure(image: Image.Image, rows: int) -> Depth:
    """Finds out how the integers of an image are read.

    Parameters
    ----------
    image : PIL.Image.Image
        Loaded, of a mode of integers: "I", "I;16" or one like it.
    rows : int
        How many rows to look at at a time.

    Raises
    ------
    ImageError
        Stage "decode": for values below 0, of which nobody says what is black.
    """
    is_unsigned = tiff.is_unsigned(image)
    least = greatest = 0
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        values = _values(strip, is_unsigned)
        least, greatest = min(least, int(values.min())), max(greatest, int(values.max()))
    if least < 0:
        raise ImageError("decode", "unsupported", f"grey levels below 0, down to {least:,}")
    depths = _DEPTHS if image.mode != "I" or is_unsigned else _SIGNED_DEPTHS
    bits = next(bits for bits in depths if greatest < 2**bits)
    return Depth((1 << bits) - 1, is_unsigned)


def _values(image: Image.Image, is_unsigned: bool) -> npt.NDArray[np.int64]:
    values = np.asarray(image)
    if is_unsigned and values.dtype == np.int32:
        values = values.view(np.uint32)
    return values.astype(np.int64)


def has_deep_colours(image: Image.Image) -> bool:
    """Whether a file's colours have 16 bits, of which Pillow returns the upper 8; before load."""
    tiles: Any = getattr(image, "tile", None)
    return bool(tiles) and not image.mode.startswith("I") and ";16" in str(tiles[0][3])


def check_depth(image: Image.Image) -> None:
    """Refuses 16-bit colours that use 12 bits or less: of these, Pillow has left too few."""
    colours = [band for band in image.getbands() if band not in ("A", "a")]
    extrema: list[Any] = [image.getchannel(band).getextrema() for band in colours]
    greatest = max(high for _, high in extrema)
    if 0 < greatest < _LEVELS_OF_12_BITS and image.mode != "CMYK":
        raise ImageError("decode", "unsupported", "16-bit colours that use 12 bits or less")
