"""Strip: takes out of an image file what it says beside its pixels, and leaves these bytes alone.

What the pixels need is copied, everything else is left out: EXIF with its GPS and thumbnail, XMP,
IPTC, comments and other texts, dates, further pictures and whatever follows the image's end. The
ICC profile is kept, and of EXIF the orientation, as `decode` finds it. What is not known is not
copied, so nothing depends on knowing all places that metadata can be in.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator

from pomona.errors import ImageError
from pomona.images.decode import in_words
from pomona.images.stripping.bmp import strip_bmp
from pomona.images.stripping.gif import strip_gif
from pomona.images.stripping.jpeg import strip_jpeg
from pomona.images.stripping.parts import (
    MAX_PARTS,
    corrupt,
    is_profile,
    minimal_exif,
    orientation,
    truncated,
)
from pomona.images.stripping.tiff import strip_tiff

MAX_TEXT_BYTES = 4 * 2**20
MAX_PROFILE_BYTES = 16 * 2**20


def strip_metadata(data: bytes) -> bytes:
    """A JPEG, PNG, WebP, GIF, TIFF or BMP without metadata, with the same pixels.

    A file that cannot be followed to its end is refused, for what it says cannot be told from its
    pixels: raises ImageError (stage "strip"). So is one of another format.
    """
    for magic, strip in _FORMATS:
        if re.match(magic, data, re.DOTALL):
            try:
                return strip(data)
            except ImageError:
                raise
            except (struct.error, IndexError, ValueError, OverflowError) as exc:
                raise ImageError("strip", "corrupt", in_words(str(exc))) from exc
    raise ImageError("strip", "not_an_image" if data else "empty")


# PNG (W3C PNG, third edition, 11)

# Chunk → how long its content may be, for those that are kept.
_PNG_LENGTHS: dict[bytes, range | tuple[int, ...]] = {
    b"IHDR": (13,), b"PLTE": range(3, 769, 3), b"IDAT": range(1 << 31), b"IEND": (0,),
    b"tRNS": range(1, 257), b"cHRM": (32,), b"gAMA": (4,), b"sRGB": (1,), b"sBIT": range(1, 5),
    b"bKGD": (1, 2, 6), b"pHYs": (9,), b"cICP": (4,), b"mDCV": (24,), b"cLLI": (8,),
    b"acTL": (8,), b"fcTL": (26,), b"fdAT": range(4, 1 << 31),
}  # fmt: skip
_PNG_REPEATED = frozenset([b"IDAT", b"fcTL", b"fdAT"])
# Colour type → how long its tRNS may be; a PLTE is needed by the one of palettes alone.
_PNG_TRANSPARENT = {0: range(2, 3), 2: range(6, 7), 3: range(1, 257)}
_PNG_PALETTE = 3


def _strip_png(data: bytes) -> bytes:
    kept: list[bytes] = []
    exif, raw_exif, xmp = b"", b"", b""
    colours, seen = 0, set[bytes]()
    for name, content, piece in _chunks(data):
        if name in _PNG_LENGTHS:
            if len(content) not in _PNG_LENGTHS[name]:
                raise corrupt("a chunk of another length than its kind has")
            if name in seen:
                raise corrupt("a chunk that comes twice")
            if name == b"IHDR":
                colours = content[9]
            if _is_needed(name, content, colours):
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
            raise corrupt("a critical chunk that is not known")
        seen |= {name} - _PNG_REPEATED
    turned = minimal_exif(orientation(exif or raw_exif, xmp))
    extra = [_chunk(b"eXIf", turned)] if turned else []
    return b"".join([data[:8], kept[0], *extra, *kept[1:]])


def _is_needed(name: bytes, content: bytes, colours: int) -> bool:
    """Not palettes and transparent colours of an image that has none; colours: its colour type."""
    if name == b"PLTE":
        return colours == _PNG_PALETTE
    if name != b"tRNS":
        return True
    if colours in _PNG_TRANSPARENT and len(content) not in _PNG_TRANSPARENT[colours]:
        raise corrupt("transparent colours of another length")
    return colours in _PNG_TRANSPARENT


def _chunk(name: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(content, zlib.crc32(name))
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Name, content and bytes of each chunk up to the image's end."""
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
    """What was deflated, at most `limit` bytes of it; nothing where it is damaged."""
    try:
        return zlib.decompressobj().decompress(packed, limit)
    except zlib.error:
        return b""


def _raw_profile(text: bytes) -> bytes:
    """EXIF as ImageMagick writes it into a PNG's text: three lines, then hexadecimal numbers."""
    try:
        return bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:]))
    except ValueError:
        return b""


# WebP (RFC 9649)

_WEBP_PIXELS = frozenset([b"VP8 ", b"VP8L", b"ALPH"])
_HAS_EXIF, _HAS_XMP, _HAS_PROFILE = 0x08, 0x04, 0x20


def _strip_webp(data: bytes) -> bytes:
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise truncated()
    flags: bytes | None = None
    seen: set[bytes] = set()
    kept: list[bytes] = []
    profile, exif, xmp = b"", b"", b""
    for name, content in _riff_chunks(data, 12, end):
        if name == b"VP8X" and flags is None and len(content) == 10:
            flags = content
        elif (name in _WEBP_PIXELS and name not in seen) or (name == b"ANIM" and len(content) == 6):
            kept.append(_riff_chunk(name, content))
            seen.add(name)
        elif name == b"ANMF":
            frames = _riff_chunks(content, 16, len(content))
            frame = [_riff_chunk(name, part) for name, part in frames if name in _WEBP_PIXELS]
            kept.append(_riff_chunk(name, content[:16] + b"".join(frame)))
        elif name == b"ICCP" and not profile:
            profile = content if is_profile(content) else b""
        elif name == b"EXIF" and not exif:
            exif = content
        elif name == b"XMP " and not xmp:
            xmp = content
        else:
            raise corrupt("a chunk that is not known")
    after = b""
    if flags is not None:
        turned = minimal_exif(orientation(exif, xmp))
        says = flags[0] & ~(_HAS_EXIF | _HAS_XMP | _HAS_PROFILE)
        says |= (_HAS_EXIF if turned else 0) | (_HAS_PROFILE if profile else 0)
        first = [_riff_chunk(b"VP8X", bytes([says, 0, 0, 0]) + flags[4:])]
        kept = first + ([_riff_chunk(b"ICCP", profile)] if profile else []) + kept
        after = _riff_chunk(b"EXIF", turned) if turned else b""
    body = b"WEBP" + b"".join(kept) + after
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _riff_chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) & 1)


def _riff_chunks(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    for _ in range(MAX_PARTS):
        if at >= end:
            return
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + size > end:
            raise truncated()
        yield name, data[at + 8 : at + 8 + size]
        at += 8 + size + (size & 1)
    raise corrupt("too many chunks")


_FORMATS: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (rb"\xff\xd8\xff", strip_jpeg),
    (rb"\x89PNG\r\n\x1a\n", _strip_png),
    (rb"RIFF....WEBP", _strip_webp),
    (rb"GIF8[79]a", strip_gif),
    (rb"II[*+]\0|MM\0[*+]", strip_tiff),
    (rb"BM", strip_bmp),
)
