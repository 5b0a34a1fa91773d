"""Damage: what a codec passes over without a word, or tells nobody, and what it refuses for naught.

One rule holds for all formats: a picture of which pixels are missing or wrong is an `ImageError`,
unless the caller allows damage.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import Image, ImageFile

from pomona.images import gif, lzw, tiff, unread

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# The chunks that pixels and their orientation need (W3C PNG, third edition, section 11).
_NEEDED = frozenset(
    [b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf", b"acTL", b"fcTL", b"fdAT"]
)
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Adam7: the first column and row of each pass, and the steps to the next (section 8.1).
_PASSES = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)
)  # fmt: skip
_INFLATE_BYTES = 2**20
# To count the values of LZW takes 0.1 s for a million.
_LZW_PIXELS = 4_000_000
_ROWS = 64
# Smaller ones of HEVC are enlarged, and what is added comes last.
_LEAST_SIDE = 64
_ASTRAY = "its pixels end elsewhere than their data"


def find_damage(data: bytes, image: Image.Image) -> str | None:
    """Says what is wrong with the pixels of an image that a codec has decoded; None: nothing.

    Parameters
    ----------
    data : bytes
        The file, of any format but JPEG, for which there is `jpeg.examine`.
    image : PIL.Image.Image
        What Pillow made of it, loaded.
    """
    check = _CHECKS.get(image.format or "")
    return check(data, image) if check else None


@contextmanager
def leniently() -> Iterator[None]:
    """Lets Pillow decode as much as it can of a damaged file."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def without_extras(data: bytes) -> bytes | None:
    """A PNG without the chunks that no pixel needs, and over which Pillow may stumble.

    Parameters
    ----------
    data : bytes
        The file.

    Returns
    -------
    bytes or None
        The needed chunks, as they are, and an end; None for another format, or where nothing is
        left out.
    """
    if not data.startswith(_SIGNATURE):
        return None
    needed = [
        data[start - 8 : end + 4]
        for name, start, end in _chunks(data)
        if name in _NEEDED or not name[0] & 0x20
    ]
    if not any(piece[4:8] == b"IEND" for piece in needed):
        needed.append(struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND")))
    pared = b"".join([_SIGNATURE, *needed])
    return pared if pared != data else None


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The name of each whole chunk of a PNG, and where its content starts and ends."""
    at = len(_SIGNATURE)
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            return
        name = data[at + 4 : at + 8]
        yield name, at + 8, end
        if name == b"IEND":
            return
        at = end + 4


def _check_png(data: bytes, image: Image.Image) -> str | None:
    view = memoryview(data)
    pixels: list[memoryview] = []
    for name, start, end in _chunks(data):
        if name == b"IDAT":
            if zlib.crc32(view[start - 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
                return "the checksum of its pixels is wrong"
            pixels.append(view[start:end])
    # Rows that never came are blank, and the last rows are the last to come.
    last = image.crop((0, image.height - 1, image.width, image.height))
    if not image.info.get("interlace") and any(last.tobytes()):
        return None
    width, height, bits, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    wanted = 0
    for left, top, right, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -((left - width) // right), -((top - height) // down)
        if columns > 0 and rows > 0:
            wanted += rows * (1 + -(-columns * bits * _SAMPLES[colour] // 8))
    missing = wanted - _inflated(pixels, wanted)
    return f"{missing:,} of the {wanted:,} bytes of its pixels are missing" if missing else None


def _inflated(pieces: list[memoryview], at_most: int) -> int:
    """How many bytes a zlib stream holds, counted up to a limit."""
    inflate, total = zlib.decompressobj(), 0
    for piece in pieces:
        waiting: bytes | memoryview = piece
        while len(waiting) and total < at_most and not inflate.eof:
            total += len(inflate.decompress(waiting, _INFLATE_BYTES))
            waiting = inflate.unconsumed_tail
    return min(total, at_most)


def _check_tiff(data: bytes, image: Image.Image) -> str | None:
    """The checksums of deflated strips and tiles, and how much those of LZW hold."""
    lzw_pieces, sizes = tiff.lzw_pieces(image)
    if image.width * image.height > _LZW_PIXELS:
        lzw_pieces = []
    for offset, size in lzw_pieces:
        stream = data[offset : offset + size]
        is_old = stream[:1] == b"\0" and stream[1:2] and stream[1] & 1  # of before TIFF 6.0
        if not is_old and lzw.is_damaged(stream, 8, sizes, is_tiff=True):
            return _ASTRAY
    # libtiff stops reading before the checksum.
    pieces = tiff.deflated_pieces(image)
    # A strip may hold more than the image needs, but not without end.
    left = _INFLATE_BYTES + 16 * image.width * image.height
    for offset, size in pieces:
        inflate, waiting = zlib.decompressobj(), data[offset : offset + size]
        try:
            while waiting and left > 0 and not inflate.eof:
                left -= len(inflate.decompress(waiting, _INFLATE_BYTES))
                waiting = inflate.unconsumed_tail
        except zlib.error:
            return "the checksum of its pixels is wrong"
        if left > 0 and not inflate.eof:
            return "the end of some of its pixels is missing"
    return None


def _check_gif(data: bytes, image: Image.Image) -> str | None:
    found = gif.first_frame(data)
    if found is None or found[2] > _LZW_PIXELS:
        return None
    stream, bits, pixels = found
    return _ASTRAY if lzw.is_damaged(stream, bits, [pixels], is_tiff=False) else None


def _check_webp(data: bytes, image: Image.Image) -> str | None:
    """RIFF's own size, which libwebp does not hold against the file's, and what is left unread."""
    missing = 8 + int.from_bytes(data[4:8], "little") - len(data)
    if missing > 0:
        return f"its last {missing:,} bytes are missing"
    return _check_unread(unread.shorten_webp(data), "WEBP")


def _check_avif(data: bytes, image: Image.Image) -> str | None:
    return _check_unread(unread.shorten_avif(data), "AVIF")


def _check_unread(shortened: bytes | None, name: str) -> str | None:
    """Whether a picture is decoded without the last bytes of its pixels, too."""
    return _ASTRAY if shortened and _load(shortened, name) else None


def _check_heif(data: bytes, image: Image.Image) -> str | None:
    if min(image.size) < _LEAST_SIDE:
        return None
    shortened = unread.shorten_heif(data)
    other = _load(shortened, "HEIF") if shortened else None
    if other is None or (other.size, other.mode) != (image.size, image.mode):
        return None
    for top in range(0, image.height, _ROWS):
        box = (0, top, image.width, min(top + _ROWS, image.height))
        if image.crop(box).tobytes() != other.crop(box).tobytes():
            return None
    return _ASTRAY


def _load(data: bytes, name: str) -> Image.Image | None:
    """The pixels of a file, if its codec takes it."""
    try:
        with Image.open(io.BytesIO(data), formats=[name]) as image:
            image.load()
            return image
    except (OSError, EOFError, RuntimeError, SyntaxError, ValueError):
        return None


_CHECKS: dict[str, Callable[[bytes, Image.Image], str | None]] = {
    "AVIF": _check_avif,
    "GIF": _check_gif,
    "HEIF": _check_heif,
    "PNG": _check_png,
    "TIFF": _check_tiff,
    "WEBP": _check_webp,
}
