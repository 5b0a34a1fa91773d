"""Formats: files made by hand or by other writers give the pixels that were put in."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from drawn import Pixels, bmp, encode, gradients, noise, png, tiff
from pomona.errors import ImageError
from pomona.images.decode import decode

WIDTH, HEIGHT = 22, 9
GREY = noise(HEIGHT, WIDTH)[:, :, 0]
RGB = noise(HEIGHT, WIDTH)


def read_by_opencv(data: bytes) -> Pixels:
    """uint8[h, w, 3], RGB, by another reader."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image[:, :, ::-1], np.uint8)


def packed(samples: Pixels, bits: int) -> list[bytes]:
    """Rows of samples of 1, 2, 4 or 8 bits, the first one highest."""
    each = (samples[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
    return [np.packbits(row).tobytes() for row in each.reshape(len(samples), -1)]


# PNG


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_png_palettes(bits: int) -> None:
    colours = noise(2**bits, 1)[:, 0]
    samples = GREY & (2**bits - 1)
    rows = b"".join(b"\0" + row for row in packed(samples, bits))
    alpha = bytes(range(0, 255, 255 // 2**bits + 1))
    made: Any = {"PLTE": colours.tobytes()}
    assert np.array_equal(
        decode(png(WIDTH, HEIGHT, bits, 3, rows, **made)).pixels, colours[samples]
    )
    share = np.array([*alpha, *[255] * 256])[samples][:, :, None] / 255
    on_white = share * colours[samples] + (1 - share) * 255
    pixels = decode(png(WIDTH, HEIGHT, bits, 3, rows, **made, tRNS=alpha)).pixels
    assert np.abs(pixels - on_white).max() <= 1


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_grey_png_with_a_transparent_colour(bits: int) -> None:
    top = 2**bits - 1
    samples = GREY.astype(np.uint16) * 257 >> (16 - bits)
    key = int(samples[3, 3])
    if bits == 16:
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    else:
        rows = b"".join(b"\0" + row for row in packed(samples.astype(np.uint8), bits))
    grey = np.floor(samples * (255 / top) + 0.5).astype(np.uint8)
    assert np.array_equal(decode(png(WIDTH, HEIGHT, bits, 0, rows)).pixels[:, :, 1], grey)
    grey[samples == key] = 255
    pixels = decode(png(WIDTH, HEIGHT, bits, 0, rows, tRNS=struct.pack(">H", key))).pixels
    assert np.array_equal(pixels, np.repeat(grey[:, :, None], 3, axis=2))


def test_a_16_bit_colour_png_with_a_transparent_colour() -> None:
    wide = RGB.astype(np.uint16) * 256 + 7
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    key = struct.pack(">3H", *wide[2, 5].tolist())
    expected = RGB.copy()
    expected[2, 5] = 255
    assert np.array_equal(decode(png(WIDTH, HEIGHT, 16, 2, rows, tRNS=key)).pixels, expected)


def test_an_interlaced_png() -> None:
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]  # fmt: skip  # noqa: E501
    rows = b"".join(
        b"\0" + row.tobytes()
        for top, left, down, across in passes
        for row in RGB[top::down, left::across]
    )
    assert np.array_equal(decode(png(WIDTH, HEIGHT, 8, 2, rows, interlaced=True)).pixels, RGB)


# BMP


def padded(rows: list[bytes]) -> bytes:
    """From below, each to a multiple of 4 bytes."""
    return b"".join(row + bytes(-len(row) % 4) for row in reversed(rows))


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_bmp_palettes(bits: int) -> None:
    colours = noise(2**bits, 1)[:, 0]
    table = b"".join(colour[::-1].tobytes() + b"\0" for colour in colours)
    samples = GREY & (2**bits - 1)
    data = bmp(WIDTH, HEIGHT, bits, padded(packed(samples, bits)), 0, table)
    assert np.array_equal(decode(data).pixels, colours[samples])


@pytest.mark.parametrize(
    ("masks", "shifts", "widths"),
    [((), (10, 5, 0), (5, 5, 5)), ((0xF800, 0x7E0, 0x1F), (11, 5, 0), (5, 6, 5))],
)
def test_a_16_bit_bmp(masks: tuple[int, ...], shifts: Any, widths: Any) -> None:
    levels = [RGB[:, :, channel].astype(int) >> (8 - widths[channel]) for channel in range(3)]
    words = sum(level << shift for level, shift in zip(levels, shifts, strict=True))
    rows = [np.asarray(row, "<u2").tobytes() for row in words]
    packed_masks = struct.pack(f"<{len(masks)}I", *masks)
    data = bmp(WIDTH, HEIGHT, 16, padded(rows), 3 if masks else 0, masks=packed_masks)
    full = [level * 255 / (2**width - 1) for level, width in zip(levels, widths, strict=True)]
    assert np.abs(decode(data).pixels - np.stack(full, axis=-1)).max() <= 1


@pytest.mark.parametrize("bits", [24, 32])
def test_a_bmp_of_full_colours(bits: int) -> None:
    rows = [b"".join(pixel[::-1].tobytes() + bytes(bits // 8 - 3) for pixel in row) for row in RGB]
    assert np.array_equal(decode(bmp(WIDTH, HEIGHT, bits, padded(rows))).pixels, RGB)
    upside_down = bmp(WIDTH, -HEIGHT, bits, padded(rows[::-1]))
    assert np.array_equal(decode(upside_down).pixels, RGB)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_run_length_bmp(bits: int) -> None:
    colours = noise(16, 1)[:, 0]
    table = b"".join(colour[::-1].tobytes() + b"\0" for colour in colours)
    samples = np.repeat(GREY[:, : WIDTH // 2] % 16, 2, axis=1)
    twice = 17 if bits == 4 else 1
    lines = [
        b"".join(bytes([2, value * twice]) for value in row[::2].tolist()) + b"\0\0"
        for row in samples[::-1]
    ]
    data = bmp(WIDTH, HEIGHT, bits, b"".join(lines) + b"\0\1", 2 if bits == 4 else 1, table)
    assert np.array_equal(decode(data).pixels, colours[samples])


# GIF and WebP


@pytest.mark.parametrize("interlace", [0, 1])
def test_a_gif_has_the_pixels_of_another_reader(interlace: int) -> None:
    image = Image.fromarray(noise(40, 30)).quantize(128)
    data = encode(image, "GIF", interlace=interlace)
    assert np.array_equal(decode(data).pixels, read_by_opencv(data))


def test_a_webp_with_alpha_is_composited_on_white() -> None:
    alpha = np.repeat(GREY[:, :, None], 1, axis=2)
    image = Image.fromarray(np.concatenate([RGB, alpha], axis=2))
    pixels = decode(encode(image, "WEBP", lossless=True, exact=True)).pixels
    assert np.abs(pixels - (alpha / 255 * RGB + (1 - alpha / 255) * 255)).max() <= 1


# JPEG


@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"restart_marker_rows": 1}],
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_has_the_pixels_of_another_reader(mode: str, options: dict[str, Any]) -> None:
    data = encode(Image.fromarray(gradients(45, 61)).convert(mode), "JPEG", quality=90, **options)
    assert np.abs(decode(data).pixels.astype(int) - read_by_opencv(data)).max() <= 2


# TIFF


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("layout", ["strips", "tiles", "planes", "deflated", "deflated tiles"])
def test_a_tiff_by_another_writer(layout: str, big: bool, order: Any) -> None:
    pixels = noise(40, 55)
    layouts: dict[str, dict[str, Any]] = {
        "strips": {"rowsperstrip": 7},
        "tiles": {"tile": (16, 32)},
        "planes": {"planarconfig": "separate"},
        "deflated": {"compression": "zlib"},
        "deflated tiles": {"compression": "zlib", "tile": (16, 16)},
    }
    stored = pixels.transpose(2, 0, 1) if layout == "planes" else pixels
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        stored,
        photometric="rgb",
        bigtiff=big,
        byteorder=order,
        metadata=None,
        **layouts[layout],
    )
    if big and order == ">":  # Pillow's reader expects the other order
        with pytest.raises(ImageError, match="unsupported: big-endian BigTIFF"):
            decode(buffer.getvalue())
    else:
        assert np.array_equal(decode(buffer.getvalue()).pixels, pixels)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_16_bit_tiff_by_another_writer(order: Any) -> None:
    for pixels, expected in (
        (GREY.astype(np.uint16) * 257, np.repeat(GREY[:, :, None], 3, axis=2)),
        (RGB.astype(np.uint16) * 257, RGB),
    ):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, pixels, byteorder=order, metadata=None)
        assert np.array_equal(decode(buffer.getvalue()).pixels, expected)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", None])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_a_tiff_has_the_pixels_of_another_reader(mode: str, compression: str | None) -> None:
    image = Image.fromarray(noise(40, 55))
    image = image.quantize(64) if mode == "P" else image.convert(mode)
    data = encode(image, "TIFF", **({"compression": compression} if compression else {}))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert file.pages[0].shape[:2] == (40, 55)
    assert np.array_equal(decode(data).pixels, read_by_opencv(data))
    assert np.array_equal(decode(data).pixels, np.asarray(image.convert("RGB")))


def test_white_may_be_zero_in_a_tiff() -> None:
    tags = {256: (WIDTH,), 257: (HEIGHT,), 258: (8,), 262: (0,), 273: (0,), 278: (HEIGHT,)}
    data = tiff({**tags, 277: (1,), 279: (GREY.size,)}, GREY.tobytes())
    assert np.array_equal(decode(data).pixels[:, :, 0], 255 - GREY)


def test_a_cmyk_tiff() -> None:
    inks = np.full((HEIGHT, WIDTH, 4), (55, 105, 155, 0), np.uint8)
    tags = {256: (WIDTH,), 257: (HEIGHT,), 258: (8,) * 4, 259: (8,), 262: (5,), 278: (HEIGHT,)}
    strip = zlib.compress(inks.tobytes())
    data = tiff({**tags, 273: (0,), 277: (4,), 279: (len(strip),)}, strip, order=">")
    assert np.abs(decode(data).pixels.astype(int) - (200, 150, 100)).max() <= 1


def test_a_tiff_of_12_bits_is_unsupported() -> None:
    tags = {256: (4,), 257: (4,), 258: (12,), 259: (1,), 262: (1,), 273: (0,), 277: (1,)}
    with pytest.raises(ImageError) as caught:
        decode(tiff({**tags, 278: (4,), 279: (24,)}, bytes(24)))
    assert (caught.value.reason, caught.value.detail) == ("unsupported", "12-bit TIFF")
