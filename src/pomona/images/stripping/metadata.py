"""The metadata that every format keeps, orientation and ICC profile, and refusals of files."""

from __future__ import annotations

import re
import struct

from PIL import ExifTags, Image

from pomona.errors import ImageError

# Segments, chunks or blocks of a file.
MAX_PARTS = 100_000


def corrupt(detail: str) -> ImageError:
    """The error of a file that breaks the rules of its format."""
    return ImageError("strip", "corrupt", detail)


def truncated() -> ImageError:
    """The error of a file that ends too early."""
    return ImageError("strip", "truncated")


def orientation(exif: bytes, xmp: bytes) -> int:
    """The orientation of an image as Pillow, and so `decode`, finds it: in EXIF, else in XMP.

    Parameters
    ----------
    exif : bytes
        A TIFF, with or without "Exif" and two zeros before it; empty where there is none.
    xmp : bytes
        An XMP packet; empty where there is none.

    Returns
    -------
    int
        1 to 8 (EXIF 2.3, tag 0x0112); 1 where neither gives a valid one.
    """
    tags = Image.Exif()
    try:
        if exif:
            tags.load(exif)
        value = tags.get(ExifTags.Base.Orientation)
    except (SyntaxError, ValueError, KeyError, TypeError, OSError, struct.error):
        return 1
    if value is None and (match := re.search(rb'tiff:Orientation(="|>)([0-9])', xmp)):
        value = int(match[2])
    return value if isinstance(value, int) and 2 <= value <= 8 else 1


def minimal_exif(orientation: int) -> bytes:
    """A TIFF that holds an orientation and nothing else; no bytes for an upright image."""
    if orientation == 1:
        return b""
    entry = struct.pack(">HHIHH", ExifTags.Base.Orientation, 3, 1, orientation, 0)
    return b"MM\0*\0\0\0\x08\0\x01" + entry + bytes(4)


def is_profile(profile: bytes) -> bool:
    """Whether bytes are an ICC profile of the length that its header gives (ICC.1:2022, 7.2)."""
    return (
        len(profile) >= 128
        and profile[36:40] == b"acsp"
        and int.from_bytes(profile[:4], "big") == len(profile)
    )
