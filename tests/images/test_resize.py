"""Resizing: to the network's square, accurate and rounded to the nearest."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from decoding import FILES

from drawn import Pixels, gradients, noise
from pomona.images.decode import decode
from pomona.images.resize import resize


def resized(
    pixels: Pixels, size: int = 224, fit: str = "stretch", crop_fraction: float | None = None
) -> Pixels:
    out = np.full((size, size, 3), 111, np.uint8)
    resize(pixels, out, fit=fit, crop_fraction=crop_fraction)
    return out


SIZES = [
    (1, 1), (1, 1000), (1000, 1), (2, 3), (224, 224), (223, 225), (224, 448), (100, 100),
    (3000, 2), (2, 3000), (50_000, 3), (3, 50_000), (448, 448), (300, 199),
]  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_a_single_colour_is_kept(size: tuple[int, int], fit: str) -> None:
    colour = (10, 200, 77)
    assert (
        resized(np.full((*size, 3), colour, np.uint8), fit=fit, crop_fraction=0.875) == colour
    ).all()


@pytest.mark.parametrize("size", SIZES)
def test_the_mean_and_the_range_are_kept(size: tuple[int, int]) -> None:
    pixels = gradients(*size) if max(size) > 1 else noise(*size)
    out = resized(pixels)
    assert np.abs(out.mean((0, 1)) - pixels.mean((0, 1))).max() < 2
    assert (out.min((0, 1)) >= pixels.min((0, 1))).all()
    assert (out.max((0, 1)) <= pixels.max((0, 1))).all()


def test_an_image_of_the_right_size_is_copied_unchanged() -> None:
    pixels = noise(224, 224)
    assert np.array_equal(resized(pixels), pixels)


@pytest.mark.parametrize("factors", [(2, 2), (3, 3), (4, 2), (1, 2), (5, 1)])
def test_shrinking_takes_the_mean_of_blocks(factors: tuple[int, int]) -> None:
    down, across = factors
    pixels = noise(64 * down, 64 * across)
    means = pixels.reshape(64, down, 64, across, 3).mean((1, 3))
    assert np.abs(resized(pixels, 64) - means).max() <= 1


@pytest.mark.parametrize("size", [(1000, 100), (1000, 224), (1000, 900)])
def test_fine_stripes_become_grey_whether_the_other_side_shrinks_or_grows(
    size: tuple[int, int],
) -> None:
    stripes = np.zeros((*size, 3), np.uint8)
    stripes[::2] = 255
    for pixels in (stripes, stripes.transpose(1, 0, 2)):
        out = resized(pixels)
        assert out.min() >= 105
        assert out.max() <= 150


def test_growing_is_linear_between_the_pixels() -> None:
    ramp = np.repeat(np.array([0, 100, 200], np.uint8), 3).reshape(1, 3, 3)
    out = resized(ramp, 9)[4, :, 0].astype(int)
    assert out.tolist() == pytest.approx([0, 0, 33, 67, 100, 133, 167, 200, 200], abs=1)


def weights(size: int, side: int) -> npt.NDArray[np.float64]:
    """Of `size` pixels for each of `side`, float64[side, size]: by area, or else linear."""
    at = (np.arange(side) + 0.5) * size / side
    if size > side:
        edges = np.clip(np.arange(size + 1), (at - size / side / 2)[:, None], None)
        parts = np.diff(np.minimum(edges, (at + size / side / 2)[:, None])) * side / size
    else:
        distance = np.abs(np.clip(at, 0.5, size - 0.5)[:, None] - (np.arange(size) + 0.5))
        parts = np.clip(1 - distance, 0, None)
    return np.asarray(parts, np.float64)


@pytest.fixture(params=["Intel's", "OpenCV's own"])
def resizes(request: pytest.FixtureRequest) -> Iterator[None]:
    before = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(before and request.param == "Intel's")
    yield
    cv2.ipp.setUseIPP(before)


@pytest.mark.usefixtures("resizes")
@pytest.mark.parametrize(
    ("size", "most"),
    [
        *(((100, 100), 0.55), ((82, 82), 0.55), ((100, 224), 0.55), ((223, 223), 0.55)),
        ((480, 640), 0.501),
        ((100, 640), 1.05),  # shrunk, rounded, grown and rounded again
    ],
)
def test_resized_values_are_rounded_to_the_nearest(size: tuple[int, int], most: float) -> None:
    pixels = noise(*size)
    down, across = weights(size[0], 224), weights(size[1], 224)
    exact = np.einsum("ai,ijc,bj->abc", down, pixels, across, optimize=True)
    assert np.abs(resized(pixels) - exact).max() <= most
    assert not cv2.ipp.useIPP_NotExact()


@pytest.mark.parametrize("size", [(256, 300), (300, 256), (256, 256), (256, 1001)])
def test_a_crop_is_the_central_square(size: tuple[int, int]) -> None:
    pixels = noise(*size)
    top, left = (size[0] - 224) // 2, (size[1] - 224) // 2
    out = resized(pixels, fit="crop", crop_fraction=0.875)
    assert np.array_equal(out, pixels[top : top + 224, left : left + 224])


def test_a_crop_excludes_the_borders() -> None:
    pixels = np.full((200, 400, 3), 255, np.uint8)
    pixels[13:187, 113:287] = 0
    assert resized(pixels, fit="crop", crop_fraction=0.87).max() == 0
    assert resized(pixels, fit="crop", crop_fraction=1.0).max() == 255
    assert resized(pixels, fit="stretch").max() == 255


def test_decoded_and_strided_pixels_can_be_resized() -> None:
    decoded = decode(FILES["PNG"]).pixels
    expected = resized(noise(40, 60), 32)
    assert np.array_equal(resized(decoded, 32), expected)
    assert np.array_equal(resized(np.repeat(noise(40, 60), 2, axis=1)[:, ::2], 32), expected)


def test_only_the_given_row_of_a_batch_is_written() -> None:
    batch = np.full((3, 16, 16, 3), 9, np.uint8)
    resize(noise(30, 40), batch[1], fit="stretch", crop_fraction=None)
    assert (batch[[0, 2]] == 9).all()
    assert (batch[1] != 9).any()
