"""Modes of pixels: bit depths, palettes and alpha become 8-bit RGB."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from drawn import encode, noise, png
from pomona.images.decode import decode


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_grey_of_few_bits_spans_black_to_white(depth: int) -> None:
    levels = 2**depth
    bits = "".join(f"{level:0{depth}b}" for level in range(levels))
    row = int(bits, 2).to_bytes(-(-len(bits) // 8), "big") if len(bits) >= 8 else b"\x40"
    pixels = decode(png(levels, 1, depth, 0, b"\0" + row)).pixels
    expected = np.round(np.arange(levels) * 255 / (levels - 1))
    assert np.array_equal(pixels[0, :, 0], expected)
    assert np.ptp(pixels, axis=-1).max() == 0


WIDE = {
    0: 0,
    128: 0,
    129: 1,
    257: 1,
    32_768: 128,
    65_278: 254,
    65_406: 254,
    65_407: 255,
    65_535: 255,
}


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(file_format: str) -> None:
    grey = Image.fromarray(np.array([list(WIDE)], np.uint16))
    assert grey.mode == "I;16"
    pixels = decode(encode(grey, file_format)).pixels
    assert pixels[0].tolist() == [[value] * 3 for value in WIDE.values()]


@pytest.mark.parametrize("colour", [2, 4, 6])
def test_16_bit_colours_are_scaled_not_clipped(colour: int) -> None:
    channels = {2: 3, 4: 2, 6: 4}[colour]
    values = [(value,) * channels for value in (0, 257, 32_768, 65_535)]
    opaque = [(*v[:-1], 65_535) if colour in (4, 6) else v for v in values]
    row = b"".join(struct.pack(f">{channels}H", *value) for value in opaque)
    pixels = decode(png(4, 1, 16, colour, b"\0" + row)).pixels
    assert pixels[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]


def test_palette_indexes_become_colours() -> None:
    indexes = np.random.default_rng(0).integers(0, 256, (9, 13), np.uint8)
    palette = noise(256, 1)[:, 0]
    image = Image.fromarray(indexes)
    image.putpalette(palette.tobytes())
    assert image.mode == "P"
    for file_format in ("PNG", "BMP", "GIF", "TIFF"):
        assert np.array_equal(decode(encode(image, file_format)).pixels, palette[indexes])


def test_a_transparent_palette_colour_is_white() -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    for file_format in ("PNG", "GIF"):
        pixels = decode(encode(image, file_format, transparency=1)).pixels
        assert pixels.tolist() == [[[255, 0, 0], [255, 255, 255], [0, 0, 255]]]
    half = decode(encode(image, "PNG", transparency=bytes([255, 128, 0]))).pixels
    assert np.abs(half.astype(int) - [[[255, 0, 0], [127, 255, 127], [255, 255, 255]]]).max() <= 1


@pytest.mark.parametrize(
    ("file_format", "mode"),
    [("PNG", "RGBA"), ("PNG", "LA"), ("WEBP", "RGBA"), ("TIFF", "RGBA"), ("TIFF", "LA")],
)
def test_alpha_is_composited_on_white(file_format: str, mode: str) -> None:
    alpha = np.array([[0, 64, 128, 255]], np.uint8)
    colour = np.full((1, 4, 3), (200, 100, 0), np.uint8)
    colour = colour if mode == "RGBA" else colour[:, :, :1]
    image = Image.fromarray(np.concatenate([colour, alpha[:, :, None]], axis=-1))
    assert image.mode == mode
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    share = alpha[:, :, None] / 255
    expected = share * colour + (1 - share) * 255
    pixels = decode(encode(image, file_format, **options)).pixels
    assert pixels.shape == (1, 4, 3)
    assert np.abs(pixels - expected).max() <= 1


@pytest.mark.parametrize(
    ("colour", "key", "row"), [(2, (9, 8, 7), (9, 8, 7, 1, 2, 3)), (0, (9,), (9, 1))]
)
def test_a_transparent_colour_is_white(
    colour: int, key: tuple[int, ...], row: tuple[int, ...]
) -> None:
    transparent = struct.pack(f">{len(key)}H", *key)
    pixels = decode(png(2, 1, 8, colour, bytes([0, *row]), tRNS=transparent)).pixels
    assert pixels[0, 0].tolist() == [255] * 3
    assert pixels[0, 1].tolist() == ([1, 2, 3] if colour == 2 else [1] * 3)
