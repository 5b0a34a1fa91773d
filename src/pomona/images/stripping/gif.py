"""Strip a GIF (GIF89a)."""

from __future__ import annotations

from pomona.images.stripping.metadata import MAX_PARTS, corrupt, is_profile, truncated

_CONTROL, _APPLICATION = 0xF9, 0xFF
_LOOPS, _PROFILE = (b"NETSCAPE2.0", b"ANIMEXTS1.0"), b"ICCRGBG1012"


def strip_gif(data: bytes) -> bytes:
    """Takes the metadata out of a GIF. Raises ImageError (stage "strip")."""
    at = 13 + _colours(data[10])
    kept, images = [data[:at]], 0
    for _ in range(MAX_PARTS):
        if at > len(data):
            raise truncated()
        start, kind = at, data[at : at + 1]
        if kind == b";" or (not kind and images):  # some lack the last byte
            return b"".join([*kept, b";"])
        if kind == b",":
            at = _end_of_blocks(data, at + 11 + _colours(data[at + 9]))
            kept.append(data[start:at])
            images += 1
        elif kind == b"!":
            at = _end_of_blocks(data, at + 2)
            kept.append(_extension(data[start:at]))
        else:
            raise corrupt("no block where another ends") if kind else truncated()
    raise corrupt("too many blocks")


def _extension(block: bytes) -> bytes:
    """The part of an extension that stays: a frame's timing, the loop count, an ICC profile."""
    label, size, name = block[1], block[2], block[3:14]
    if label == _CONTROL:
        if size != 4:
            raise corrupt("a graphic control extension of the wrong length")
        return block[:7] + b"\0"
    if label != _APPLICATION or size != 11:
        return b""
    if name in _LOOPS and block[14] == 3:
        return block[:18] + b"\0"
    return block if name == _PROFILE and is_profile(_joined(block, 14)) else b""


def _joined(block: bytes, at: int) -> bytes:
    """The content of the sub-blocks that begin at an offset."""
    parts = []
    while size := block[at]:
        parts.append(block[at + 1 : at + 1 + size])
        at += 1 + size
    return b"".join(parts)


def _colours(flags: int) -> int:
    """The size of a colour table in bytes."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _end_of_blocks(data: bytes, at: int) -> int:
    """The offset after the sub-blocks that begin at another."""
    while at < len(data):
        if data[at] == 0:
            return at + 1
        at += 1 + data[at]
    raise truncated()
