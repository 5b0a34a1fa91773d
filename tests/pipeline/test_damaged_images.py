"""Damaged images in a run: error rows, or taken and counted where the user allows them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import pomona as api
from conftest import Pomona, draw_photos
from pomona.errors import ImageError


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve photographs, two of which have lost some of their pixels."""
    folder = draw_photos(tmp_path_factory.mktemp("damaged") / "photos", 12)
    for path in sorted(folder.rglob("*.jpg"))[:2]:
        path.write_bytes(path.read_bytes()[:-150] + b"\xff\xd9")
    return folder


def test_damaged_images_are_errors_until_they_are_allowed_and_then_counted(
    pomona: Pomona, damaged: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ("run", damaged, out, "--workers", "1", "--max-error-rate", "1")
    pomona.done(*command)
    errors = pq.read_table(out / "errors").to_pylist()
    assert [row["reason"] for row in errors] == ["damaged"] * 2
    assert all("premature end" in row["detail"] for row in errors)
    for row in errors:
        with pytest.raises(ImageError, match="damaged"):
            api.featurize([damaged / row["path"]])
    taken = pomona.done(*command, "--allow-damaged", "--retry-errors=all")
    assert "2 damaged images taken" in taken.stderr
    assert pq.read_table(out / "errors").num_rows == 0
    assert pq.read_table(out / "features").num_rows == 12
    [_, run] = json.loads((out / "pomona.json").read_text())["runs"]
    assert run["damaged"] == 2
    assert "2 damaged images taken" in (out / "report.html").read_text()
