"""The recipe "to add a format": PPM, added from here, goes the whole way of an image."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pomona
from conftest import draw_photos
from drawn import encode, noise
from pomona.errors import ImageError
from pomona.images import formats
from pomona.images.decode import decode
from pomona.images.formats import Format
from pomona.images.scan import scan
from pomona.images.stripping.strip import strip_metadata

PPM = Format("PPM", extensions=(".ppm",), magic=rb"P6\s")
WITH_STRIPPER = Format(
    "PPM", extensions=(".ppm",), magic=rb"P6\s", stripper="test_add_format:strip_ppm"
)
# A worker is another process, and adds the format when it starts.
IN_A_WORKER = f"""
from pomona.images.formats import FORMATS, Format
FORMATS.append({PPM!r})
"""


def strip_ppm(data: bytes) -> bytes:
    """Takes out the comment, which is the second line."""
    magic, _, pixels = data.split(b"\n", 2)
    return magic + b"\n" + pixels


@pytest.fixture
def ppm(monkeypatch: pytest.MonkeyPatch) -> Format:
    monkeypatch.setattr(formats, "FORMATS", [*formats.FORMATS, PPM])
    return PPM


def test_without_the_entry_it_is_not_an_image(tmp_path: Path) -> None:
    (tmp_path / "1.ppm").write_bytes(encode(noise(9, 7), "PPM"))
    assert scan(tmp_path).skipped == {"named *.ppm": 1}
    with pytest.raises(ImageError, match="not_an_image"):
        decode(encode(noise(9, 7), "PPM"))


@pytest.mark.usefixtures("ppm")
def test_it_is_found_and_decoded(tmp_path: Path) -> None:
    (tmp_path / "1.PPM").write_bytes(encode(noise(9, 7), "PPM"))
    assert scan(tmp_path).catalog["path"].to_pylist() == ["1.PPM"]
    decoded = decode((tmp_path / "1.PPM").read_bytes())
    assert np.array_equal(decoded.pixels, noise(9, 7))
    assert (decoded.format, decoded.width, decoded.height) == ("PPM", 7, 9)


@pytest.mark.usefixtures("ppm")
@pytest.mark.parametrize(
    ("data", "reason"), [(encode(noise(9, 7), "PPM")[:60], "truncated"), (b"P6 x", "corrupt")]
)
def test_its_damaged_files_are_told_from_other_files(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode(data)
    assert (caught.value.stage, caught.value.reason) == ("decode", reason)


@pytest.mark.usefixtures("ppm")
def test_without_a_stripper_it_is_refused_where_metadata_must_go() -> None:
    with pytest.raises(ImageError) as caught:
        strip_metadata(encode(noise(9, 7), "PPM"))
    assert (caught.value.stage, caught.value.reason) == ("strip", "unsupported")
    assert caught.value.detail == "no stripper for PPM"


def test_with_a_stripper_its_metadata_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "FORMATS", [*formats.FORMATS, WITH_STRIPPER])
    plain = encode(noise(9, 7), "PPM")
    commented = plain.replace(b"P6\n", b"P6\n# taken at home\n", 1)
    assert strip_metadata(commented) == plain


@pytest.mark.usefixtures("ppm")
def test_it_runs_through_worker_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = draw_photos(tmp_path / "photos", 8)
    pixels = noise(40, 30)
    Image.fromarray(pixels).save(source / "new.ppm")
    Image.fromarray(pixels).save(source / "same.png")
    planted = tmp_path / "planted"
    planted.mkdir()
    (planted / "sitecustomize.py").write_text(IN_A_WORKER)
    monkeypatch.setenv("PYTHONPATH", str(planted), prepend=os.pathsep)
    store = pomona.run(source, tmp_path / "store", workers=2)
    assert not len(store.errors())
    features = dict(zip(store.features().paths, store.features().array, strict=True))
    assert len(features) == 10
    assert np.array_equal(features["new.ppm"], features["same.png"])
    rows = {row["path"]: row for row in store.metadata().to_pylist()}
    assert (rows["new.ppm"]["format"], rows["new.ppm"]["width"]) == ("PPM", 30)
