"""A store that pomona made before it was divided into rooms (commit ff5d8ae) stays usable.

`earlier/` holds 13 drawn images, one of them damaged, a store of them, and what the pomona of that
commit made of the store when one image was forgotten.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from conftest import Pomona, tables

EARLIER = Path(__file__).parent / "earlier"
FORGOTTEN = "Training/Apple Red 1/0_100.jpg"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """The images, with the modification times that the store knows them by."""
    folder = shutil.copytree(EARLIER / "photos", tmp_path / "photos")
    plan = pq.read_table(EARLIER / "store" / "_pomona" / "plan.parquet")
    for path, fingerprint in zip(
        plan["path"].to_pylist(), plan["fingerprint"].to_pylist(), strict=True
    ):
        modified_ns = int(fingerprint.partition("-")[0], 16)
        os.utime(folder / path, ns=(modified_ns, modified_ns))
    return folder


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    return shutil.copytree(EARLIER / "store", tmp_path / "store")


def rows(store: Path) -> dict[str, object]:
    """The rows and the footer of every table; the bytes also depend on Arrow's version."""
    read: dict[str, object] = {}
    for path in sorted(store.rglob("part-*.parquet")):
        table = pq.read_table(path)
        own = {key: value for key, value in table.schema.metadata.items() if b"pomona." in key}
        read[path.relative_to(store).as_posix()] = (table.to_pydict(), own)
    return read


def test_a_run_leaves_its_tables_alone(photos: Path, earlier: Path, pomona: Pomona) -> None:
    before = tables(earlier)
    pomona.done("run", photos, earlier, "--workers", "1", "--max-error-rate", "1")
    assert tables(earlier) == before
    runs = json.loads((earlier / "pomona.json").read_text())["runs"]
    assert [run["images"] for run in runs] == [13, 0]


def test_it_verifies(photos: Path, earlier: Path, pomona: Pomona) -> None:
    assert "OK: 13 images, 12 features, 1 error" in pomona.done("verify", earlier).stdout


def test_forget_does_what_it_did(earlier: Path, pomona: Pomona) -> None:
    pomona.done("forget", earlier, FORGOTTEN, "--keep-projection")
    assert rows(earlier) == rows(EARLIER / "forgotten")
