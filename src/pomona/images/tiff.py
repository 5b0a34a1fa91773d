"""TIFF: kinds that Pillow reads wrongly or not at all, by the tags of the first image."""

from __future__ import annotations

import io
import logging
import struct
import warnings
from typing import Any

from PIL import Image, TiffImagePlugin

# Pillow logs what it cannot read before it raises that; without a handler it would print it.
logging.getLogger("PIL").addHandler(logging.NullHandler())

_BITS, _COMPRESSION, _SAMPLES, _FORMATS = 258, 259, 277, 339
_PLANES = 284
# Offsets and sizes of strips and of tiles.
_PIECES = ((273, 279), (324, 325))
_DEFLATED = ((8,), (32946,))
_UNCOMPRESSED, _LZW, _SEPARATE, _SIGNED = 1, 5, 2, 2
_PHOTOMETRIC, _YCBCR, _FILL_ORDER = 262, 6, 266
# As many samples as Pillow knows: four colours and two more.
_MOST_SAMPLES = 6
# Compressions that Pillow's libtiff lacks (TIFF 6.0 and its registry).
_COMPRESSIONS = {
    33003: "JPEG 2000", 33004: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000",
    34887: "LERC", 34892: "lossy JPEG of DNG", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip


def wrong_kind(image: Image.Image) -> str | None:
    """The kind of a TIFF whose pixels Pillow would return wrong, in words.

    Parameters
    ----------
    image : PIL.Image.Image
        Of any format, opened and not yet loaded.

    Returns
    -------
    str or None
        The kind; None for one that Pillow reads right, and for other formats.
    """
    if image.format != "TIFF":
        return None
    tags: Any = getattr(image, "tag_v2", {})
    bits, signs = _numbers(tags, _BITS), _numbers(tags, _FORMATS)
    if image.mode == "I;16" and bits == (12,):
        return "12-bit TIFF"
    if bits == (8,) and signs == (_SIGNED,):
        return "TIFF of signed 8-bit pixels"
    is_plain = _numbers(tags, _COMPRESSION) in ((), (_UNCOMPRESSED,))
    if signs == (_SIGNED,) and not is_plain and tags.prefix == b"MM":
        return "compressed big-endian TIFF of signed pixels"
    if _numbers(tags, _PLANES) == (_SEPARATE,) and len(bits) > 1:
        if max(bits) > 8 and is_plain:
            return f"uncompressed {max(bits)}-bit TIFF with separate planes"
        if image.mode in ("LA", "La"):
            return "TIFF with grey and alpha in separate planes"
    return None


def is_unsigned(image: Image.Image) -> bool:
    """Whether an image is a TIFF whose integers have no sign."""
    return image.format == "TIFF" and _numbers(getattr(image, "tag_v2", {}), _FORMATS) in ((), (1,))


def deflated_pieces(image: Image.Image) -> list[tuple[int, int]]:
    """Where the strips or tiles of a TIFF that are compressed by zlib start, and their sizes."""
    tags: Any = getattr(image, "tag_v2", {})
    return _pieces(tags) if _numbers(tags, _COMPRESSION) in _DEFLATED else []


def lzw_pieces(image: Image.Image) -> tuple[list[tuple[int, int]], set[int]]:
    """The strips or tiles of a TIFF that are compressed by LZW.

    Parameters
    ----------
    image : PIL.Image.Image
        A TIFF, opened.

    Returns
    -------
    pieces : list of (int, int)
        Where each starts, and its size; none if the image has none, or its colours are subsampled.
    sizes : set of int
        How many bytes one may hold: the last may have fewer rows than the others.
    """
    tags: Any = getattr(image, "tag_v2", {})
    is_lzw = _numbers(tags, _COMPRESSION) == (_LZW,) and _numbers(tags, _FILL_ORDER) in ((), (1,))
    if not is_lzw or _numbers(tags, _PHOTOMETRIC) == (_YCBCR,):
        return [], set()
    bits = _numbers(tags, _BITS) or (1,)
    # Of bits there may be one number for all samples.
    [number] = _numbers(tags, TiffImagePlugin.SAMPLESPERPIXEL) or (1,)
    samples = 1 if _numbers(tags, _PLANES) == (_SEPARATE,) else number
    # Of the file: Pillow has turned the image.
    sides = (TiffImagePlugin.IMAGEWIDTH, TiffImagePlugin.IMAGELENGTH)
    [width], [height] = (_numbers(tags, side) for side in sides)
    if tile := _numbers(tags, TiffImagePlugin.TILEWIDTH):
        rows = {*_numbers(tags, TiffImagePlugin.TILELENGTH)}
        width = tile[0]
    else:
        most = min(height, *(_numbers(tags, TiffImagePlugin.ROWSPERSTRIP) or (height,)))
        rows = {most, height % most or most}
    return _pieces(tags), {count * -(-width * samples * bits[0] // 8) for count in rows}


def _pieces(tags: Any) -> list[tuple[int, int]]:
    for offsets, sizes in _PIECES:
        if found := _numbers(tags, offsets):
            return list(zip(found, _numbers(tags, sizes), strict=False))
    return []


def unsupported_kind(data: bytes) -> str | None:
    """The kind of a TIFF that Pillow cannot read, in words; None where its tags do not tell."""
    if len(data) < 8 or data[:4] not in (b"II*\0", b"MM\0*"):
        return None
    tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
    file = io.BytesIO(data)
    try:
        with warnings.catch_warnings():  # of what else is wrong with the file
            warnings.simplefilter("ignore")
            file.seek(tags.next)
            tags.load(file)
            [compression] = _numbers(tags, _COMPRESSION) or (_UNCOMPRESSED,)
            [samples] = _numbers(tags, _SAMPLES) or (1,)
            bits = _numbers(tags, _BITS) or (1,)
    except (SyntaxError, ValueError, KeyError, TypeError, OSError, struct.error):
        return None
    if compression in _COMPRESSIONS:
        return f"{_COMPRESSIONS[compression]} in TIFF"
    if samples > _MOST_SAMPLES:
        return f"TIFF with {samples} bands of {max(bits)} bits"
    return None


def _numbers(tags: Any, tag: int) -> tuple[int, ...]:
    """The numbers of a tag; none where it is missing or holds something else."""
    found = tags.get(tag, ())
    found = found if isinstance(found, tuple) else (found,)
    return found if all(isinstance(number, int) for number in found) else ()
