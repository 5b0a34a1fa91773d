"""Strip a BMP: only its last version has a place for metadata, a colour profile."""

from __future__ import annotations

import struct

from pomona.errors import ImageError
from pomona.images.stripping.metadata import corrupt, truncated

_PLAIN, _RUNS = (0, 3, 6), {1: 8, 2: 4}
_HEADERS, _OS2 = (12, 40, 52, 56, 64, 108, 124), (12, 64)
# Compression → bytes of the masks that tell colours of 16 and 32 bits apart.
_MASKS = {3: 12, 6: 16}
_SRGB, _SPACES = b"BGRs", (b"BGRs", b" niW")


def strip_bmp(data: bytes) -> bytes:
    """Takes the metadata out of a BMP. Raises ImageError (stage "strip")."""
    start, header = struct.unpack_from("<II", data, 10)
    if header not in _HEADERS:
        raise corrupt("a header of unknown length")
    colours = compression = size = 0
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, _, bits, compression, size = struct.unpack_from("<iiHHII", data, 18)
        [colours] = struct.unpack_from("<I", data, 46)
    if bits not in (1, 4, 8, 16, 24, 32):
        raise corrupt("an invalid number of bits per pixel")
    table = _end_of_palette(header, bits, compression, colours)
    if start > 14 + header + 16 + 1024:
        raise corrupt("unknown bytes between its palette and its pixels")
    if start < 14 + header or (bits <= 8 and start == 14 + header):
        raise corrupt("pixels that overlap its header or its palette")
    if compression in _PLAIN[: 1 if header in _OS2 else None]:
        size = (width * bits + 31) // 32 * 4 * abs(height)
    elif compression in _RUNS:
        size = _end_of_runs(data, start, _RUNS[compression]) - start
    else:  # a JPEG, a PNG or a fax, with metadata of its own
        raise ImageError("strip", "unsupported", f"BMP with compression {compression}")
    if not 0 < size <= len(data) - start:
        raise truncated()
    stripped = bytearray(data[: start + size])
    _blank(stripped, header, compression)
    stripped[table:start] = bytes(max(start - table, 0))
    struct.pack_into("<I", stripped, 2, len(stripped))
    return bytes(stripped)


def _end_of_palette(header: int, bits: int, compression: int, colours: int) -> int:
    """The offset after masks and palette; 0 colours stand for all that the bits allow."""
    masks = _MASKS.get(compression, 0) if header == 40 else 0
    many = min(colours or 1 << bits, 1 << bits) if bits <= 8 else 0
    return 14 + header + masks + many * (3 if header == 12 else 4)


def _blank(stripped: bytearray, header: int, compression: int) -> None:
    """Zeroes what no pixel needs in the header: reserved bytes and the colour profile's fields."""
    stripped[6:10] = bytes(4)
    if header == 64:
        stripped[54:78] = bytes(24)
    elif header > 40 and compression not in _MASKS:
        stripped[54 : min(14 + header, 70)] = bytes(min(14 + header, 70) - 54)
    if header >= 108:
        if stripped[70:74] not in _SPACES:
            stripped[70:74] = _SRGB
        stripped[74:122] = bytes(48)
    if header == 124:
        stripped[122:138] = bytes(16)


def _end_of_runs(data: bytes, at: int, bits: int) -> int:
    """The offset after run-length encoded pixels."""
    while at + 1 < len(data):
        count, escape = data[at], data[at + 1]
        at += 2
        if count == 0 and escape == 1:
            return at
        if count == 0 and escape == 2:
            at += 2
        elif count == 0 and escape > 2:
            at += ((escape * bits + 7) // 8 + 1) & ~1
    raise truncated()
