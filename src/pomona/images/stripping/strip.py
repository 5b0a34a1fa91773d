"""Strip: takes the metadata out of an image file and leaves the bytes of its pixels alone.

Copies only what the pixels need. All else goes: EXIF with its GPS position and thumbnail, XMP,
IPTC, comments and other texts, dates, further pictures, and whatever follows the image's end. The
ICC profile stays, and of EXIF the orientation, as `decode` reads it. Since what is not known is not
copied, stripping need not know every place that metadata can be in.
"""

from __future__ import annotations

import struct

from pomona.errors import ImageError
from pomona.images.damage import without_extras
from pomona.images.decode import to_detail
from pomona.images.foreign import name_content
from pomona.images.formats import identify
from pomona.images.jpeg import examine


def strip_metadata(data: bytes) -> bytes:
    """Takes the metadata out of an image file.

    Parameters
    ----------
    data : bytes
        The file, of one of `formats.FORMATS`.

    Returns
    -------
    bytes
        A file of the same format and pixels, without metadata.

    Raises
    ------
    ImageError
        Stage "strip": for a file that cannot be followed to its end, where pixels and metadata
        cannot be told apart, and for one of a format without a stripper.
    """
    image_format = identify(data)
    if image_format is None:
        raise ImageError("strip", *(name_content(data) if data else ("empty",)))
    strip = image_format.load_stripper()
    if strip is None:
        raise ImageError("strip", "unsupported", f"no stripper for {image_format.name}")
    try:
        return strip(data)
    except (struct.error, IndexError, ValueError, OverflowError) as exc:
        raise ImageError("strip", "corrupt", to_detail(str(exc))) from exc


def strip_decodable(data: bytes) -> bytes:
    """Takes the metadata out of an image file that `decode` takes, as `strip_metadata`.

    Where only its end is missing, or something that no pixel needs is damaged, that is put right
    first.
    """
    try:
        return strip_metadata(data)
    except ImageError as exc:
        if exc.reason not in ("corrupt", "truncated"):
            raise
        repaired = without_extras(data) or examine(data)[0]
        if repaired == data:
            raise
    return strip_metadata(repaired)
