"""pomona as a library, and its tables in other programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import pomona as api
from conftest import TABLES


def rows(table: pa.Table) -> list[dict[str, Any]]:
    return table.sort_by("path").to_pylist()  # type: ignore[no-any-return]


def test_a_script_without_a_main_guard(photos: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, pomona\n"
        "store = pomona.run(sys.argv[1], sys.argv[2], components=4, workers=2, limit=9)\n"
        "print(store.pca().array.shape)\n"
    )
    command = [sys.executable, str(script), str(photos), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "(9, 4)\n"
    assert "Error" not in done.stderr  # progress, on a slow machine


def test_featurize_gives_what_the_store_holds(photos: Path, finished: Path) -> None:
    store = api.open(finished)
    held = store.features()
    paths = [photos / path for path in held.paths]
    assert np.array_equal(api.featurize(paths, store.recipe), held.array)
    for at in (0, 17):
        with Image.open(paths[at]) as image:
            image.load()
        data, array = paths[at].read_bytes(), np.asarray(image.convert("RGB"))
        alike = api.featurize([str(paths[at]), data, image, array])
        assert np.array_equal(alike, held.array[[at] * 4])
        assert np.array_equal(api.featurize([data]), held.array[at : at + 1])


def test_project_gives_what_the_store_holds(finished: Path) -> None:
    store = api.open(finished)
    features, pca = store.features().array, store.pca().array
    assert np.array_equal(store.project(features), pca)
    for at in range(len(features)):
        assert np.array_equal(store.project(features[at : at + 1]), pca[at : at + 1])


@pytest.mark.parametrize("table", TABLES)
def test_other_programs_open_the_tables(finished: Path, table: str) -> None:
    folder = finished / table
    expected = rows(pq.read_table(folder))
    assert len(expected) == (0 if table == "errors" else 40)
    frame = pd.read_parquet(folder)
    assert (len(frame), list(frame["path"])) == (len(expected), [row["path"] for row in expected])
    assert pl.read_parquet(folder / "*.parquet").sort("path").to_dicts() == expected
    with duckdb.connect() as database:
        found = database.sql(f"from read_parquet('{folder}/*.parquet') order by path")
        assert found.columns == list(frame.columns)
        assert len(found.fetchall()) == len(expected)
