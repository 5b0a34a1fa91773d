"""Strip a JPEG (ITU-T T.81, annex B), and follow the segments of one."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from pomona.images.stripping.parts import (
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
    head: list[bytes] = []  # JFIF and Adobe's segment, which say how colours are stored
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
    turned = minimal_exif(orientation(exif, xmp))
    first = [_segment(0xE1, _EXIF + turned)] if turned else []
    if is_profile(b"".join(content[14:] for content in profiles)):
        first += [_segment(0xE2, content) for content in profiles]
    # EXIF wants to be the first segment but for JFIF's.
    is_jfif = [segment[1] == 0xE0 for segment in head[:1]] == [True]
    return b"".join([data[:2], *head[:is_jfif], *first, *head[is_jfif:], *body, b"\xff\xd9"])


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content


def told(data: bytes, *, tables: bool = False) -> list[tuple[int, int]]:
    """Where a JPEG within another format has what no pixel needs, from its start to its end.

    tables: it holds tables for others, and no pixels. Raises ImageError (stage "strip").
    """
    if data[:2] != b"\xff\xd8":
        raise corrupt("a JPEG that is none")
    found, end = [], 2
    for marker, content, piece in segments(data, tables=tables):
        start = data.index(piece, end)  # fill bytes may be before it
        end = start + len(piece)
        is_jfif = marker == 0xE0 and content.startswith(b"JFIF\0") and len(content) >= 14
        is_adobe = marker == 0xEE and content.startswith(b"Adobe") and len(content) >= 12
        if is_jfif or is_adobe:
            found.append((start + 16, end))
        elif 0xE0 <= marker <= 0xEF or marker == 0xFE:
            found.append((start + 4, end))
    found.append((data.index(b"\xd9", end) + 1, len(data)))
    return [(start, end) for start, end in found if start < end]


def segments(data: bytes, *, tables: bool = False) -> Iterator[tuple[int, bytes, bytes]]:
    """Marker, content and bytes of each segment up to the image's end, scans with their pixels.

    tables: without a scan it is whole, too.
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
            raise corrupt(f"a segment of marker {marker:02x} that is none")
        if marker == 0xDA:
            end = _end_of_scan(data, end)
            scans += 1
        yield marker, content, data[at:end]
        at = end
    raise corrupt("too many segments")


def _is_sound(marker: int, content: bytes) -> bool:
    """Whether a segment is as long as what it says: else it may hold another one."""
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
    # Frames; those of hierarchical and lossless JPEGs too, though not what goes with them.
    return 0xC0 <= marker <= 0xCF and marker != 0xC8 and size >= 6 and size == 6 + 3 * content[5]


# Of entropy-coded bytes 0xFF is one with a 0 after it, a restart, or fills up.
_MARKER = re.compile(rb"\xff+[^\xff\x00\xd0-\xd7]")


def _end_of_scan(data: bytes, start: int) -> int:
    found = _MARKER.search(data, start)
    if found is None:
        raise truncated()
    return found.start()
