"""What `featurize` takes: several images, of the types that it names; all else is one line."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

import pomona
from drawn import noise
from pomona.errors import UsageError

PIXELS = noise(12, 10)


@pytest.mark.parametrize(
    "images", [PIXELS, PIXELS[:, :, 0], io.BytesIO(b"a\nb")], ids=["colour", "grey", "file"]
)
def test_one_array_or_file_is_not_a_list_of_its_rows(images: Any) -> None:
    with pytest.raises(UsageError, match="put the image in brackets"):
        pomona.featurize(images)


@pytest.mark.parametrize(
    "images", [None, 3, {"a": PIXELS}, {"a.jpg"}], ids=lambda each: type(each).__name__
)
def test_what_is_no_list_is_refused_by_its_type(images: Any) -> None:
    with pytest.raises(UsageError, match=type(images).__name__):
        pomona.featurize(images)


@pytest.mark.parametrize(
    "image",
    [None, 3, io.BytesIO(b""), bytearray(b""), {"bytes": b""}],
    ids=lambda each: type(each).__name__,
)
def test_what_is_no_image_is_refused_by_its_type(image: Any) -> None:
    with pytest.raises(UsageError, match=type(image).__name__):
        pomona.featurize([image])


class Tensor:
    """What PyTorch and TensorFlow have in common."""

    def numpy(self) -> Any:
        return PIXELS


@pytest.mark.parametrize(
    ("image", "way_out"),
    [
        (io.BytesIO(b""), r"BytesIO: give what its read\(\)"),
        (Tensor(), r"Tensor: give its numpy\("),
    ],
)
def test_files_and_tensors_are_refused_with_the_way_out(image: Any, way_out: str) -> None:
    with pytest.raises(UsageError, match=way_out):
        pomona.featurize([image])


def test_a_generator_and_a_stack_of_arrays_give_a_row_each() -> None:
    rows = pomona.featurize([PIXELS, PIXELS])
    assert np.array_equal(pomona.featurize(each for each in [PIXELS, PIXELS]), rows)  # type: ignore[arg-type]
    assert np.array_equal(pomona.featurize(np.stack([PIXELS, PIXELS])), rows)  # type: ignore[arg-type]
