"""GIF: where the pixels of its first frame are."""

from __future__ import annotations

import struct


def first_frame(data: bytes) -> tuple[bytes, int, int] | None:
    """Finds the pixels of the first frame of a GIF (GIF89a, sections 18 to 22).

    Parameters
    ----------
    data : bytes
        The file.

    Returns
    -------
    stream : bytes
        Its LZW codes.
    bits : int
        The least size of a code.
    pixels : int
        How many the frame has.
    None
        In place of all where blocks do not follow each other as they should.
    """
    try:
        at = 13 + _colours(data[10])
        while data[at] == 0x21:  # an extension
            _, at = _joined(data, at + 2)
        if data[at] != 0x2C:
            return None
        width, height = (
            int.from_bytes(data[at + step : at + step + 2], "little") for step in (5, 7)
        )
        at += 10 + _colours(data[at + 9])
        bits = data[at]
        stream, _ = _joined(data, at + 1)
    except (IndexError, struct.error):
        return None
    return (stream, bits, width * height) if 2 <= bits <= 8 else None


def _colours(flags: int) -> int:
    """The size of a colour table in bytes."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _joined(data: bytes, at: int) -> tuple[bytes, int]:
    """The content of the sub-blocks that begin at an offset, and where they end."""
    parts = []
    while size := data[at]:
        parts.append(data[at + 1 : at + 1 + size])
        at += 1 + size
    return b"".join(parts), at + 1
