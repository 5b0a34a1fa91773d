"""Strip a PNG (W3C PNG, third edition, section 11)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from pomona.images.stripping.metadata import (
    MAX_PARTS,
    corrupt,
    is_profile,
    minimal_exif,
    orientation,
    truncated,
)

MAX_TEXT_BYTES = 4 * 2**20
MAX_PROFILE_BYTES = 16 * 2**20
# Chunks that are kept → the lengths that their content may have.
_LENGTHS: dict[bytes, range | tuple[int, ...]] = {
    b"IHDR": (13,), b"PLTE": range(3, 769, 3), b"IDAT": range(1 << 31), b"IEND": (0,),
    b"tRNS": range(1, 257), b"cHRM": (32,), b"gAMA": (4,), b"sRGB": (1,), b"sBIT": range(1, 5),
    b"bKGD": (1, 2, 6), b"pHYs": (9,), b"cICP": (4,), b"mDCV": (24,), b"cLLI": (8,),
    b"acTL": (8,), b"fcTL": (26,), b"fdAT": range(4, 1 << 31),
}  # fmt: skip
_REPEATED = frozenset([b"IDAT", b"fcTL", b"fdAT"])
# Colour type → the lengths that its tRNS may have; only the type of palettes needs a PLTE.
_TRANSPARENT = {0: range(2, 3), 2: range(6, 7), 3: range(1, 257)}
_PALETTE = 3


def strip_png(data: bytes) -> bytes:
    """Takes the metadata out of a PNG. Raises ImageError (stage "strip")."""
    kept: list[bytes] = []
    exif, raw_exif, xmp = b"", b"", b""
    colour_type, seen = 0, set[bytes]()
    for name, content, piece in _chunks(data):
        if name in _LENGTHS:
            if len(content) not in _LENGTHS[name]:
                raise corrupt("a chunk of the wrong length")
            if name in seen:
                raise corrupt("a duplicate chunk")
            if name == b"IHDR":
                colour_type = content[9]
            if _is_needed(name, content, colour_type):
                kept.append(piece)
        elif name == b"iCCP":
            profile = _inflate(content.partition(b"\0")[2][1:], MAX_PROFILE_BYTES)
            if is_profile(profile):
                kept.append(_chunk(name, b"ICC profile\0\0" + zlib.compress(profile, 9)))
        elif name == b"eXIf":
            exif = content
        elif name in (b"tEXt", b"zTXt", b"iTXt"):
            key, _, text = content.partition(b"\0")
            if key == b"XML:com.adobe.xmp" and name == b"iTXt":
                packed = text[2:].split(b"\0", 2)[-1]
                xmp = _inflate(packed, MAX_TEXT_BYTES) if text[:1] == b"\1" else packed
            elif key == b"Raw profile type exif":
                text = _inflate(text[1:], MAX_TEXT_BYTES) if name == b"zTXt" else text
                raw_exif = _raw_profile(text)
        elif not name[0] & 0x20:
            raise corrupt("an unknown critical chunk")
        seen |= {name} - _REPEATED
    rotation = minimal_exif(orientation(exif or raw_exif, xmp))
    extra = [_chunk(b"eXIf", rotation)] if rotation else []
    return b"".join([data[:8], kept[0], *extra, *kept[1:]])


def _is_needed(name: bytes, content: bytes, colour_type: int) -> bool:
    """Whether pixels of a colour type use a chunk: some need no palette or transparent colours."""
    if name == b"PLTE":
        return colour_type == _PALETTE
    if name != b"tRNS":
        return True
    if colour_type in _TRANSPARENT and len(content) not in _TRANSPARENT[colour_type]:
        raise corrupt("transparent colours of the wrong length")
    return colour_type in _TRANSPARENT


def _chunk(name: bytes, content: bytes) -> bytes:
    """The bytes of a chunk, with its length and its checksum."""
    crc = zlib.crc32(content, zlib.crc32(name))
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """The name, content and bytes of each chunk, up to the image's end."""
    at = 8
    for number in range(MAX_PARTS):
        if at + 12 > len(data):
            raise truncated()
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            raise truncated()
        name, content = data[at + 4 : at + 8], data[at + 8 : end - 4]
        if zlib.crc32(content, zlib.crc32(name)) != int.from_bytes(data[end - 4 : end], "big"):
            raise corrupt("a chunk's checksum is wrong")
        if (number == 0) != (name == b"IHDR"):
            raise corrupt("IHDR is not the first chunk")
        yield name, content, data[at:end]
        if name == b"IEND":
            return
        at = end
    raise corrupt("too many chunks")


def _inflate(packed: bytes, limit: int) -> bytes:
    """Inflates at most `limit` bytes; no bytes where the stream is damaged."""
    try:
        return zlib.decompressobj().decompress(packed, limit)
    except zlib.error:
        return b""


def _raw_profile(text: bytes) -> bytes:
    """EXIF as ImageMagick writes it into a PNG's text: three lines, then hexadecimal digits."""
    try:
        return bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:]))
    except ValueError:
        return b""
