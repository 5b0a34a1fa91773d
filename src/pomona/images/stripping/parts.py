"""What stripping asks of every format: refusals, the orientation, and what a profile is."""

from __future__ import annotations

import re
import struct

from PIL import ExifTags, Image

from pomona.errors import ImageError

MAX_PARTS = 100_000


def corrupt(detail: str) -> ImageError:
    return ImageError("strip", "corrupt", detail)


def truncated() -> ImageError:
    return ImageError("strip", "truncated")


# Orientation


def orientation(exif: bytes, xmp: bytes) -> int:
    """As Pillow finds it, which pomona decodes with: in EXIF, else in XMP; 1 where it is neither.

    exif: a TIFF, with or without the name of its kind before it.
    """
    tags = Image.Exif()
    try:
        if exif:
            tags.load(exif)
        found = tags.get(ExifTags.Base.Orientation)
    except (SyntaxError, ValueError, KeyError, TypeError, OSError, struct.error):
        return 1
    if found is None and (match := re.search(rb'tiff:Orientation(="|>)([0-9])', xmp)):
        found = int(match[2])
    return found if isinstance(found, int) and 2 <= found <= 8 else 1


def minimal_exif(turn: int) -> bytes:
    """A TIFF that says this and nothing else; nothing for an upright image."""
    if turn == 1:
        return b""
    entry = struct.pack(">HHIHH", ExifTags.Base.Orientation, 3, 1, turn, 0)
    return b"MM\0*\0\0\0\x08\0\x01" + entry + bytes(4)


def is_profile(profile: bytes) -> bool:
    """Whether it is an ICC profile of its own length (ICC.1:2022, 7.2)."""
    return (
        len(profile) >= 128
        and profile[36:40] == b"acsp"
        and int.from_bytes(profile[:4], "big") == len(profile)
    )
