"""`pomona train` and `pomona evaluate`, as a user runs them, on drawn photographs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import pomona as pomona_package
from conftest import Here, Pomona, contents
from pomona.learning.settings import TrainSettings
from pomona.learning.train import train
from pomona.pipeline.context import RunSettings
from pomona.progress import Progress
from pomona.store.layout import CLASSIFIER_MODEL

pytest_plugins = ("fruit_store",)


@pytest.fixture(scope="module")
def taught(pomona: Pomona, fruit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with its classifier, as `pomona train` leaves it; not to be changed."""
    folder = Path(shutil.copytree(fruit, tmp_path_factory.mktemp("taught") / "store"))
    ended = pomona.done("train", folder, "--json")
    assert json.loads(ended.stdout) == facts_of(folder)
    return folder


@pytest.fixture
def store(taught: Path, tmp_path: Path) -> Path:
    """A store with a classifier, to do with as one likes."""
    return Path(shutil.copytree(taught, tmp_path / "store"))


@pytest.fixture
def trained(taught: Path) -> dict[str, Any]:
    """What classifier.json says."""
    return facts_of(taught)


def facts_of(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / "classifier" / "classifier.json").read_bytes())
    return facts


def train_here(folder: Path, **settings: Any) -> tuple[dict[str, Any], Said]:
    """Trains in this process; returns what classifier.json says, and what was said."""
    said = Said()
    run = RunSettings(Here("local"), said)
    return train(folder, TrainSettings(**{"model": "lda", **settings}), run), said


class Said(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def note(self, message: str) -> None:
        self.text += f"{message}\n"

    warn = note


def test_a_classifier_is_chosen_measured_and_stored(store: Path, trained: dict[str, Any]) -> None:
    assert trained["labels"] == sorted(
        {str(label) for label in pomona_package.open(store).pca().labels}
    )
    assert sum(each["is_chosen"] for each in trained["comparison"]) == 1
    files = {path.name for path in (store / "classifier").iterdir()}
    assert {
        "classifier.json",
        "evaluation.html",
        "evaluation.json",
        "model.onnx",
        "predictions.parquet",
        "suspects.csv",
    } <= files
    table = pq.read_table(store / "classifier" / "predictions.parquet")
    assert table.column_names == ["path", "label", "predicted", "probability"]
    right = np.equal(table["label"].to_pylist(), table["predicted"].to_pylist())
    assert trained["figures"]["accuracy"]["value"] == pytest.approx(right.mean())
    assert trained["rows"]["test"] == table.num_rows
    assert right.mean() > 0.8


def test_copies_of_training_images_are_left_out_of_the_figures(
    store: Path, trained: dict[str, Any]
) -> None:
    told = set(pq.read_table(store / "classifier" / "predictions.parquet")["path"].to_pylist())
    metadata = pq.read_table(store / "features").to_pylist()
    learned = {row["sha256"] for row in metadata if row["split"] == "Training"}
    copied = {r["path"] for r in metadata if r["split"] == "Test" and r["sha256"] in learned}
    assert trained["rows"]["copied"] == len(copied) > 0
    assert not told & copied


def test_the_stored_graph_is_what_is_asked(store: Path, trained: dict[str, Any]) -> None:
    session = onnxruntime.InferenceSession(store / CLASSIFIER_MODEL)
    rows = pomona_package.open(store).pca()
    label, probabilities = session.run(["label", "probabilities"], {"rows": rows.array})
    table = pq.read_table(store / "classifier" / "predictions.parquet").to_pylist()
    places = {path: at for at, path in enumerate(rows.paths)}
    for row in table:
        at = places[row["path"]]
        assert trained["labels"][label[at]] == row["predicted"]
        assert probabilities[at].max() == pytest.approx(row["probability"], abs=1e-6)


def test_the_same_settings_give_the_same_classifier(store: Path, trained: dict[str, Any]) -> None:
    before = contents(store / "classifier")
    again, _ = train_here(store, model="auto")
    assert again["id"] == trained["id"]
    after = contents(store / "classifier")
    for name in ("model.onnx", "predictions.parquet", "suspects.csv", "seen.npz"):
        assert before[name] == after[name]


def test_a_store_without_a_test_split_is_divided(
    pomona: Pomona, fruit_photos: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    pomona.done("run", fruit_photos / "Training", store, "--quiet")
    told, _ = train_here(store)
    assert told["split"] == "made"
    assert 0 < told["rows"]["test"] < told["rows"]["training"]
    assert told["rows"]["copied"] == 0


def test_groups_of_a_file_stand_beside_random_folds(store: Path, tmp_path: Path) -> None:
    paths = pq.read_table(store / "features", columns=["path"])["path"].to_pylist()
    lines = [f"{path},{at // 5}" for at, path in enumerate(sorted(paths))]
    (tmp_path / "groups.csv").write_text("path,group\n" + "\n".join(lines) + "\n")
    facts, _ = train_here(store, groups=tmp_path / "groups.csv")
    assert facts["groups"] == str(tmp_path / "groups.csv")
    [chosen] = [each for each in facts["comparison"] if each["is_chosen"]]
    assert 0 < chosen["accuracy"] <= 1
    assert 0 < chosen["random_accuracy"] <= 1


def test_corrected_labels_are_taken_back(store: Path, tmp_path: Path) -> None:
    table = pyarrow.csv.read_csv(store / "classifier" / "suspects.csv")
    assert table.column_names == ["path", "label", "suggested", "score"]
    vectors = pomona_package.open(store).pca()
    fixed = tmp_path / "fixed.csv"
    learned = next(path for path in vectors.paths if path.startswith("Training"))
    fixed.write_text(f"path,label\n{learned},{vectors.labels[-1]}\n")
    before = facts_of(store)
    facts, said = train_here(store, labels=fixed)
    assert "they keep the labels of the store" in said.text
    assert facts["rows"]["training_digest"] != before["rows"]["training_digest"]


def test_evaluate_changes_no_classifier(pomona: Pomona, store: Path) -> None:
    before = contents(store / "classifier")
    pomona.done("evaluate", store)
    after = contents(store / "classifier")
    assert before["model.onnx"] == after["model.onnx"]
    assert before["predictions.parquet"] == after["predictions.parquet"]
    first, second = (json.loads(each["evaluation.json"] or b"") for each in (before, after))
    assert first.pop("subject") != second.pop("subject")  # which names the store
    assert first == second


def test_verify_and_report_know_the_classifier(
    pomona: Pomona, store: Path, trained: dict[str, Any]
) -> None:
    assert "classifier/evaluation.html" in (store / "report.html").read_text("utf-8")
    pomona.done("verify", store)
    (store / "classifier" / "suspects.csv").write_bytes(b"path\n")
    ended = pomona("verify", store)
    assert ended.status == 1
    assert "suspects.csv: is missing or damaged; `pomona train` the store" in ended.stdout


def test_forget_takes_the_classifier_with_it(
    pomona: Pomona, store: Path, trained: dict[str, Any]
) -> None:
    path = pq.read_table(store / "features", columns=["path"])["path"][0].as_py()
    ended = pomona.done("forget", store, path)
    assert "train another with `pomona train" in ended.stderr
    assert not (store / "classifier").exists()
    assert b"classifier/evaluation.html" not in (store / "report.html").read_bytes()


def test_after_a_refit_it_refuses_to_predict(
    pomona: Pomona, store: Path, trained: dict[str, Any], fruit_photos: Path
) -> None:
    pomona.done("reduce", store, "--components", "3")
    ended = pomona("predict", store, fruit_photos)
    assert ended.status == 1
    assert "has changed since its classifier was trained: `pomona train" in ended.complaint
