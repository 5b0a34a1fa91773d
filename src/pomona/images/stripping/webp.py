"""Strip a WebP (RFC 9649)."""

from __future__ import annotations

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

_PIXELS = frozenset([b"VP8 ", b"VP8L", b"ALPH"])
_HAS_EXIF, _HAS_XMP, _HAS_PROFILE = 0x08, 0x04, 0x20


def strip_webp(data: bytes) -> bytes:
    """Takes the metadata out of a WebP. Raises ImageError (stage "strip")."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise truncated()
    flags: bytes | None = None
    seen: set[bytes] = set()
    kept: list[bytes] = []
    profile, exif, xmp = b"", b"", b""
    for name, content in _chunks(data, 12, end):
        if name == b"VP8X" and flags is None and len(content) == 10:
            flags = content
        elif (name in _PIXELS and name not in seen) or (name == b"ANIM" and len(content) == 6):
            kept.append(_chunk(name, content))
            seen.add(name)
        elif name == b"ANMF":
            frames = _chunks(content, 16, len(content))
            frame = [_chunk(name, part) for name, part in frames if name in _PIXELS]
            kept.append(_chunk(name, content[:16] + b"".join(frame)))
        elif name == b"ICCP" and not profile:
            profile = content if is_profile(content) else b""
        elif name == b"EXIF" and not exif:
            exif = content
        elif name == b"XMP " and not xmp:
            xmp = content
        else:
            raise corrupt("an unknown chunk")
    after = b""
    if flags is not None:
        rotation = minimal_exif(orientation(exif, xmp))
        bits = flags[0] & ~(_HAS_EXIF | _HAS_XMP | _HAS_PROFILE)
        bits |= (_HAS_EXIF if rotation else 0) | (_HAS_PROFILE if profile else 0)
        first = [_chunk(b"VP8X", bytes([bits, 0, 0, 0]) + flags[4:])]
        kept = first + ([_chunk(b"ICCP", profile)] if profile else []) + kept
        after = _chunk(b"EXIF", rotation) if rotation else b""
    body = b"WEBP" + b"".join(kept) + after
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _chunk(name: bytes, content: bytes) -> bytes:
    """The bytes of a RIFF chunk, padded to an even length."""
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) & 1)


def _chunks(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    """The name and content of each RIFF chunk between two offsets."""
    for _ in range(MAX_PARTS):
        if at >= end:
            return
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + size > end:
            raise truncated()
        yield name, data[at + 8 : at + 8 + size]
        at += 8 + size + (size & 1)
    raise corrupt("too many chunks")
