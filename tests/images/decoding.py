"""Helpers for tests of decoding: whole files of each kind, and the error of a file."""

from __future__ import annotations

import re

import pillow_heif
import pytest
from PIL import Image

from drawn import encode, noise
from pomona.errors import ImageError
from pomona.images.decode import decode
from pomona.store import schemas

pillow_heif.register_heif_opener()  # the encoder


def refusal(data: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decode(data)
    check_decode_error(caught.value)
    return caught.value


def check_decode_error(error: ImageError) -> None:
    """Checks that a decode error has a reason of the closed vocabulary and a clean detail."""
    assert error.stage == "decode"
    assert error.reason in schemas.REASONS
    assert not re.search(r"0x[0-9a-f]| object at |/(tmp|home|root|usr)/|\n", error.detail)
    assert len(error.detail) <= 200


FILES = {
    "JPEG": encode(noise(40, 60), "JPEG"),
    "progressive JPEG": encode(noise(40, 60), "JPEG", progressive=True),
    "PNG": encode(noise(40, 60), "PNG"),
    "WebP": encode(noise(40, 60), "WEBP"),
    "lossless WebP": encode(noise(40, 60), "WEBP", lossless=True),
    "BMP": encode(noise(40, 60), "BMP"),
    "GIF": encode(Image.fromarray(noise(40, 60)).quantize(), "GIF"),
    "TIFF": encode(noise(40, 60), "TIFF"),
    "LZW TIFF": encode(noise(40, 60), "TIFF", compression="tiff_lzw"),
    "AVIF": encode(noise(40, 60), "AVIF"),
    "HEIC": encode(noise(40, 60), "HEIF"),
}
