"""Strip a JPEG (ITU-T T.81, annex B), and find the metadata of one inside a TIFF."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from pomona.images.stripping.metadata import (
    MAX_PARTS,
    corrupt,
    is_profile,
    minimal_exif,
    orientation,
    truncated,
)

_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_ICC = b"ICC_PROFILE\0"


def strip_jpeg(data: bytes) -> bytes:
    """Takes the metadata out of a JPEG. Raises ImageError (stage "strip")."""
    head: list[bytes] = []  # JFIF and Adobe's segment, which tell how colours are stored
    body: list[bytes] = []
    exif, xmp = b"", b""
    profiles: list[bytes] = []
    for marker, content, piece in segments(data):
        if marker == 0xE0 and content.startswith(b"JFIF\0") and len(content) >= 14:
            head.append(_segment(marker, content[:12] + b"\0\0"))  # without its thumbnail
        elif marker == 0xEE and content.startswith(b"Adobe") and len(content) >= 12:
            head.append(_segment(marker, content[:12]))
        elif marker == 0xE1 and content.startswith(_EXIF):
            exif += content[6:] if exif else content
        elif marker == 0xE1 and content.startswith(_XMP):
            xmp = content[len(_XMP) :]
        elif marker == 0xE2 and content.startswith(_ICC) and len(content) > 14:
            profiles.append(content)
        elif not 0xE0 <= marker <= 0xEF and marker != 0xFE:
            body.append(piece)
    rotation = minimal_exif(orientation(exif, xmp))
    first = [_segment(0xE1, _EXIF + rotation)] if rotation else []
    if is_profile(b"".join(content[14:] for content in profiles)):
        first += [_segment(0xE2, content) for content in profiles]
    # EXIF must come first, or right after JFIF's segment.
    is_jfif = [segment[1] == 0xE0 for segment in head[:1]] == [True]
    return b"".join([data[:2], *head[:is_jfif], *first, *head[is_jfif:], *body, b"\xff\xd9"])


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content


def metadata_ranges(data: bytes, *, tables: bool = False) -> list[tuple[int, int]]:
    """The ranges of bytes that no pixel needs in a JPEG that is part of another file.

    Parameters
    ----------
    data : bytes
        The JPEG.
    tables : bool
        Whether it holds tables for other JPEGs, and no pixels.

    Returns
    -------
    list of (int, int)
        Where each range starts and ends, in ascending order.

    Raises
    ------
    ImageError
        Stage "strip": if its segments cannot be followed to the end.
    """
    if data[:2] != b"\xff\xd8":
        raise corrupt("not a JPEG")
    ranges, end = [], 2
    for marker, content, piece in segments(data, tables=tables):
        start = data.index(piece, end)  # fill bytes may precede it
        end = start + len(piece)
        is_jfif = marker == 0xE0 and content.startswith(b"JFIF\0") and len(content) >= 14
        is_adobe = marker == 0xEE and content.startswith(b"Adobe") and len(content) >= 12
        if is_jfif or is_adobe:
            ranges.append((start + 16, end))
        elif 0xE0 <= marker <= 0xEF or marker == 0xFE:
            ranges.append((start + 4, end))
    ranges.append((data.index(b"\xd9", end) + 1, len(data)))
    return [(start, end) for start, end in ranges if start < end]


def segments(data: bytes, *, tables: bool = False) -> Iterator[tuple[int, bytes, bytes]]:
    """Follows a JPEG from segment to segment, up to the image's end.

    Parameters
    ----------
    data : bytes
        The JPEG.
    tables : bool
        Whether it is complete without a scan.

    Yields
    ------
    marker : int
        The second byte of the segment's marker.
    content : bytes
        The segment without its marker and its length.
    piece : bytes
        All bytes of the segment; those of a scan with its pixels.

    Raises
    ------
    ImageError
        Stage "strip": where the JPEG breaks the rules or ends too early.
    """
    at, scans = 2, 0
    for _ in range(MAX_PARTS):
        if data[at : at + 1] != b"\xff":
            raise corrupt("no marker where a segment ends") if at < len(data) else truncated()
        while data[at + 1 : at + 2] == b"\xff":
            at += 1
        if at + 4 > len(data) and data[at + 1 : at + 2] != b"\xd9":
            raise truncated()
        marker = data[at + 1]
        if marker == 0xD9:
            if not scans and not tables:
                raise truncated()
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if end > len(data):
            raise truncated()
        content = data[at + 4 : end]
        if not _is_sound(marker, content):
            raise corrupt(f"an invalid segment of marker {marker:02x}")
        if marker == 0xDA:
            end = _end_of_scan(data, end)
            scans += 1
        yield marker, content, data[at:end]
        at = end
    raise corrupt("too many segments")


def _is_sound(marker: int, content: bytes) -> bool:
    """Whether a segment is as long as its own fields require: else it may hide something."""
    if 0xE0 <= marker <= 0xEF or marker == 0xFE:
        return True
    size = len(content)
    if marker == 0xDB:
        at = 0
        while at < size:
            at += 129 if content[at] >> 4 else 65
        return at == size
    if marker == 0xC4:
        at = 0
        while at + 17 <= size:
            at += 17 + sum(content[at + 1 : at + 17])
        return at == size
    if marker == 0xDA:
        return size >= 1 and size == 4 + 2 * content[0]
    if marker == 0xDD:
        return size == 2
    if marker == 0xCC:
        return size % 2 == 0 and size <= 64
    # Frames: those of hierarchical and lossless JPEGs too, but not the segments only these have.
    return 0xC0 <= marker <= 0xCF and marker != 0xC8 and size >= 6 and size == 6 + 3 * content[5]


# In entropy-coded data, 0xFF comes before a 0, as a restart marker, or as filling.
_MARKER = re.compile(rb"\xff+[^\xff\x00\xd0-\xd7]")


def _end_of_scan(data: bytes, start: int) -> int:
    marker = _MARKER.search(data, start)
    if marker is None:
        raise truncated()
    return marker.start()
