"""Real photographs and real features: POMONA_DATA, or ../shared/data beside the project."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest

import pomona
from conftest import REAL, tables, unpack_fruits
from machine import DATA
from pomona.backbones.runtimes.registry import RUNTIMES
from pomona.errors import BackboneError
from pomona.images.prefetch import ImageRequest
from pomona.images.scan import scan
from pomona.images.sources.pack import PackSource
from pomona.images.sources.pack_format import open_pack
from pomona.store.folders.local import LocalFolder
from pomona.store.plan import make_plan, shards

pytestmark = REAL


def pomona_json(*args: str | Path) -> dict[str, Any]:
    """What `pomona … --json` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "pomona", *args, "--json"],
        capture_output=True,
        text=True,
        timeout=900,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def fruits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack_fruits(tmp_path_factory.mktemp("real"))


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One photograph in eight: 1,089, of every variety, in 20 parts."""
    return unpack_fruits(tmp_path_factory.mktemp("some"), every=8)


@pytest.fixture(scope="module")
def some_out(some: Path) -> Path:
    out = some.parent / "out"
    pomona_json("run", some, out, "--workers", "2")
    return out


@pytest.fixture(scope="module")
def out(fruits: Path) -> Path:
    out = fruits.parent / "out"
    pomona_json("run", fruits, out, "--workers", "2")
    return out


def test_every_photograph_gives_a_row(fruits: Path, out: Path) -> None:
    store = pomona.open(out)
    table = store.features().table
    paths = table["path"].to_pylist()
    images = list(fruits.rglob("*.jpg"))
    assert len(images) == 8710
    assert paths == sorted(str(path.relative_to(fruits)) for path in images)
    assert Counter(table["split"].to_pylist()) == {"Training": 6700, "Test": 2010}
    assert len(set(table["label"].to_pylist())) == 67
    assert any(" " in path for path in paths)
    assert store.errors().num_rows == 0
    assert np.isfinite(store.features().array).all()


def test_the_manifest_counts_every_photograph(out: Path) -> None:
    manifest = json.loads((out / "pomona.json").read_text())
    assert manifest["totals"] == {"images": 8710, "features": 8710, "errors": 0, "labels": 67}
    assert manifest["recipe"]["backbone"] == "efficientnet_lite0"
    assert manifest["recipe"]["width"] == 1280
    assert manifest["pca"]["variance_explained"] >= 0.90
    [run] = manifest["runs"]
    assert run["images"] == 8710
    assert 0 < run["peak_memory_mb"]["worker"] < 600
    assert 0 < run["peak_memory_mb"]["driver"] < 400


def test_every_table_opens_with_the_usual_readers(out: Path) -> None:
    for table, rows in {"features": 8710, "pca": 8710, "metadata": 8710, "errors": 0}.items():
        assert len(pd.read_parquet(out / table)) == rows
        assert pl.read_parquet(out / table).height == rows
        assert len(duckdb.read_parquet(f"{out / table}/*.parquet")) == rows
    spreadsheet = pd.concat(pd.read_csv(part) for part in sorted((out / "csv/pca").iterdir()))
    components = pomona.open(out).pca().array.shape[1]
    assert list(spreadsheet.columns) == [
        "path",
        "label",
        "split",
        *(f"pc_{number}" for number in range(1, components + 1)),
    ]
    np.testing.assert_array_equal(
        spreadsheet.iloc[:, 3:].to_numpy(np.float32), pomona.open(out).pca().array
    )


def test_another_number_of_workers_elsewhere_gives_the_same_bytes(
    some: Path, some_out: Path, tmp_path: Path
) -> None:
    pomona_json("run", some, tmp_path / "elsewhere", "--workers", "3")
    assert tables(tmp_path / "elsewhere") == tables(some_out)


def test_another_number_of_workers_fits_the_same_projection(out: Path, tmp_path: Path) -> None:
    """Of all photographs: their moments are of five groups of parts."""
    store = Path(shutil.copytree(out, tmp_path / "store"))
    shutil.rmtree(store / "pca")
    pomona_json("reduce", store, "--refit", "--workers", "3")
    assert tables(store) == tables(out)


def test_bfloat16_features_are_nearly_the_same(fruits: Path, out: Path) -> None:
    try:
        RUNTIMES["openvino"].check_machine("bfloat16")
    except BackboneError as exc:
        pytest.skip(str(exc))
    rows = pomona.open(out).features()
    recipe = replace(pomona.open(out).recipe, runtime="openvino", precision="bfloat16")
    made = pomona.featurize([fruits / path for path in rows.paths[::20]], recipe)
    expected = rows.array[::20]
    products = (made * expected).sum(1, np.float64)
    cosines = products / np.linalg.norm(made, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() > 0.995


def test_forgotten_photographs_leave_no_trace(some: Path, some_out: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(some_out, tmp_path / "store"))
    paths = pomona.open(some_out).features().paths[::12]
    # Some photographs are in the data set twice: a row of another one's too is no trace.
    rows = [row.tobytes() for row in pomona.open(some_out).features().array]
    rows = [row for row in rows[::12] if rows.count(row) == 1]
    assert len(rows) > 80
    (tmp_path / "list").write_text("\n".join(paths))
    pomona_json("forget", store, "--from", tmp_path / "list")
    assert pomona_json("verify", store)["findings"] == []
    for file in filter(Path.is_file, store.rglob("*")):
        data = file.read_bytes()
        assert not [row for row in rows if row in data]
        if file.suffix == ".parquet":
            assert not set(paths) & set(pd.read_parquet(file)["path"])
        else:
            assert not [name for name in paths if name.encode() in data]

    left = shutil.copytree(some, tmp_path / "left")
    for path in paths:
        (left / path).unlink()
    pomona_json("run", left, tmp_path / "fresh", "--no-csv")
    mine, fresh = (pomona.open(one).projection for one in (store, tmp_path / "fresh"))
    for name in ("mean", "components", "variances"):
        np.testing.assert_allclose(getattr(mine, name), getattr(fresh, name), rtol=0, atol=1e-9)


def test_features_tell_the_varieties_apart(out: Path) -> None:
    """The nearest training photograph on the principal components has the right variety."""
    from sklearn.neighbors import KNeighborsClassifier

    rows = pomona.open(out).pca()
    labels, splits = np.array(rows.labels), np.array(rows.splits)
    train, test = splits == "Training", splits == "Test"
    nearest = KNeighborsClassifier(1).fit(rows.array[train], labels[train])
    assert nearest.score(rows.array[test], labels[test]) > 0.95


@pytest.fixture(scope="module")
def taught(out: Path) -> Path:
    """A copy of `out` with a classifier."""
    store = Path(shutil.copytree(out, out.parent / "taught"))
    pomona_json("train", store)
    return store


def test_the_classifier_is_as_good_as_the_best_fitted_by_hand(taught: Path) -> None:
    """The best of a search on the test rows themselves has these settings."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, f1_score

    told = pd.read_parquet(taught / "classifier" / "predictions.parquet")
    figures = json.loads((taught / "classifier" / "evaluation.json").read_text())["figures"]
    accuracy = accuracy_score(told.label, told.predicted)
    assert figures["accuracy"]["value"] == pytest.approx(accuracy, abs=1e-12)
    macro = f1_score(told.label, told.predicted, average="macro")
    assert figures["macro_f1"]["value"] == pytest.approx(macro, abs=1e-12)

    rows = pomona.open(taught).pca()
    labels, paths = np.array(rows.labels), np.array(rows.paths)
    train, test = np.array(rows.splits) == "Training", np.isin(paths, told.path)
    by_hand = LogisticRegression(C=1.0, max_iter=500).fit(rows.array[train], labels[train])
    assert accuracy >= by_hand.score(rows.array[test], labels[test]) - 0.002


def test_probabilities_and_thresholds_hold_on_the_test_photographs(taught: Path) -> None:
    told = pd.read_parquet(taught / "classifier" / "predictions.parquet")
    right = (told.label == told.predicted).to_numpy()
    probability = told.probability.to_numpy()
    bins = np.minimum((probability * 15).astype(int), 14)
    gaps = [
        (bins == each).mean() * abs(probability[bins == each].mean() - right[bins == each].mean())
        for each in np.unique(bins)
    ]
    assert sum(gaps) <= 0.02
    evaluation = json.loads((taught / "classifier" / "evaluation.json").read_text())
    [sure] = [each for each in evaluation["thresholds"] if each["wanted"] == 0.999]
    answered = probability >= sure["threshold"]
    assert answered.mean() > 0.5
    assert right[answered].mean() >= 0.999


def test_swapped_labels_are_the_first_suspects(taught: Path, tmp_path: Path) -> None:
    rows = pomona.open(taught).pca()
    rng = np.random.default_rng(7)
    training = [row for row, split in enumerate(rows.splits) if split == "Training"]
    names = sorted({str(label) for label in rows.labels})
    swapped = rng.choice(training, len(training) // 50, replace=False)
    wrong = {
        rows.paths[row]: rng.choice([name for name in names if name != rows.labels[row]])
        for row in swapped
    }
    pd.DataFrame({"path": wrong.keys(), "label": wrong.values()}).to_csv(
        tmp_path / "labels.csv", index=False
    )
    store = Path(shutil.copytree(taught, tmp_path / "store"))
    relabelled = ("--labels", tmp_path / "labels.csv", "--model", "lda")
    pomona_json("train", store, *relabelled)
    suspects = pd.read_csv(store / "classifier" / "suspects.csv").path
    assert suspects[: len(wrong)].isin(wrong.keys()).mean() >= 0.8
    clean = pd.read_csv(taught / "classifier" / "suspects.csv")
    assert len(clean) < 40


def test_features_from_elsewhere_become_a_store(tmp_path: Path) -> None:
    out = tmp_path / "apples"
    imported = pomona_json("import-features", DATA / "mobilenetv2-apples-features.parquet", out)
    assert imported["features"] == 6404
    reduced = pomona_json("reduce", out, "--components", "50")
    # Spark MLlib in float64 on a cluster, the same table
    assert reduced["variance_explained"] == pytest.approx(0.8339713570325519, abs=1e-10)
    assert pomona.open(out).pca().array.shape == (6404, 50)


def test_a_pack_has_every_photograph_at_a_hundredth_of_the_requests(fruits: Path) -> None:
    dest = fruits.parent / "pack"
    assert pomona_json("pack", fruits, dest)["images"] == 8_710
    requests = []

    class Counting(LocalFolder):
        def read(self, name: str) -> bytes:
            requests.append(name)
            return super().read(name)

        def read_range(self, name: str, start: int, size: int) -> bytes:
            requests.append(name)
            return super().read_range(name, start, size)

    pack = open_pack(Counting(dest))
    assert pack is not None
    source = PackSource(pack)
    catalog = source.scan().catalog
    assert catalog.equals(scan(fruits).catalog)
    for shard in shards(make_plan(catalog)):
        images = shard.images.to_pylist()
        source.expect(ImageRequest(image["path"], None, 0) for image in images)
        for image in images:
            data = source.fetch(image["path"], image["fingerprint"])
            assert data == (fruits / image["path"]).read_bytes()
    assert len(requests) <= 87
