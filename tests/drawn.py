"""Image files made by hand or by Pillow, of all formats and kinds that pomona reads."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]


def gradients(height: int, width: int) -> Pixels:
    """uint8[h, w, 3]: smooth, without any symmetry."""
    y, x = np.mgrid[:height, :width] / (max(height, width) - 1)
    return np.stack([220 * y + 20, 200 * x + 10, 120 * x * y + 60], axis=-1).astype(np.uint8)


def noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def encode(image: Image.Image | Pixels, file_format: str, **options: Any) -> bytes:
    # Copies, for Pillow keeps in an image how it was saved last.
    image = image.copy() if isinstance(image, Image.Image) else Image.fromarray(image)
    if "append_images" in options:
        options["append_images"] = [other.copy() for other in options["append_images"]]
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    crc = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)


def png(
    width: int,
    height: int,
    depth: int,
    colour: int,
    rows: bytes,
    *,
    interlaced: bool = False,
    **chunks: bytes,
) -> bytes:
    """A PNG by hand; rows: each with its filter byte 0; chunks: further ones, by their name."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + b"".join(chunk(name.encode(), content) for name, content in chunks.items())
        + chunk(b"IDAT", zlib.compress(rows, 1))
        + chunk(b"IEND", b"")
    )


def segment(marker: int, content: bytes) -> bytes:
    """A segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content


def bmp(
    width: int, height: int, bits: int = 24, rows: bytes = b"", compression: int = 0,
    palette: bytes = b"", masks: bytes = b"",
) -> bytes:  # fmt: skip
    """A BMP by hand; rows: from below, each padded to 4 bytes; palette: BGR0 for each colour."""
    colours = len(palette) // 4
    header = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(rows), 0, 0, colours, 0
    )
    offset = 14 + len(header) + len(masks) + len(palette)
    return (
        b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset)
        + header + masks + palette + rows
    )  # fmt: skip


def gif(width: int, height: int) -> bytes:
    """A GIF by hand, of no pixels."""
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return (
        b"GIF89a" + screen + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\2\1\x44\0;"
    )


def tiff(
    tags: dict[int, tuple[int, ...]], data: bytes, *, order: str = "<", big: bool = False
) -> bytes:
    """A TIFF by hand: one directory of 32-bit numbers, then data, where tag 273 may point to 0.

    order: "<" or ">"; big: a BigTIFF.
    """
    magic = b"II" if order == "<" else b"MM"
    start = magic + struct.pack(
        order + ("HHHQ" if big else "HI"), *((43, 8, 0, 16) if big else (42, 8))
    )
    count, entry, word = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    room = struct.calcsize(order + word)
    size = (
        struct.calcsize(order + count) + len(tags) * (struct.calcsize(order + entry) + room) + room
    )
    outside = len(start) + size
    directory, values = struct.pack(order + count, len(tags)), b""
    body = sum(4 * len(numbers) for numbers in tags.values() if 4 * len(numbers) > room)
    for tag in sorted(tags):
        numbers = tags[tag]
        if tag in (273, 324):  # where the pixels lie, told from the start of data
            numbers = tuple(outside + body + number for number in numbers)
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(packed) > room:
            values += packed
            packed = struct.pack(order + word, outside + len(values) - len(packed))
        directory += struct.pack(order + entry, tag, 4, len(numbers)) + packed.ljust(room, b"\0")
    return start + directory + bytes(room) + values + data
