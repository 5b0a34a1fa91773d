"""DICOM: pixels as the tags say that they are shown, from pydicom's samples and files made here."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from decoding import refusal
from pydicom.data import get_testdata_file
from pydicom.pixels.processing import apply_color_lut, apply_voi_lut

from pomona.errors import ImageError
from pomona.images import formats
from pomona.images.decode import decode
from pomona.images.scan import scan
from pomona.images.stripping.strip import strip_metadata


def sample(name: str) -> bytes:
    return Path(str(get_testdata_file(name, download=False))).read_bytes()


def made(stored: np.ndarray[Any, Any], **tags: Any) -> bytes:
    """A CT of pydicom's with other pixels and tags; a tag that is None is left out."""
    dataset = pydicom.dcmread(io.BytesIO(sample("CT_small.dcm")))
    dataset.Rows, dataset.Columns = stored.shape
    dataset.PixelData = stored.tobytes()
    dataset.BitsAllocated = dataset.BitsStored = 8 * stored.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


STEPS = np.array([[0, 100, 200, 300, 400]], np.int16)
PLAIN = {"RescaleSlope": 1, "RescaleIntercept": 0}


def grey(data: bytes) -> list[int]:
    values: list[int] = decode(data).pixels[0, :, 0].tolist()
    return values


def test_the_window_of_the_tags_is_taken() -> None:
    # Of centre c and width w: black up to c - 0.5 - (w - 1) / 2 (DICOM PS3.3, C.11.2.1.2).
    data = made(STEPS, **PLAIN, WindowCenter=200.5, WindowWidth=201)
    assert grey(data) == [0, 0, 128, 255, 255]
    assert grey(made(STEPS, **PLAIN, WindowCenter=[200.5, 9], WindowWidth=[201, 9])) == grey(data)
    assert grey(made(STEPS, **PLAIN, WindowCenter=200, WindowWidth=400,
                     VOILUTFunction="LINEAR_EXACT")) == [0, 64, 128, 191, 255]  # fmt: skip
    sigmoid = made(STEPS, **PLAIN, WindowCenter=200, WindowWidth=400, VOILUTFunction="SIGMOID")
    assert grey(sigmoid)[2] == 128
    assert 0 < grey(sigmoid)[0] < grey(sigmoid)[1]


def test_a_window_is_of_values_that_are_rescaled() -> None:
    data = made(STEPS, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=-599.5, WindowWidth=401)
    assert grey(data) == [0, 0, 128, 255, 255]


def test_without_a_window_the_range_of_the_frame_is_taken() -> None:
    assert grey(made(STEPS, **PLAIN)) == [0, 64, 128, 191, 255]
    padded = made(np.array([[-2000, 0, 50, 100]], np.int16), **PLAIN)
    assert grey(padded) == [0, 0, 128, 255]
    assert grey(made(np.array([[7, 70, 200]], np.uint8), **PLAIN)) == [7, 70, 200]


def test_monochrome1_is_turned_over() -> None:
    data = made(STEPS, **PLAIN, PhotometricInterpretation="MONOCHROME1")
    assert grey(data) == [255, 191, 128, 64, 0]


@pytest.mark.parametrize(
    "name", ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm",
             "MR_small_jp2klossless.dcm", ],
)  # fmt: skip
def test_compressions_and_orders_of_bytes_give_the_same_pixels(name: str) -> None:
    decoded = decode(sample(name))
    assert (decoded.format, decoded.width, decoded.height) == ("DICOM", 64, 64)
    assert np.array_equal(decoded.pixels, decode(sample("MR_small_implicit.dcm")).pixels)
    # pydicom windows to the range of the stored values.
    shown = apply_voi_lut(
        pydicom.dcmread(io.BytesIO(sample(name))).pixel_array,
        dataset := pydicom.dcmread(io.BytesIO(sample(name))),
    )
    low, high = (-(2.0 ** (dataset.BitsStored - 1)), 2.0 ** (dataset.BitsStored - 1) - 1)
    expected = 255 * (shown - low) / (high - low)
    assert np.abs(decoded.pixels[..., 0] - expected).max() <= 1


@pytest.mark.parametrize(
    "name", ["SC_rgb_rle.dcm", "SC_rgb_rle_16bit_2frame.dcm", "SC_rgb_jpeg_dcmtk.dcm",
             "SC_ybr_full_422_uncompressed.dcm", ],
)  # fmt: skip
def test_colours_are_those_of_the_uncompressed_file(name: str) -> None:
    # Bars of red, green, blue, black and grey; of two frames the first is upright.
    red = decode(sample(name)).pixels[5, 50].astype(int)
    assert np.abs(red - (255, 0, 0)).max() <= 3


def test_a_palette_gives_colours() -> None:
    data = sample("examples_palette.dcm")
    dataset = pydicom.dcmread(io.BytesIO(data))
    wide = apply_color_lut(dataset.pixel_array, dataset)
    assert np.array_equal(decode(data).pixels, wide >> 8 * (wide.itemsize - 1))


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    for name in ("IM00001.dcm", "a.jpg"):
        (tmp_path / name).write_bytes(sample("MR_small.dcm"))
    assert scan(tmp_path).catalog["path"].to_pylist() == ["IM00001.dcm", "a.jpg"]
    assert decode((tmp_path / "a.jpg").read_bytes()).format == "DICOM"


def test_without_the_extra_the_reason_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    monkeypatch.delitem(sys.modules, "pomona.images.dicom", raising=False)
    formats._set_up.cache_clear()
    try:
        error = refusal(sample("MR_small.dcm"))
    finally:
        formats._set_up.cache_clear()
    assert (error.reason, error.detail) == (
        "unsupported",
        'DICOM: pip install "pomona[dicom]", on executors as well',
    )


def test_what_has_no_pixels_or_not_all_is_refused_without_a_quotation() -> None:
    assert refusal(sample("rtplan.dcm")).detail == "DICOM without pixels is unsupported"
    assert refusal(sample("MR_truncated.dcm")).reason in ("corrupt", "truncated")


def test_a_compression_that_nothing_here_decodes_is_unsupported() -> None:
    error = refusal(sample("MR_small_jpeg_ls_lossless.dcm"))
    assert (error.reason, error.detail) == ("unsupported", "unsupported compression in DICOM")


def test_too_large_is_said_before_pixels_are_read() -> None:
    data = made(STEPS, **PLAIN, Rows=60_000, Columns=60_000)
    assert refusal(data).reason == "too_large"


def test_a_deflated_file_is_inflated_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    data = sample("image_dfl.dcm")
    assert decode(data).width == 512
    monkeypatch.setattr("pomona.images.dicom._MOST_INFLATED", 1000)
    assert refusal(data).detail == "its DICOM tags cannot be read"


def test_pydicom_says_nothing_of_what_is_in_a_file(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        for data in (sample("CT_small.dcm"), sample("badVR.dcm"), sample("MR_truncated.dcm")):
            for end in range(400, len(data), len(data) // 5):
                with pytest.raises(ImageError):
                    decode(data[:end])
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""


def test_metadata_is_not_taken_out_but_refused() -> None:
    with pytest.raises(ImageError, match="no stripper for DICOM"):
        strip_metadata(sample("MR_small.dcm"))
