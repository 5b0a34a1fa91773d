"""Corrections: whether users' corrections make a classifier better, and whether bad ones can hurt.

    make bench-corrections

300 labels are corrupted at random, held-out images included, and 300 corrections come in over five
rounds. After each, `pomona train` with --feedback and --promote auto decides. Users are honest, or
a tenth of the corrections are wrong on purpose and favour one label. The accuracy is that of the
classifier in use by the true labels, on held-out images.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

import pomona
from benchmarks.measuring import find_photos
from pomona.engines.registry import open_engine
from pomona.feedback.journal import Entry, Journal
from pomona.feedback.labels import read_statements
from pomona.learning.settings import AUTO, TrainSettings
from pomona.learning.train import train
from pomona.maintenance.import_features import import_features
from pomona.pipeline.context import RunSettings
from pomona.pipeline.run import reduce
from pomona.pipeline.settings import ReduceSettings
from pomona.store.layout import CLASSIFIER, TEST_PREDICTIONS
from pomona.store.store import Store

CORRUPTED, ROUNDS, WRONG_SHARE, COMPONENTS = 300, 5, 0.1, 64

Texts = npt.NDArray[np.str_]


def corrupt(labels: Texts, rng: np.random.Generator) -> tuple[Texts, npt.NDArray[np.int64]]:
    """Labels of which some are others, drawn at random; and which."""
    names, changed = np.unique(labels), labels.copy()
    rows = rng.permutation(len(labels))[:CORRUPTED]
    for row in rows:
        changed[row] = rng.choice(names[names != labels[row]])
    return changed, rows


def make_store(folder: Path, features: pa.Table, labels: Texts) -> Path:
    """A store of features under these labels."""
    folder.mkdir(parents=True)
    table = features.set_column(1, "label", pa.array(labels.tolist()))
    pq.write_table(table, folder / "features.parquet")
    settings = RunSettings(open_engine("local", 1))
    import_features(folder / "features.parquet", folder / "store", settings)
    reduce(folder / "store", ReduceSettings(components=COMPONENTS), settings)
    return folder / "store"


def accuracy(store: Path, truth: dict[str, str]) -> float:
    """Of the classifier in use, by the true labels."""
    table = pq.read_table(store / TEST_PREDICTIONS)
    pairs = zip(table["path"].to_pylist(), table["predicted"].to_pylist(), strict=True)
    return float(np.mean([truth[path] == predicted for path, predicted in pairs]))


def play(
    folder: Path, features: pa.Table, truth: Texts, seed: int, wrong_share: float, model: str
) -> list[dict[str, Any]]:
    """The rounds, one after another."""
    rng = np.random.default_rng(seed)
    labels, rows = corrupt(truth, rng)
    store = make_store(folder, features, labels)
    by_path = dict(zip(features["path"].to_pylist(), truth.tolist(), strict=True))
    vectors = Store(store).pca()
    digests = dict(zip(vectors.paths, digests_of(store), strict=True))
    corrections = [(row, truth[row]) for row in rows]
    favoured = str(rng.choice(np.unique(truth)))
    others = np.setdiff1d(np.flatnonzero(truth != favoured), rows)
    for at in rng.permutation(len(rows))[: round(wrong_share * len(rows))]:
        corrections[at] = (rng.choice(others), favoured)
    settings = TrainSettings(model=model, promote=AUTO)
    told = [{"round": 0, **learn(store, settings), "accuracy": accuracy(store, by_path)}]
    print(seed, wrong_share, told[-1], flush=True)
    journal, paths = Journal(store), features["path"].to_pylist()
    for number, batch in enumerate(np.array_split(np.arange(len(corrections)), ROUNDS), 1):
        for at in batch:
            row, label = corrections[at]
            predicted = labels[row] if labels[row] != label else "another"
            own = Entry(
                f"{number}-{at}", digests[paths[row]], str(predicted), 0.5, "m", False, str(label)
            )
            journal.append(own)
        said = read_statements(journal)
        learned = learn(store, TrainSettings(model=model, promote=AUTO, corrections=said))
        told.append({"round": number, **learned, "accuracy": accuracy(store, by_path)})
        print(seed, wrong_share, told[-1], flush=True)
    return told


def digests_of(store: Path) -> list[str]:
    """What stands for each image of imported features: the digest of its numbers."""
    return [hashlib.sha256(row.tobytes()).hexdigest() for row in Store(store).pca().array]


def learn(store: Path, settings: TrainSettings) -> dict[str, Any]:
    """What became of a training."""
    facts = train(store, settings, RunSettings(open_engine("local", 1)))
    in_use = json.loads((store / CLASSIFIER).read_bytes())["id"]
    objections = facts.get("promotion", {}).get("objections")
    told = {"in_use": in_use == facts["id"], "feedback": facts.get("feedback")}
    return {**told, "objections": objections}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.corrections", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", default="knn", help="as `pomona train` takes it")
    parser.add_argument("--every", type=int, default=2, help="one photograph in so many")
    parser.add_argument("--work", type=Path, help="a folder that keeps the features")
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).with_name("corrections.json")
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pomona-bench-") as temporary:
        work = args.work or Path(temporary)
        if not (work / "base").exists():
            photos, _ = find_photos(work)
            pomona.run(photos, work / "base", thumbnails=False, csv=False)
        table = pomona.open(work / "base").features().to_arrow().combine_chunks()
        table = table.take(pa.array(np.arange(0, table.num_rows, args.every)))
        features = table.select(["path", "label", "split", "features"])
        truth = np.array(table["label"].to_pylist())
        found = {
            f"{share:g} wrong, seed {seed}": play(
                Path(temporary, f"{share:g}-{seed}"), features, truth, seed, share, args.model
            )
            for seed in range(args.seeds)
            for share in (0.0, WRONG_SHARE)
        }
    args.results.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
