"""Damage: what a codec passes over without a word, or tells nobody, and what it refuses for naught.

One rule holds for all formats: a picture of which pixels are missing or wrong is an `ImageError`,
unless the caller allows damage.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import Image, ImageFile

from pomona.images import tiff

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
    """The checksums of deflated strips and tiles, before which libtiff stops reading."""
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


def _check_webp(data: bytes, image: Image.Image) -> str | None:
    """RIFF's own size, which libwebp does not hold against the file's."""
    missing = 8 + int.from_bytes(data[4:8], "little") - len(data)
    return f"its last {missing:,} bytes are missing" if missing > 0 else None


_CHECKS: dict[str, Callable[[bytes, Image.Image], str | None]] = {
    "PNG": _check_png,
    "TIFF": _check_tiff,
    "WEBP": _check_webp,
}
