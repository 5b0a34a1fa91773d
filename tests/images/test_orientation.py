"""Orientation: EXIF 2.3, tag 0x0112, turns an image upright."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from drawn import Pixels, encode, gradients, noise
from pomona.images.decode import decode

STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Software] = "tests"
    return exif


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    ("file_format", "options", "tolerance"),
    [
        ("JPEG", {"quality": 100, "subsampling": 0}, 4),
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("TIFF", {}, 0),
    ],
)
def test_every_orientation_gives_the_same_upright_image(
    file_format: str, options: dict[str, Any], tolerance: int, orientation: int
) -> None:
    upright = gradients(24, 40)
    stored = np.ascontiguousarray(STORED[orientation](upright))
    decoded = decode(encode(stored, file_format, exif=oriented(orientation), **options))
    assert decoded.pixels.shape == upright.shape
    assert np.abs(decoded.pixels.astype(int) - upright).max() <= tolerance
    assert (decoded.width, decoded.height) == (40, 24)


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_unknown_orientation_is_ignored(orientation: int) -> None:
    pixels = noise(8, 12)
    assert np.array_equal(decode(encode(pixels, "PNG", exif=oriented(orientation))).pixels, pixels)


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0no TIFF at all",
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x04abc\0\0\0\0\0",
    ],
)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_data_is_ignored(file_format: str, exif: bytes) -> None:
    assert decode(encode(noise(8, 12), file_format, exif=exif)).pixels.shape == (8, 12, 3)


@given(st.lists(st.tuples(st.integers(6, 70), st.integers(0, 255)), max_size=4), st.integers(6, 80))
@settings(max_examples=60, deadline=None)
def test_exif_data_with_flipped_bytes_is_ignored(flips: list[tuple[int, int]], end: int) -> None:
    exif = bytearray(oriented(6).tobytes())
    for position, value in flips:
        exif[position % len(exif)] = value
    for file_format in ("JPEG", "PNG"):
        data = encode(noise(8, 12), file_format, exif=bytes(exif[:end]))
        assert sorted(decode(data).pixels.shape) == [3, 8, 12]
