"""Strip a BMP, which has a place for a colour profile alone, and in its last version only."""

from __future__ import annotations

import struct

from pomona.sources.strip_parts import corrupt, truncated

_BMP_PLAIN, _BMP_RUNS, _BMP_SPACE = (0, 3, 6), {1: 8, 2: 4}, b"BGRs"


def strip_bmp(data: bytes) -> bytes:
    start, header = struct.unpack_from("<II", data, 10)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = size = 0
    else:
        width, height, _, bits, compression, size = struct.unpack_from("<iiHHII", data, 18)
    if start > 14 + header + 16 + 1024:
        raise corrupt("something between its colours and its pixels")
    if bits not in (1, 4, 8, 16, 24, 32):
        raise corrupt("pixels of so many bits are none")
    if compression in _BMP_PLAIN:
        size = (width * bits + 31) // 32 * 4 * abs(height)
    elif compression in _BMP_RUNS:
        size = _end_of_runs(data, start, _BMP_RUNS[compression]) - start
    if not 0 < size <= len(data) - start:
        raise truncated()
    stripped = bytearray(data[: start + size])
    if header >= 124 and data[70:74] in (b"DEBM", b"KNIL"):  # a profile, or where one lies
        stripped[70:74], stripped[126:134] = _BMP_SPACE, bytes(8)
    struct.pack_into("<I", stripped, 2, len(stripped))
    return bytes(stripped)


def _end_of_runs(data: bytes, at: int, bits: int) -> int:
    while at + 1 < len(data):
        count, what = data[at], data[at + 1]
        at += 2
        if count == 0 and what == 1:
            return at
        if count == 0 and what == 2:
            at += 2
        elif count == 0 and what > 2:
            at += ((what * bits + 7) // 8 + 1) & ~1
    raise truncated()
