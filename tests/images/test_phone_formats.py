"""HEIC and AVIF, as phones and the web have them: right pixels, or a reason."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from decoding import refusal
from PIL import ExifTags, Image

from drawn import encode, noise
from pomona.errors import ImageError
from pomona.images import formats
from pomona.images.decode import decode
from pomona.images.scan import scan
from pomona.images.stripping.strip import strip_metadata

pillow_heif.register_heif_opener()  # the encoder

LOSSLESS: dict[str, dict[str, Any]] = {
    "HEIF": {"quality": -1, "chroma": 444, "matrix_coefficients": 0},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}
RGB = noise(40, 64)
# Levels that the way to YCbCr and back may cost.
CLOSE = 3


@pytest.mark.parametrize("name", LOSSLESS)
def test_pixels_are_those_of_the_picture(name: str) -> None:
    decoded = decode(encode(RGB, name, **LOSSLESS[name]))
    assert (decoded.format, decoded.width, decoded.height) == (name, 64, 40)
    assert np.abs(decoded.pixels.astype(int) - RGB).max() <= CLOSE


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_upright(name: str, orientation: int) -> None:
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :16] = 255, 0, 0
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    turns = {
        1: [], 2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM], 5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90], 7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }  # fmt: skip
    stored = Image.fromarray(upright)
    for turn in turns[orientation]:
        stored = stored.transpose(turn)
    # As bytes, for both libraries then write it as a turn of the picture, too (ISO 23008-12).
    decoded = decode(encode(stored, name, exif=exif.tobytes(), **LOSSLESS[name]))
    assert (decoded.width, decoded.height) == (48, 32)
    assert np.abs(decoded.pixels.astype(int) - upright).max() <= CLOSE


@pytest.mark.parametrize("name", LOSSLESS)
def test_what_is_transparent_is_white(name: str) -> None:
    drawn = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    drawn[:, :32, 3] = 0
    pixels = decode(encode(Image.fromarray(drawn, "RGBA"), name, **LOSSLESS[name])).pixels
    assert pixels[:, :30].min() >= 255 - CLOSE
    assert np.abs(pixels[:, 34:].astype(int) - RGB[:, 34:]).max() <= CLOSE


@pytest.mark.parametrize("name", LOSSLESS)
def test_the_first_picture_of_several_is_taken(name: str) -> None:
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    data = encode(frames[0], name, save_all=True, append_images=frames[1:], **LOSSLESS[name])
    assert np.abs(decode(data).pixels.astype(int) - RGB).max() <= CLOSE


def test_ten_bits_a_colour_are_scaled_to_eight() -> None:
    wide = (RGB.astype(np.uint16) << 8) | RGB
    buffer = io.BytesIO()
    pillow_heif.from_bytes("RGB;16", (64, 40), wide.tobytes()).save(buffer, **LOSSLESS["HEIF"])
    assert pillow_heif.open_heif(buffer.getvalue()).info["bit_depth"] == 10
    assert np.abs(decode(buffer.getvalue()).pixels.astype(int) - RGB).max() <= CLOSE


@pytest.mark.parametrize("name", LOSSLESS)
def test_content_decides_and_not_the_name(name: str, tmp_path: Path) -> None:
    (tmp_path / "IMG_0001.HEIC").write_bytes(encode(RGB, "HEIF"))
    (tmp_path / "a.avif").write_bytes(encode(RGB, "AVIF"))
    (tmp_path / "b.jpg").write_bytes(encode(RGB, name))
    found = scan(tmp_path).catalog["path"].to_pylist()
    assert found == ["IMG_0001.HEIC", "a.avif", "b.jpg"]
    assert decode((tmp_path / "b.jpg").read_bytes()).format == name


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_brand_that_both_have_is_told_by_the_others(name: str) -> None:
    data = encode(RGB, name)
    brands = data[16 : int.from_bytes(data[:4], "big")]
    assert b"mif1" in brands
    general = data[:8] + b"mif1" + data[12:]
    assert formats.identify(general) is formats.identify(data)
    assert np.array_equal(decode(general).pixels, decode(data).pixels)


def test_without_the_extra_the_reason_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(RGB, "HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    formats._set_up.cache_clear()
    try:
        error = refusal(data)
    finally:
        formats._set_up.cache_clear()
    assert (error.reason, error.detail) == (
        "unsupported",
        'HEIC: pip install "pomona[heif]", on executors as well',
    )


@pytest.mark.parametrize("name", LOSSLESS)
def test_metadata_stays_unless_it_is_wanted(name: str) -> None:
    with pytest.raises(ImageError, match=f"no stripper for {name}"):
        strip_metadata(encode(RGB, name))
