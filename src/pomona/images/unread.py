"""Damage that its codec does not notice, but leaves bytes unread for: WebP, AVIF and HEIF.

A decoder that has gone astray goes on, and rarely ends where its data do. It complains if it needs
more than there is, and never of what is left. So without the last bytes of its pixels, a sound file
must fail to decode, or for HEIF, whose decoder never complains, give other pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

# An encoder of WebP writes up to three bytes that no pixel needs.
_WEBP_TAIL = 4
_FRAMES = (b"VP8 ", b"VP8L")
# Kinds of an AV1 unit that hold pixels (AV1, 6.2.2): a group of tiles, a frame.
_PIXELS = (4, 6)
# From this kind on, a unit of HEVC holds no pixels (ITU-T H.265, table 7-1).
_LEAST_OTHER = 32
# So much of its end is made wrong: of noise, 32 bytes may lie in what rounds its size up.
_WRONG, _LEAST_WRONG, _SHARE = b"\x55", 32, 64
# Of a unit: smaller ones are mostly header.
_LEAST_BYTES = 128
# A unit of padding, which stands where the last bytes of the pixels were.
_PADDING = b"\x7a\x06\x80" + bytes(5)


def shorten_webp(data: bytes) -> bytes | None:
    """The first frame of a WebP as a file of its own, without its last bytes; None: none found.

    Parameters
    ----------
    data : bytes
        The file (RFC 9649).
    """
    for name, start, end in _chunks(data, 12):
        if name == b"ANMF":
            name, start, end = next(
                (chunk for chunk in _chunks(data[:end], start + 16) if chunk[0] in _FRAMES),
                (b"", 0, 0),
            )
        if name in _FRAMES:
            kept = data[start : max(start, end - _WEBP_TAIL)]
            body = struct.pack("<4sI", name, len(kept)) + kept + bytes(len(kept) & 1)
            return struct.pack("<4sI4s", b"RIFF", 4 + len(body), b"WEBP") + body
    return None


def _chunks(data: bytes, at: int) -> Iterator[tuple[bytes, int, int]]:
    """The name of each chunk, and where its content starts and ends."""
    while at + 8 <= len(data):
        end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at : at + 4], at + 8, min(end, len(data))
        at = end + (end & 1)


def shorten_avif(data: bytes) -> bytes | None:
    """An AVIF whose picture lacks its last bytes; None if these are not found.

    Parameters
    ----------
    data : bytes
        The file (AV1 Image File Format; ISO 14496-12 and 23008-12).
    """
    try:
        found = _primary_item(data)
        last = found and _last_unit(data, *found)
    except (IndexError, ValueError):
        return None
    if last is None:
        return None
    size_at, start, end = last
    left = end - start - len(_PADDING)
    size = [left >> 7 * byte & 127 | 128 for byte in range(start - size_at)]
    size[-1] &= 127
    return data[:size_at] + bytes(size) + data[start : start + left] + _PADDING + data[end:]


def shorten_heif(data: bytes) -> bytes | None:
    """A HEIF whose picture has other last bytes; None if it is no single picture of HEVC.

    Parameters
    ----------
    data : bytes
        The file (ISO 23008-12; its pixels: ISO 14496-15, with sizes of four bytes).
    """
    try:
        at, end = _primary_item(data) or (0, 0)
        last = None
        while at < end:
            size = int.from_bytes(data[at : at + 4], "big")
            if data[at + 4] >> 1 & 63 < _LEAST_OTHER and size >= _LEAST_BYTES:
                last = at + 4 + size, max(_LEAST_WRONG, size // _SHARE)
            at += 4 + size
    except (IndexError, ValueError):
        return None
    if last is None or at != end:
        return None
    stop, count = last
    return data[: stop - count] + _WRONG * count + data[stop:]


def _primary_item(data: bytes) -> tuple[int, int] | None:
    """Where the picture that is shown starts and ends, if it lies in one piece."""
    boxes = {name: (start, end) for name, start, end in _boxes(data, 0, len(data))}
    meta, meta_end = boxes.get(b"meta", (0, 0))
    inner = {name: (start, end) for name, start, end in _boxes(data, meta + 4, meta_end)}
    if not {b"pitm", b"iloc"} <= inner.keys():
        return None
    at, _ = inner[b"pitm"]
    primary = int.from_bytes(data[at + 4 : at + (8 if data[at] else 6)], "big")
    at, _ = inner[b"iloc"]
    version, sizes, more = data[at], data[at + 4], data[at + 5]
    offset_size, length_size, base_size = sizes >> 4, sizes & 15, more >> 4
    index_size = more & 15 if version else 0
    wide = 4 if version == 2 else 2
    count, at = _number(data, at + 6, wide)
    for _ in range(count):
        item, at = _number(data, at, wide)
        is_elsewhere = version and data[at + 1] & 15
        at += 4 if version else 2
        base, at = _number(data, at, base_size)
        extents, at = _number(data, at, 2)
        for _ in range(extents):
            offset, at = _number(data, at + index_size, offset_size)
            length, at = _number(data, at, length_size)
            if item == primary and extents == 1 and not is_elsewhere:
                return base + offset, base + offset + length
    return None


def _number(data: bytes, at: int, size: int) -> tuple[int, int]:
    """A number of `size` bytes, and where the next one begins."""
    if at + size > len(data):
        raise ValueError
    return int.from_bytes(data[at : at + size], "big"), at + size


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The name of each box, and where its content starts and ends."""
    while at + 8 <= end:
        size, start = int.from_bytes(data[at : at + 4], "big"), at + 8
        if size == 1:
            size, start = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        stop = at + size if size else end
        if stop < start or stop > end:
            return
        yield data[at + 4 : at + 8], start, stop
        at = stop


def _last_unit(data: bytes, at: int, end: int) -> tuple[int, int, int] | None:
    """Of the last unit of pixels of an AV1 stream: where its size, its content and its end are."""
    last = None
    while at < end:
        kind, has_extension, has_size = data[at] >> 3 & 15, data[at] & 4, data[at] & 2
        size_at = at = at + (2 if has_extension else 1)
        if not has_size:
            return None
        size = 0
        while True:
            size |= (data[at] & 127) << 7 * (at - size_at)
            at += 1
            if not data[at - 1] & 128:
                break
        if kind in _PIXELS and size >= _LEAST_BYTES:
            last = size_at, at, at + size
        at += size
    return last if at == end else None
