"""What a classifier cannot be made of: one line each, and nothing changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pomona as pomona_package
from conftest import Here, Pomona, contents
from pomona.errors import PomonaError, StoreBusyError, StoreDamagedError, StoreError, UsageError
from pomona.learning.classifier import Classifier
from pomona.learning.export import export
from pomona.learning.settings import TrainSettings
from pomona.learning.train import train
from pomona.maintenance.import_features import import_features
from pomona.pipeline.context import RunSettings
from pomona.pipeline.run import reduce
from pomona.pipeline.settings import ReduceSettings
from pomona.store.store import Store


def write_features(file: Path, labels: Sequence[str | None], *, seed: int = 0) -> Path:
    """A file of features that tell the labels apart, to be imported."""
    rng = np.random.default_rng(seed)
    names = sorted({label for label in labels if label})
    centres = rng.normal(size=(len(names) + 1, 12)) * 3
    at = [names.index(label) if label else -1 for label in labels]
    x = (centres[at] + rng.normal(size=(len(labels), 12))).astype(np.float32)
    table = pa.table(
        {
            "path": [f"{row:04d}.jpg" for row in range(len(labels))],
            "label": pa.array(list(labels), pa.string()),
            "features": pa.FixedSizeListArray.from_arrays(x.ravel(), 12),
        }
    )
    pq.write_table(table, file)
    return file


def make_store(folder: Path, labels: Sequence[str | None], *, components: int | None = 6) -> Path:
    """A store of imported features, with PCA if `components` says so."""
    out = folder / "store"
    import_features(write_features(folder / "features.parquet", labels), out, RunSettings(Here()))
    if components:
        reduce(out, ReduceSettings(components=components), RunSettings(Here()))
    return out


def learn(folder: Path, **settings: Any) -> dict[str, Any]:
    return train(folder, TrainSettings(**{"model": "lda", **settings}), RunSettings(Here()))


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three labels with a classifier; not to be changed."""
    out = make_store(tmp_path_factory.mktemp("imported"), ["a", "b", "c"] * 40)
    learn(out)
    return out


@pytest.fixture
def store(imported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(imported, tmp_path / "store"))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([None] * 20, "no image of .* has a label: give them with `labels`"),
        (["a"] * 20, "only the label 'a', a classifier needs two"),
        ([f"label {at}" for at in range(20)], "fewer than two labels with more than one image"),
    ],
)
def test_labels_that_allow_no_classifier(
    tmp_path: Path, labels: Sequence[str | None], words: str
) -> None:
    out = make_store(tmp_path, labels)
    with pytest.raises(StoreError, match=words):
        learn(out)
    assert not (out / "classifier").exists()


def test_labels_of_one_image_are_left_out(tmp_path: Path) -> None:
    facts = learn(make_store(tmp_path, ["a", "b"] * 30 + ["rare"]))
    assert facts["labels"] == ["a", "b"]


def test_a_store_without_pca_learns_from_features(tmp_path: Path) -> None:
    out = make_store(tmp_path, ["a", "b"] * 30, components=None)
    with pytest.raises(StoreError, match=r"has no PCA.*`pomona reduce"):
        learn(out)
    assert learn(out, on="features")["projection"] is None
    Classifier.read(Store(out))


def test_a_damaged_part(store: Path) -> None:
    part = min((store / "pca").iterdir())
    part.write_bytes(part.read_bytes()[:-20])
    before = contents(store / "classifier")
    with pytest.raises(StoreDamagedError, match="is damaged: delete it and run"):
        learn(store)
    assert contents(store / "classifier") == before


def test_a_missing_part(store: Path) -> None:
    part = min((store / "pca").iterdir())
    part.unlink()
    with pytest.raises(StoreError, match="is not complete, its run was stopped"):
        learn(store)


def test_imported_features_train_but_cannot_be_exported(store: Path, tmp_path: Path) -> None:
    assert pomona_package.open(store).classifier.labels == ["a", "b", "c"]
    with pytest.raises(PomonaError, match="were imported"):
        export(store, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "net"}, "`model` net: choose auto, logistic"),
        ({"on": "csv"}, "`on` csv: choose pca or features"),
    ],
)
def test_wrong_settings(store: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        learn(store, **settings)


def test_a_projection_that_has_changed(store: Path) -> None:
    reduce(store, ReduceSettings(components=3), RunSettings(Here()))
    with pytest.raises(StoreError, match="has changed since its classifier was trained"):
        Classifier.read(Store(store))
    learn(store, groups="none")
    Classifier.read(Store(store))


def test_a_classifier_of_a_later_version(store: Path) -> None:
    file = store / "classifier" / "classifier.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 99}))
    with pytest.raises(StoreError, match=r"of a later version of pomona \(format 99\): upgrade"):
        Classifier.read(Store(store))


@pytest.mark.parametrize("name", ["classifier.json", "model.onnx"])
def test_a_damaged_classifier(store: Path, name: str) -> None:
    file = store / "classifier" / name
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(StoreDamagedError, match=rf"{name} is missing or damaged: `pomona train"):
        Classifier.read(Store(store))
    learn(store)
    Classifier.read(Store(store))


def test_no_classifier(tmp_path: Path) -> None:
    out = make_store(tmp_path, ["a", "b"] * 30)
    with pytest.raises(StoreError, match="has no classifier: run `pomona train"):
        Classifier.read(Store(out))


def test_nothing_left_to_test(tmp_path: Path) -> None:
    out = make_store(tmp_path, ["a", "b"] * 30)
    lines = [f"{row:04d}.jpg,{'ab'[row % 2]}" for row in range(60)]
    (tmp_path / "groups.csv").write_text("path,group\n" + "\n".join(lines) + "\n")
    with pytest.raises(StoreError, match="is left to test a classifier on: add images"):
        learn(out, groups=tmp_path / "groups.csv")
    assert not (out / "classifier").exists()


def test_two_at_once(store: Path) -> None:
    with Store(store).lock("pomona train elsewhere"), pytest.raises(StoreBusyError):
        learn(store)


def test_a_command_says_it_in_a_line(pomona: Pomona, store: Path, tmp_path: Path) -> None:
    groups = tmp_path / "groups.csv"
    groups.write_text("path,group\n0000.jpg,a\n")
    ended = pomona("train", store, "--groups", groups)
    assert ended.status == 1
    assert "names no group for 119 of 120 labelled images, such as '0001.jpg'" in ended.complaint
    ended = pomona("train", tmp_path / "nowhere")
    assert ended.status == 1
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "nowhere").exists()
