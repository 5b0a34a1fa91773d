"""True pixels: format × colour × depth × sign × planes × byte order × compression × alpha.

Each file is written by tifffile, or bit by bit, from an image that is known: what `decode` returns
is that image within a level, or an error that says why not.
"""

from __future__ import annotations

import io
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from decoding import refusal
from PIL import ExifTags, Image

from drawn import encode, gradients, png
from pomona.errors import ImageError
from pomona.images.decode import decode

HEIGHT, WIDTH = 38, 50
RGB = gradients(HEIGHT, WIDTH)
GREY = RGB[:, :, 1]
OPAQUE = np.full_like(GREY, 255)
COLOURS = {
    "grey": GREY,
    "rgb": RGB,
    "rgba": np.dstack([RGB, OPAQUE]),
    "grey and alpha": np.dstack([GREY, OPAQUE]),
}
# What 255 is in each kind of number: all of its range, or of that above 0.
WHITE = {
    "u1": 255, "u2": 65_535, "u4": 2**32 - 1, "i1": 127, "i2": 2**15 - 1, "i4": 2**31 - 1,
    "f2": 1, "f4": 1, "f8": 1,
}  # fmt: skip
MATRIX = [
    (colour, kind, *rest)
    for colour, kind, *rest in itertools.product(
        COLOURS, WHITE, "<>", (None, "zlib"), ("contig", "separate"), (None, (32, 32))
    )
    if not (colour == "grey" and rest[2] == "separate")
]
# The kinds that must give pixels; of all others an error is as good.
WANTED = {
    *itertools.product(["grey"], ["u1", "u2", "i2", "i4"]),
    *itertools.product(["rgb", "rgba"], ["u1", "u2"]),
    ("grey and alpha", "u1"),
}


def write(
    colour: str, kind: str, order: str, compression: str | None, planes: str, tile: Any
) -> bytes:
    pixels = np.round(
        COLOURS[colour].astype(float) * (WHITE[kind] / 255), 0 if kind[0] != "f" else 9
    )
    stored: npt.NDArray[Any] = pixels.astype(kind)
    has_planes = stored.ndim == 3
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        np.moveaxis(stored, 2, 0) if planes == "separate" else stored,
        byteorder=order,  # type: ignore[arg-type]
        compression=compression,
        planarconfig=planes if has_planes else None,
        photometric="rgb" if colour.startswith("rgb") else "minisblack",
        extrasamples=["unassalpha"] if colour.endswith(("rgba", "alpha")) else None,
        tile=tile,
    )
    return buffer.getvalue()


@pytest.mark.parametrize("case", MATRIX, ids=str)
def test_a_tiff_is_decoded_right_or_refused(case: tuple[Any, ...]) -> None:
    colour, kind, order, compression, planes, _ = case
    expected = RGB if colour.startswith("rgb") else np.dstack([GREY] * 3)
    is_rare = {
        "u1": colour == "grey and alpha" and planes == "separate",
        "u2": planes == "separate" and compression is None,
    }.get(kind, order == ">" and compression is not None)
    try:
        pixels = decode(write(*case)).pixels
    except ImageError as error:
        assert error.reason == "unsupported"  # noqa: PT017
        assert error.detail  # noqa: PT017
        assert (colour, kind) not in WANTED or is_rare
    else:
        assert np.abs(pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_grey_of_fewer_bits_than_its_file_has_is_scaled_by_those_it_uses(
    bits: int, file_format: str
) -> None:
    white = 2**bits - 1
    levels = np.linspace(0, white, HEIGHT * WIDTH).round().astype(np.uint16).reshape(HEIGHT, WIDTH)
    pixels = decode(encode(Image.fromarray(levels), file_format)).pixels
    assert np.abs(pixels[:, :, 0] - levels * (255 / white)).max() <= 1


@pytest.mark.parametrize("kind", ["i1", "i2", "i4"])
def test_levels_below_0_are_refused(kind: str) -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, (GREY.astype(int) - 128).astype(kind), photometric="minisblack")
    error = refusal(buffer.getvalue())
    assert error.reason == "unsupported"
    assert "below 0" in error.detail or "signed" in error.detail


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_colours_of_12_bits_in_16_are_refused(file_format: str) -> None:
    dark = (RGB.astype(np.uint16) << 4) | 15
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, dark, photometric="rgb")
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in dark)
    data = buffer.getvalue() if file_format == "TIFF" else png(WIDTH, HEIGHT, 16, 2, rows)
    error = refusal(data)
    assert (error.reason, error.detail) == (
        "unsupported",
        "16-bit colours that use 12 bits or less",
    )


def test_black_16_bit_colours_are_black() -> None:
    assert decode(png(2, 1, 16, 2, bytes(13))).pixels.max() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_each_orientation_is_upright(file_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": 100, "subsampling": 0},
        "WEBP": {"lossless": True},
    }
    turned = {
        1: RGB, 2: RGB[:, ::-1], 3: RGB[::-1, ::-1], 4: RGB[::-1], 5: RGB.swapaxes(0, 1),
        6: np.rot90(RGB, -1), 7: RGB[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(RGB),
    }[orientation]  # fmt: skip
    pixels = decode(
        encode(RGB, file_format, exif=exif.tobytes(), **options.get(file_format, {}))
    ).pixels
    assert np.abs(pixels.astype(int) - turned).max() <= (3 if file_format == "JPEG" else 0)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_an_empty_alpha_mask_hides_no_picture(file_format: str, mode: str) -> None:
    colours = RGB if mode == "RGBA" else GREY[:, :, None]
    hidden = np.dstack([colours, np.zeros_like(GREY)])
    pixels = decode(encode(Image.fromarray(hidden), file_format)).pixels
    assert np.array_equal(pixels, np.broadcast_to(colours, RGB.shape))


def test_an_image_without_alpha_and_without_colours_is_white() -> None:
    assert decode(encode(Image.new("RGBA", (4, 4)), "PNG")).pixels.min() == 255


@pytest.mark.parametrize(("bands", "kind"), [(13, "i2"), (8, "u1"), (10, "u2")])
def test_many_bands_are_unsupported_and_counted(
    bands: int, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    buffer = io.BytesIO()
    stored = np.repeat(GREY[:, :, None], bands, 2).astype(kind)
    tifffile.imwrite(buffer, stored, photometric="minisblack", planarconfig="contig")
    error = refusal(buffer.getvalue())
    bits = {"i2": 16, "u1": 8, "u2": 16}[kind]
    assert (error.reason, error.detail) == (
        "unsupported",
        f"TIFF with {bands} bands of {bits} bits",
    )
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("number", "name"), [(34712, "JPEG 2000"), (50002, "JPEG XL"), (34887, "LERC"), (50001, "WebP")]
)
def test_rare_compressions_of_tiff_are_unsupported_and_named(number: int, name: str) -> None:
    data = bytearray(encode(RGB, "TIFF", compression="tiff_deflate"))
    at = data.index(b"\x03\x01\x03\0\x01\0\0\0")  # tag 259, a short, one of them
    data[at + 8 : at + 10] = number.to_bytes(2, "little")
    error = refusal(bytes(data))
    assert (error.reason, error.detail) == ("unsupported", f"{name} in TIFF")


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (b"\xff\x0a" + bytes(20), "unsupported", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14", "unsupported", "JPEG 2000"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not_an_image", "git lfs pull"),
        (b"\n <!DOCTYPE html><title>404</title>", "not_an_image", "HTML"),
        (b"\x1f\x8b\x08" + bytes(20), "not_an_image", "gzip"),
        (b"%PDF-1.7\n", "not_an_image", "PDF"),
    ],
)
def test_what_is_not_what_it_is_called_is_named(data: bytes, reason: str, words: str) -> None:
    error = refusal(data)
    assert error.reason == reason
    assert words in error.detail
