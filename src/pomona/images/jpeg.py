"""JPEG: the format of most photographs, read in the shortest way, and at a part of its size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import simplejpeg

# What a JPEG that is decoded at a part of its size keeps of it, as a multiple of the network's.
# With 2, cosines to the features of all pixels fell to 0.991; with 4 they were 0.9994 and more.
DETAIL = 4
REDUCTIONS = (8, 4, 2)
# The marker of what may say that the picture is to be turned, Exif and XMP, which Pillow reads
# (APP1: ITU-T T.81, B.1.1.3). In the data of pixels no 0xFF is followed by it.
_METADATA = b"\xff\xe1"
_PLAIN = ("YCbCr", "Gray")
_MAX_SEGMENTS = 10_000
# The markers of a JPEG's frame → what is rare about such frames, if anything.
_FRAMES = {
    **dict.fromkeys([0xC0, 0xC1, 0xC2]),
    **dict.fromkeys([0xC9, 0xCA], "arithmetic-coded JPEG"),
    **dict.fromkeys([0xC3, 0xCB], "lossless JPEG"),
    **dict.fromkeys([0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF], "hierarchical JPEG"),
}


def reduction(width: int, height: int, side: int | None) -> int:
    """1, 2, 4 or 8: the part of a JPEG's size at which both sides still are `DETAIL` × side.

    Its blocks of 8 × 8 pixels are decoded to 4, 2 or 1 pixels a side, for a part of the work
    (ITU-T T.81; libjpeg's scale_denom). side: pixels that the network needs; None: all of them.
    """
    if side is None:
        return 1
    fits = (by for by in REDUCTIONS if min(width, height) >= by * DETAIL * side)
    return next(fits, 1)


def size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG that `read` may be able to read; None: it is Pillow's."""
    if not data.startswith(b"\xff\xd8\xff") or _METADATA in data:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    return (width, height) if colours in _PLAIN else None


def read(data: bytes, width: int, height: int, by: int) -> npt.NDArray[np.uint8] | None:
    """uint8[⌈height / by⌉, ⌈width / by⌉, 3], RGB; None where Pillow is to say what is wrong.

    The same pixels as Pillow's, which is the same library with more on the way.
    """
    least_height, least_width = -(-height // by), -(-width // by)
    try:
        pixels = simplejpeg.decode_jpeg(data, min_height=least_height, min_width=least_width)
    except ValueError:
        return None
    return np.asarray(pixels, np.uint8)


def unsupported_kind(data: bytes) -> str | None:
    """What is rare about a JPEG, as the header of its frame says (ITU-T T.81, B.2.2)."""
    at = 2 if data.startswith(b"\xff\xd8") else len(data)
    for _ in range(_MAX_SEGMENTS):
        at = data.find(b"\xff", at)
        if at < 0 or at + 5 > len(data):
            return None
        marker, bits = data[at + 1], data[at + 4]
        if marker in _FRAMES:
            return f"{bits}-bit JPEG" if bits != 8 else _FRAMES[marker]
        if marker == 0xDA:  # the pixels begin
            return None
        alone = marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD9
        at += 1 if alone else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
