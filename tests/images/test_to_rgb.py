"""Images in memory: Pillow images and arrays become RGB."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from decoding import FILES, check_decode_error
from PIL import ExifTags, Image, ImageOps

from drawn import Pixels, noise
from pomona.errors import ImageError
from pomona.images.decode import STRIP_PIXELS, array_to_rgb, to_rgb


def test_a_truncated_pillow_image_is_an_image_error() -> None:
    with (
        Image.open(io.BytesIO(FILES["JPEG"][:2000])) as image,
        pytest.raises(ImageError) as caught,
    ):
        to_rgb(image)
    check_decode_error(caught.value)
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Image.new("RGB", (0, 0)), "zero_size"),
        (Image.new("RGB", (0, 5)), "zero_size"),
        (Image.new("F", (2, 2)), "unsupported"),
        (Image.new("La", (2, 2)), "unsupported"),
    ],
)
def test_a_pillow_image_that_cannot_be_rgb_is_an_image_error(
    image: Image.Image, reason: str
) -> None:
    with pytest.raises(ImageError) as caught:
        to_rgb(image)
    check_decode_error(caught.value)
    assert caught.value.reason == reason


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I"])
def test_a_pillow_image_of_any_mode_becomes_rgb_and_is_not_changed(mode: str) -> None:
    image = Image.new(mode, (5, 4))
    before = image.copy()
    assert to_rgb(image).shape == (4, 5, 3)
    assert image == before


def in_one_piece(image: Image.Image) -> Pixels:
    """The same as `to_rgb` with Pillow alone: the whole image from one mode to the next."""
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "I;16"):
        wide = np.asarray(image).astype(np.int64)
        image = Image.fromarray(np.floor(wide / 257 + 0.5).astype(np.uint8))
    if "A" in image.mode or "transparency" in image.info:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), over)
    return np.asarray(image.convert("RGB"))


KEYS: dict[str, Any] = {"1": 255, "L": 77, "P": bytes(range(255, -1, -1)), "RGB": (1, 2, 3)}


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("mode", "key"),
    [
        *((mode, None) for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK")),
        *((mode, None) for mode in ("YCbCr", "LAB", "HSV", "I", "I;16")),
        *KEYS.items(),
    ],
)
def test_conversion_by_strips_gives_the_pixels_of_the_whole(
    mode: str, key: Any, orientation: int
) -> None:
    height, width = 1001, 1100
    assert height * width > STRIP_PIXELS
    rng = np.random.default_rng(len(mode))
    if mode in ("I", "I;16"):
        wide = rng.integers(0, 65_536, (height, width))
        image = Image.fromarray(wide.astype(np.int32 if mode == "I" else np.uint16))
    else:
        size = (height * width * len(Image.new(mode, (1, 1)).getbands()),)
        bits = rng.integers(0, 256, size, np.uint8).tobytes()
        image = Image.frombytes(
            mode, (width, height), bits[: -(-width // 8) * height] if mode == "1" else bits
        )
    if mode in ("P", "PA"):
        image.putpalette(rng.integers(0, 256, 768, np.uint8).tobytes())
    if key is not None:
        image.info["transparency"] = key
        if mode == "RGB":
            image.paste(key, (10, 10, 500, 1000))
    assert image.mode == mode
    image.getexif()[ExifTags.Base.Orientation] = orientation
    expected = in_one_piece(image)
    assert expected.shape[:2] == ((width, height) if orientation == 6 else (height, width))
    assert np.array_equal(to_rgb(image), expected)


@pytest.mark.parametrize("layout", ["contiguous", "strided", "Fortran"])
def test_an_array_becomes_rgb(layout: str) -> None:
    arrange: dict[str, Callable[[Pixels], Pixels]] = {
        "contiguous": lambda array: array,
        "strided": lambda array: np.repeat(array, 2, axis=1)[:, ::2],
        "Fortran": np.asfortranarray,
    }
    pixels = noise(6, 9)
    arranged = arrange[layout](pixels)
    assert np.array_equal(array_to_rgb(arranged), pixels)
    grey = pixels[:, :, :1].repeat(3, axis=-1)
    assert np.array_equal(array_to_rgb(arranged[:, :, 0]), grey)
    assert np.array_equal(array_to_rgb(arranged[:, :, :1]), grey)


def test_an_array_with_alpha_is_composited_on_white() -> None:
    array = np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], np.uint8)
    assert array_to_rgb(array).tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((4, 5, 3), np.float32), "unsupported"),
        (np.zeros((4, 5), np.uint16), "unsupported"),
        (np.zeros((4, 5, 3), np.int8), "unsupported"),
        (np.zeros((4, 5), bool), "unsupported"),
        (np.zeros((4, 5, 2), np.uint8), "unsupported"),
        (np.zeros((3, 4, 5), np.uint8), "unsupported"),
        (np.zeros((4, 5, 0), np.uint8), "unsupported"),
        (np.zeros((1, 4, 5, 3), np.uint8), "unsupported"),
        (np.zeros(5, np.uint8), "unsupported"),
        (np.zeros((), np.uint8), "unsupported"),
        (np.zeros((0, 5, 3), np.uint8), "zero_size"),
        (np.zeros((5, 0), np.uint8), "zero_size"),
        (np.broadcast_to(np.uint8(0), (10_001, 10_000)), "too_large"),
    ],
    ids=lambda value: f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else "",
)
def test_an_array_that_is_not_an_image_is_an_image_error(
    array: npt.NDArray[np.generic], reason: str
) -> None:
    with pytest.raises(ImageError) as caught:
        array_to_rgb(array)
    check_decode_error(caught.value)
    assert caught.value.reason == reason
