"""The commands that make features, as processes on real files."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image

import pomona as api
from conftest import Pomona, contents, draw_photos, tables


def manifest(store: Path) -> dict[str, Any]:
    return api.open(store).manifest


def rows(table: pa.Table) -> list[dict[str, Any]]:
    return table.sort_by("path").to_pylist()  # type: ignore[no-any-return]


def test_too_large_images_are_errors_until_the_limit_is_raised(
    pomona: Pomona, photos: Path, finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    pomona.done("run", photos, out, "--max-pixels", "2400", "--max-error-rate", "1", "--quiet")
    errors = api.open(out).errors().to_pylist()
    assert [row["reason"] for row in errors] == ["too_large"] * 13
    assert all(row["detail"].endswith(" pixels, more than 2,400") for row in errors)
    flags = ("--max-pixels", "1MP", "--retry-errors=all", "--refit", "--quiet")
    pomona.done("run", photos, out, *flags)
    assert tables(out) == tables(finished)
    store = api.run(photos, tmp_path / "other", max_pixels=2400, progress=False)
    assert len(store.errors()) == 13


def test_dry_run_says_what_would_be_done(pomona: Pomona, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = pomona.done("run", photos, out, "--dry-run").stdout
    assert f"40 images of 4 labels in {photos}, 40 to do" in result
    assert re.search(r"time +about .+ s ", result)
    assert re.search(r"disk +about 1 MB in ", result), "40 rows are less than their scatter"
    assert "Nothing was written." in result
    assert not out.exists()


def test_dry_run_on_a_finished_store(pomona: Pomona, photos: Path, finished: Path) -> None:
    before = contents(finished)
    result = json.loads(pomona.done("run", photos, finished, "--dry-run", "--json").stdout)
    counts = [result[name] for name in ("images", "to_do", "seconds", "disk_bytes")]
    assert counts == [40, 0, 0, 0]
    assert contents(finished) == before


def test_nothing_to_do_changes_nothing(pomona: Pomona, photos: Path, store: Path) -> None:
    before = contents(store)
    assert "Nothing to do" in pomona.done("run", photos, store).stdout
    assert contents(store) == before


def test_new_changed_touched_and_removed_images(
    pomona: Pomona, photos: Path, store: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(photos, source)
    for folder in source.rglob("*"):
        folder.chmod(0o755)
    source.chmod(0o755)
    run = ["run", source, store, "--workers", "2"]

    draw_photos(source, 3, seed=1)
    pomona.done(*run)
    assert [entry["images"] for entry in manifest(store)["runs"]] == [40, 3]

    changed = sorted(source.rglob("*.jpg"))[5]
    Image.effect_noise((30, 30), 60).save(changed)
    pomona.done(*run)
    assert manifest(store)["runs"][-1]["images"] == 1

    for path in source.rglob("*.*"):
        os.utime(path, (1, 1))
    pomona.done(*run, "--refit")
    assert manifest(store)["runs"][-1]["images"] == 0

    fresh = tmp_path / "fresh"
    pomona.done("run", source, fresh, "--workers", "2")
    mine, theirs = api.open(store), api.open(fresh)
    for table in ("metadata", "errors"):
        assert rows(getattr(mine, table)()) == rows(getattr(theirs, table)())
    assert rows(mine.features().table) == rows(theirs.features().table)
    own, other = mine.pca().table.sort_by("path"), theirs.pca().table.sort_by("path")
    assert own.drop_columns("pca").equals(other.drop_columns("pca"))
    np.testing.assert_allclose(
        np.array(own["pca"].to_pylist()), np.array(other["pca"].to_pylist()), atol=1e-3
    )

    before = contents(store)
    for path in sorted(source.rglob("*.png"))[:2]:
        path.unlink()
    ended = pomona.done(*run)
    assert "2 images of the store no longer in the source: kept; --sync" in ended.stderr
    assert contents(store) == before


def test_extract_then_reduce_equals_run(
    pomona: Pomona, photos: Path, finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    pomona.done("extract", photos, out, "--workers", "2")
    assert not (out / "pca").exists()
    pomona.done("reduce", out, "--components", "5", "--workers", "1")
    assert api.open(out).pca().array.shape == (40, 5)
    assert manifest(out)["pca"]["requested"] == {"components": 5}
    pomona.done("reduce", out, "--variance", "0.9", "--workers", "1")
    assert tables(out) == tables(finished)


def test_less_variance_without_csv_then_with_it(pomona: Pomona, store: Path) -> None:
    before = manifest(store)["pca"]
    csv = contents(store / "csv")
    assert set(csv) >= {"pca/part-00000.csv", "metadata/part-00000.csv", "errors/part-00000.csv"}
    reduce = ["reduce", store, "--workers", "1"]
    result = json.loads(pomona.done(*reduce, "--no-csv", "--variance", "0.5", "--json").stdout)
    after = manifest(store)["pca"]
    assert (result["worked"], result["components"]) == (True, after["components"])
    assert after["components"] < before["components"]
    assert 0.5 <= after["variance_explained"] < before["variance_explained"]
    assert not (store / "csv").exists()
    assert "Nothing to do" in pomona.done(*reduce).stdout, "csv/ stays away until it is asked for"

    pomona.done(*reduce, "--csv")
    assert set(contents(store / "csv")) == set(csv)
    first = pd.read_csv(store / "csv" / "pca" / "part-00000.csv")
    assert list(first.columns[:4]) == ["path", "label", "split", "pc_1"]
    assert len(first.columns) == 3 + after["components"]
    assert contents(store / "csv" / "metadata") == {
        name.removeprefix("metadata/"): data
        for name, data in csv.items()
        if name.startswith("metadata/")
    }


def test_labels_are_read_from_a_file(pomona: Pomona, photos: Path, tmp_path: Path) -> None:
    paths = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("photo*"))
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label\n" + "".join(f'"{path}","é, {path[-5]}"\n' for path in paths[1:]))
    command = ["extract", photos, tmp_path / "out", "--labels", labels, "--workers", "1"]
    ended = pomona.done(*command)
    assert "1 image without a label: not in labels.csv" in ended.stderr
    assert ended.stdout.startswith("40 images done in ")
    assert "\x1b" not in ended.stdout + ended.stderr, "only a terminal gets colours and bars"
    found = api.open(tmp_path / "out").features()
    assert dict(zip(found.paths, found.labels, strict=True)) == {
        paths[0]: None,
        **{path: f"é, {path[-5]}" for path in paths[1:]},
    }


def test_imported_features_can_be_reduced(pomona: Pomona, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["import-features", finished / "features", out]
    pomona.done(*command)
    assert "Nothing to do" in pomona.done(*command).stdout
    pomona.done("reduce", out, "--components", "7", "--workers", "1")
    mine, theirs = api.open(out), api.open(finished)
    assert np.array_equal(mine.features().array, theirs.features().array)
    assert mine.features().labels == theirs.features().labels
    assert mine.pca().array.shape == (40, 7)
