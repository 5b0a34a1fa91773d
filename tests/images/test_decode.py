"""Decoding: each format gives the pixels that were encoded."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from decoding import refusal
from PIL import Image

from drawn import encode, gradients, noise
from pomona.images.decode import decode


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("PNG", {"compress_level": 0}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_deflate"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_a_lossless_format_gives_the_same_pixels(file_format: str, options: dict[str, Any]) -> None:
    pixels = noise(31, 47)
    decoded = decode(encode(pixels, file_format, **options))
    assert np.array_equal(decoded.pixels, pixels)
    assert decoded.pixels.dtype == np.uint8
    assert (decoded.width, decoded.height, decoded.format) == (47, 31, file_format)


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("WEBP", {"quality": 95}),
        ("TIFF", {"compression": "jpeg", "quality": 95}),
    ],
)
def test_a_lossy_format_gives_nearly_the_same_pixels(
    file_format: str, options: dict[str, Any]
) -> None:
    pixels = gradients(64, 96)
    decoded = decode(encode(pixels, file_format, **options))
    assert decoded.format == file_format
    assert np.abs(decoded.pixels.astype(int) - pixels).max() <= 8


def test_a_grey_jpeg_has_three_equal_channels() -> None:
    grey = gradients(40, 40)[:, :, 0]
    pixels = decode(encode(grey, "JPEG", quality=95)).pixels
    assert pixels.shape == (40, 40, 3)
    assert np.ptp(pixels, axis=-1).max() == 0
    assert np.abs(pixels[:, :, 0].astype(int) - grey).max() <= 4


@pytest.mark.parametrize(
    ("inks", "rgb"),
    [
        ((0, 0, 0, 0), (255, 255, 255)),
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 255, 0, 0), (255, 0, 255)),
        ((0, 0, 255, 0), (255, 255, 0)),
        ((0, 0, 0, 255), (0, 0, 0)),
        ((0, 0, 0, 100), (155, 155, 155)),
        ((55, 105, 155, 0), (200, 150, 100)),
    ],
)
@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(
    file_format: str, inks: tuple[int, ...], rgb: tuple[int, int, int]
) -> None:
    options = {"quality": 100} if file_format == "JPEG" else {}
    pixels = decode(encode(Image.new("CMYK", (16, 16), inks), file_format, **options)).pixels
    assert np.abs(pixels.astype(int) - rgb).max() <= 3


def test_an_mpo_is_decoded_as_its_first_jpeg() -> None:
    first, second = gradients(48, 64), gradients(48, 64)[::-1]
    data = encode(first, "MPO", save_all=True, append_images=[Image.fromarray(second)], quality=95)
    decoded = decode(data)
    assert decoded.format == "JPEG"
    assert np.abs(decoded.pixels.astype(int) - first).max() <= 8


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("GIF", {}),
        ("WEBP", {"lossless": True}),
        ("PNG", {"default_image": False}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_the_first_of_several_frames_is_decoded(file_format: str, options: dict[str, Any]) -> None:
    pictures = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue", "lime")]
    data = encode(pictures[0], file_format, save_all=True, append_images=pictures[1:], **options)
    with Image.open(io.BytesIO(data)) as image:
        assert getattr(image, "n_frames", 1) == 3
    assert np.array_equal(decode(data).pixels, np.full((6, 8, 3), (255, 0, 0)))


def test_floating_point_pixels_are_unsupported() -> None:
    error = refusal(encode(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))
    assert (error.reason, error.detail) == ("unsupported", "floating-point pixels")
