"""Strip a GIF (GIF89a)."""

from __future__ import annotations

from pomona.sources.strip_parts import MAX_PARTS, corrupt, truncated

_GIF_KEPT = (b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012")


def strip_gif(data: bytes) -> bytes:
    at = 13 + _colours(data[10])
    kept, images = [data[:at]], 0
    for _ in range(MAX_PARTS):
        if at > len(data):
            raise truncated()
        start, kind = at, data[at : at + 1]
        if kind == b";" or (not kind and images):  # some end without the last byte
            return b"".join([*kept, b";"])
        if kind == b",":
            at = _end_of_blocks(data, at + 11 + _colours(data[at + 9]))
            kept.append(data[start:at])
            images += 1
        elif kind == b"!":
            at = _end_of_blocks(data, at + 2)
            label, name = data[start + 1], data[start + 3 : start + 14]
            if label == 0xF9 or (label == 0xFF and data[start + 2] == 11 and name in _GIF_KEPT):
                kept.append(data[start:at])
        else:
            raise corrupt("no block where one ends") if kind else truncated()
    raise corrupt("too many blocks")


def _colours(flags: int) -> int:
    """How many bytes the table of colours takes."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _end_of_blocks(data: bytes, at: int) -> int:
    while at < len(data):
        if data[at] == 0:
            return at + 1
        at += 1 + data[at]
    raise truncated()
