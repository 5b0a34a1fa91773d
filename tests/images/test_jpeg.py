"""JPEG: decoded without Pillow to the same pixels, and large ones at a fraction of their size."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image
from skimage import data as photographs

import pomona
from pomona.backbones import cache, registry
from pomona.extraction.recipe import make_recipe
from pomona.images import jpeg
from pomona.images.decode import decode, decode_plain_jpeg
from pomona.images.limits import MAX_PIXELS

SIDE = 224


def photograph(name: str, width: int = 0, height: int = 0) -> Image.Image:
    image = Image.fromarray(getattr(photographs, name)())
    return image.resize((width, height), Image.Resampling.LANCZOS) if width else image


def encode(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def pillow(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def turned(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


@pytest.mark.parametrize("size", [(0, 0), (101, 77), (1, 1), (8, 200)])
@pytest.mark.parametrize(
    "options",
    [
        {"quality": 30},
        {"quality": 90, "subsampling": 0},
        {"quality": 90, "subsampling": 1},
        {"quality": 75, "progressive": True},
        {"quality": 75, "comment": b"of a photographer"},
        {"quality": 75, "restart_marker_blocks": 3},
    ],
    ids=str,
)
def test_the_pixels_are_those_of_pillow(options: dict[str, object], size: tuple[int, int]) -> None:
    for image in (photograph("chelsea", *size), photograph("camera", *size)):
        data = encode(image, **options)
        decoded = decode_plain_jpeg(data, MAX_PIXELS, None)
        assert decoded is not None
        assert (decoded.format, decoded.width, decoded.height) == ("JPEG", *image.size)
        assert np.array_equal(decoded.pixels, pillow(data))


@pytest.mark.parametrize(
    "data",
    [
        encode(photograph("chelsea"), exif=turned()),
        encode(photograph("chelsea").convert("CMYK")),
        encode(photograph("chelsea"))[:-500],
        b"\xff\xd8\xff" + bytes(100),
    ],
    ids=["metadata", "CMYK", "truncated", "damaged"],
)
def test_special_jpegs_are_left_to_pillow(data: bytes) -> None:
    assert decode_plain_jpeg(data, MAX_PIXELS, None) is None


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (100, 100, 1),
        (1791, 4000, 1),
        (1792, 4000, 2),
        (8000, 3583, 2),
        (3584, 3584, 4),
        (7167, 7168, 4),
        (7168, 7168, 8),
        (12_000, 9_000, 8),
    ],
)
def test_a_reduced_jpeg_keeps_four_times_the_size_that_the_network_needs(
    width: int, height: int, expected: int
) -> None:
    assert jpeg.reduction(width, height, SIDE) == expected
    assert jpeg.reduction(width, height, None) == 1


@pytest.mark.parametrize(("width", "height"), [(1801, 2403), (1795, 2001), (3587, 3600)])
def test_pillow_reduces_a_jpeg_to_the_same_pixels(width: int, height: int) -> None:
    image = photograph("astronaut", width, height)
    short = decode(encode(image, quality=90), side=SIDE)
    long = decode(encode(image, quality=90, exif=turned()), side=SIDE)
    by = jpeg.reduction(width, height, SIDE)
    assert short.pixels.shape == (-(-height // by), -(-width // by), 3)
    assert np.array_equal(short.pixels, long.pixels)
    assert (short.width, short.height) == (long.width, long.height) == (width, height)
    upright = decode(encode(image, quality=90, exif=turned(6)), side=SIDE)
    assert (upright.width, upright.height) == (height, width)
    assert upright.pixels.shape == (short.pixels.shape[1], short.pixels.shape[0], 3)


def test_other_formats_are_not_reduced() -> None:
    buffer = io.BytesIO()
    photograph("astronaut", 1000, 1000).save(buffer, "PNG")
    assert decode(buffer.getvalue(), side=SIDE).pixels.shape == (1000, 1000, 3)


@pytest.mark.parametrize(("name", "fit"), [("rocket", "stretch"), ("coffee", "crop")])
def test_features_hardly_differ_from_those_of_all_pixels(name: str, fit: str) -> None:
    backbone = registry.get(registry.DEFAULT)
    recipe = make_recipe(backbone, cache.load(backbone), fit)
    image = photograph(name)
    for short in (2_100, 4_200):
        size = [round(side * short / min(image.size)) for side in image.size]
        data = encode(photograph(name, *size), quality=92)
        a, b = pomona.featurize([data, decode(data).pixels], recipe)
        assert jpeg.reduction(size[0], size[1], recipe.side) > 1
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) >= 0.999
