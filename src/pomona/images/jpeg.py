"""JPEG, the format of most photographs: read by the shortest way, and at a fraction of its size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import simplejpeg

# The least size of a reduced JPEG, as a multiple of the network's input. With 2, the cosine to the
# features of all pixels fell to 0.991; with 4 it was 0.9994 or more.
DETAIL = 4
REDUCTIONS = (8, 4, 2)
# The marker of EXIF and XMP, which may hold an orientation and are Pillow's to read (APP1: ITU-T
# T.81, B.1.1.3). It never occurs in entropy-coded data.
_METADATA = b"\xff\xe1"
_PLAIN = ("YCbCr", "Gray")
_MAX_SEGMENTS = 10_000
# Marker of a frame → the kind of JPEG that its codecs rarely know, if it is one.
_FRAMES = {
    **dict.fromkeys([0xC0, 0xC1, 0xC2]),
    **dict.fromkeys([0xC9, 0xCA], "arithmetic-coded JPEG"),
    **dict.fromkeys([0xC3, 0xCB], "lossless JPEG"),
    **dict.fromkeys([0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF], "hierarchical JPEG"),
}


def reduction(width: int, height: int, side: int | None) -> int:
    """How far a JPEG may be reduced while it is decoded.

    A block of 8 × 8 pixels is decoded to 4, 2 or 1 pixels a side, for a fraction of the work
    (ITU-T T.81; libjpeg's scale_denom).

    Parameters
    ----------
    width, height : int
        Of the image, in pixels.
    side : int or None
        The pixels that the network needs of each side. None: all of them.

    Returns
    -------
    int
        1, 2, 4 or 8: the greatest divisor that leaves both sides `DETAIL` × `side` or more.
    """
    if side is None:
        return 1
    fits = (by for by in REDUCTIONS if min(width, height) >= by * DETAIL * side)
    return next(fits, 1)


def size(data: bytes) -> tuple[int, int] | None:
    """The width and height of a JPEG that `read` may be able to read; None: Pillow must read it."""
    if not data.startswith(b"\xff\xd8\xff") or _METADATA in data:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    return (width, height) if colours in _PLAIN else None


def read(data: bytes, width: int, height: int, by: int) -> npt.NDArray[np.uint8] | None:
    """Decodes a JPEG to the same pixels as Pillow, which uses the same library.

    Parameters
    ----------
    data : bytes
        The file.
    width, height : int
        Of the image, in pixels, as `size` returned them.
    by : int
        The divisor of both, as `reduction` returned it.

    Returns
    -------
    uint8[⌈height / by⌉, ⌈width / by⌉, 3] or None
        RGB; None for a damaged file, of which Pillow can say what is wrong.
    """
    least_height, least_width = -(-height // by), -(-width // by)
    try:
        pixels = simplejpeg.decode_jpeg(data, min_height=least_height, min_width=least_width)
    except ValueError:
        return None
    return np.asarray(pixels, np.uint8)


def unsupported_kind(data: bytes) -> str | None:
    """The rare kind of JPEG that a file is, by its frame's header (ITU-T T.81, B.2.2), if any."""
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
