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

from PIL import ExifTags, Image

from pomona.errors import ImageError
from pomona.sources.decode import in_words
from pomona.sources.strip_tiff import strip_tiff

MAX_PARTS = 100_000
MAX_TEXT_BYTES = 4 * 2**20
MAX_PROFILE_BYTES = 16 * 2**20
_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_ICC = b"ICC_PROFILE\0"


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


def _corrupt(detail: str) -> ImageError:
    return ImageError("strip", "corrupt", detail)


def _truncated() -> ImageError:
    return ImageError("strip", "truncated")


# Orientation


def _orientation(exif: bytes, xmp: bytes) -> int:
    """As Pillow finds it, which pomona decodes with: in EXIF, else in XMP; 1 where it is neither.

    exif: a TIFF, with or without the name of its kind before it.
    """
    tags = Image.Exif()
    try:
        if exif:
            tags.load(exif)
        found = tags.get(ExifTags.Base.Orientation)
    except (SyntaxError, ValueError, KeyError, TypeError, OSError, struct.error):
        return 1
    if found is None and (match := re.search(rb'tiff:Orientation(="|>)([0-9])', xmp)):
        found = int(match[2])
    return found if isinstance(found, int) and 2 <= found <= 8 else 1


def _minimal_exif(orientation: int) -> bytes:
    """A TIFF that says this and nothing else; nothing for an upright image."""
    if orientation == 1:
        return b""
    entry = struct.pack(">HHIHH", ExifTags.Base.Orientation, 3, 1, orientation, 0)
    return b"MM\0*\0\0\0\x08\0\x01" + entry + bytes(4)


def _is_profile(profile: bytes) -> bool:
    """Whether it is an ICC profile of its own length (ICC.1:2022, 7.2)."""
    return (
        len(profile) >= 128
        and profile[36:40] == b"acsp"
        and int.from_bytes(profile[:4], "big") == len(profile)
    )


# JPEG (ITU-T T.81, annex B)


def _strip_jpeg(data: bytes) -> bytes:
    head: list[bytes] = []  # JFIF and Adobe's segment, which say how colours are stored
    body: list[bytes] = []
    exif, xmp = b"", b""
    profiles: list[bytes] = []
    for marker, content, piece in _segments(data):
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
    turned = _minimal_exif(_orientation(exif, xmp))
    first = [_segment(0xE1, _EXIF + turned)] if turned else []
    if _is_profile(b"".join(content[14:] for content in profiles)):
        first += [_segment(0xE2, content) for content in profiles]
    # EXIF wants to be the first segment but for JFIF's.
    is_jfif = [segment[1] == 0xE0 for segment in head[:1]] == [True]
    return b"".join([data[:2], *head[:is_jfif], *first, *head[is_jfif:], *body, b"\xff\xd9"])


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Marker, content and bytes of each segment up to the image's end, scans with their pixels."""
    at, scans = 2, 0
    for _ in range(MAX_PARTS):
        if data[at : at + 1] != b"\xff":
            raise _corrupt("no marker where a segment ends") if at < len(data) else _truncated()
        while data[at + 1 : at + 2] == b"\xff":
            at += 1
        if at + 4 > len(data) and data[at + 1 : at + 2] != b"\xd9":
            raise _truncated()
        marker = data[at + 1]
        if marker == 0xD9:
            if not scans:
                raise _truncated()
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if end > len(data):
            raise _truncated()
        content = data[at + 4 : end]
        if not _is_sound(marker, content):
            raise _corrupt(f"a segment of marker {marker:02x} that is none")
        if marker == 0xDA:
            end = _end_of_scan(data, end)
            scans += 1
        yield marker, content, data[at:end]
        at = end
    raise _corrupt("too many segments")


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
        raise _truncated()
    return found.start()


# PNG (W3C PNG, third edition, 11)

_PNG_KEPT = frozenset(
    b"IHDR PLTE IDAT IEND tRNS cHRM gAMA sRGB sBIT bKGD hIST pHYs cICP mDCV cLLI acTL fcTL fdAT"
    .split()
)  # fmt: skip


def _strip_png(data: bytes) -> bytes:
    kept: list[bytes] = []
    exif, raw_exif, xmp = b"", b"", b""
    for name, content, piece in _chunks(data):
        if name in _PNG_KEPT:
            kept.append(piece)
        elif name == b"iCCP":
            packed = content.partition(b"\0")[2][1:]
            if _is_profile(_inflate(packed, MAX_PROFILE_BYTES)):
                kept.append(_chunk(name, b"ICC profile\0\0" + packed))
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
            raise _corrupt("a critical chunk that is not known")
    turned = _minimal_exif(_orientation(exif or raw_exif, xmp))
    extra = [_chunk(b"eXIf", turned)] if turned else []
    return b"".join([data[:8], kept[0], *extra, *kept[1:]])


def _chunk(name: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(content, zlib.crc32(name))
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Name, content and bytes of each chunk up to the image's end."""
    at = 8
    for number in range(MAX_PARTS):
        if at + 12 > len(data):
            raise _truncated()
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            raise _truncated()
        name, content = data[at + 4 : at + 8], data[at + 8 : end - 4]
        if zlib.crc32(content, zlib.crc32(name)) != int.from_bytes(data[end - 4 : end], "big"):
            raise _corrupt("a chunk's checksum is wrong")
        if (number == 0) != (name == b"IHDR"):
            raise _corrupt("IHDR is not the first chunk")
        yield name, content, data[at:end]
        if name == b"IEND":
            return
        at = end
    raise _corrupt("too many chunks")


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

_WEBP_KEPT = frozenset([b"VP8 ", b"VP8L", b"ALPH", b"ANIM"])
_HAS_EXIF, _HAS_XMP, _HAS_PROFILE = 0x08, 0x04, 0x20


def _strip_webp(data: bytes) -> bytes:
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise _truncated()
    flags: bytes | None = None
    kept: list[bytes] = []
    profile, exif, xmp = b"", b"", b""
    for name, content in _riff_chunks(data, 12, end):
        if name == b"VP8X" and flags is None and len(content) == 10:
            flags = content
        elif name in _WEBP_KEPT:
            kept.append(_riff_chunk(name, content))
        elif name == b"ANMF":
            frames = _riff_chunks(content, 16, len(content))
            frame = [_riff_chunk(name, part) for name, part in frames if name in _WEBP_KEPT]
            kept.append(_riff_chunk(name, content[:16] + b"".join(frame)))
        elif name == b"ICCP" and not profile:
            profile = content if _is_profile(content) else b""
        elif name == b"EXIF" and not exif:
            exif = content
        elif name == b"XMP " and not xmp:
            xmp = content
        else:
            raise _corrupt("a chunk that is not known")
    after = b""
    if flags is not None:
        turned = _minimal_exif(_orientation(exif, xmp))
        says = flags[0] & ~(_HAS_EXIF | _HAS_XMP | _HAS_PROFILE)
        says |= (_HAS_EXIF if turned else 0) | (_HAS_PROFILE if profile else 0)
        first = [_riff_chunk(b"VP8X", bytes([says]) + flags[1:])]
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
            raise _truncated()
        yield name, data[at + 8 : at + 8 + size]
        at += 8 + size + (size & 1)
    raise _corrupt("too many chunks")


# GIF (GIF89a)

_GIF_KEPT = (b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012")


def _strip_gif(data: bytes) -> bytes:
    at = 13 + _colours(data[10])
    kept, images = [data[:at]], 0
    for _ in range(MAX_PARTS):
        if at > len(data):
            raise _truncated()
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
            raise _corrupt("no block where one ends") if kind else _truncated()
    raise _corrupt("too many blocks")


def _colours(flags: int) -> int:
    """How many bytes the table of colours takes."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _end_of_blocks(data: bytes, at: int) -> int:
    while at < len(data):
        if data[at] == 0:
            return at + 1
        at += 1 + data[at]
    raise _truncated()


# BMP, which has a place for a colour profile alone, and in its last version only


_BMP_PLAIN, _BMP_RUNS, _BMP_SPACE = (0, 3, 6), {1: 8, 2: 4}, b"BGRs"


def _strip_bmp(data: bytes) -> bytes:
    start, header = struct.unpack_from("<II", data, 10)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = size = 0
    else:
        width, height, _, bits, compression, size = struct.unpack_from("<iiHHII", data, 18)
    if start > 14 + header + 16 + 1024:
        raise _corrupt("something between its colours and its pixels")
    if bits not in (1, 4, 8, 16, 24, 32):
        raise _corrupt("pixels of so many bits are none")
    if compression in _BMP_PLAIN:
        size = (width * bits + 31) // 32 * 4 * abs(height)
    elif compression in _BMP_RUNS:
        size = _end_of_runs(data, start, _BMP_RUNS[compression]) - start
    if not 0 < size <= len(data) - start:
        raise _truncated()
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
    raise _truncated()


def _strip_tiff(data: bytes) -> bytes:
    return strip_tiff(data, _orientation, _is_profile)


_FORMATS: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (rb"\xff\xd8\xff", _strip_jpeg),
    (rb"\x89PNG\r\n\x1a\n", _strip_png),
    (rb"RIFF....WEBP", _strip_webp),
    (rb"GIF8[79]a", _strip_gif),
    (rb"II[*+]\0|MM\0[*+]", _strip_tiff),
    (rb"BM", _strip_bmp),
)
