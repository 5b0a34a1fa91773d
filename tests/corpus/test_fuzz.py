"""The fuzzer: a short run of it finds nothing, and it finds what is planted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fuzz import Findings, fuzz
from PIL import Image

from damage import damaged
from drawn import encode

PLANTED = Path(__file__).parents[1] / "planted"

pytestmark = pytest.mark.needs("linux")


def test_a_thousand_damaged_images_are_pixels_or_errors(tmp_path: Path) -> None:
    found = fuzz((damaged(2, number) for number in range(1000)), tmp_path)
    assert found.faults == {}
    assert found.images == 1000
    assert found.outcomes["pixels"] > 100
    assert len(found.outcomes) >= 6
    assert found.peak_mb > 0


def test_a_crash_and_a_hang_are_found_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PLANTED), prepend=os.pathsep)
    image = Image.new("RGB", (8, 8))
    images = {mark: encode(image, "JPEG", comment=mark) for mark in (b"crash", b"fine", b"hang")}
    found: Findings = fuzz(
        ((f"{mark.decode()}.jpg", data) for mark, data in images.items()), tmp_path, timeout_s=2
    )
    assert found.faults == {"crash.jpg": "crashed", "hang.jpg": "timed_out"}
    assert found.outcomes["pixels"] == 1
    assert (tmp_path / "crash.jpg").read_bytes() == images[b"crash"]
