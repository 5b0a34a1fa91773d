"""Candidates: `pomona train` beside a classifier in use, `pomona models`, and corrections."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from conftest import Here, Pomona, contents
from pomona.errors import StoreDamagedError, UsageError
from pomona.feedback.journal import Entry, Journal
from pomona.feedback.labels import read_statements
from pomona.feedback.retraction import retract
from pomona.learning import candidates
from pomona.learning.evaluate import evaluate
from pomona.learning.settings import TrainSettings
from pomona.learning.train import train
from pomona.learning.versus import measure
from pomona.maintenance.import_features import import_features
from pomona.maintenance.verify import verify
from pomona.pipeline.context import RunSettings
from pomona.pipeline.run import reduce
from pomona.pipeline.settings import ReduceSettings
from pomona.store import kept
from pomona.store.layout import CORRECTIONS, TEST_PREDICTIONS
from pomona.store.store import Store

LABELS, WIDTH, ROWS, CORRUPTED = 4, 12, 360, 30


def settings() -> RunSettings:
    return RunSettings(Here("local"))


def learn(store: Path, **given: Any) -> dict[str, Any]:
    return train(
        store,
        TrainSettings(**{"model": "lda", "groups": "none", "promote": "never", **given}),
        settings(),
    )


def in_use(store: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((store / "classifier" / "classifier.json").read_bytes())
    return facts


@pytest.fixture(scope="module")
def truth() -> list[str]:
    return [f"label {row % LABELS}" for row in range(ROWS)]


@pytest.fixture(scope="module")
def corrupted(truth: list[str]) -> list[str]:
    """The labels of the store: of the first training images, some are wrong."""
    return [
        f"label {(row + 1) % LABELS}" if row < CORRUPTED and not is_test(row) else truth[row]
        for row in range(ROWS)
    ]


def is_test(row: int) -> bool:
    return row // LABELS % 3 == 2


@pytest.fixture(scope="module")
def taught(
    truth: list[str], corrupted: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A store of made-up features with a classifier that learned wrong labels too."""
    folder = tmp_path_factory.mktemp("taught")
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(LABELS, WIDTH)) * 1.5
    x = centres[np.arange(ROWS) % LABELS] + rng.normal(size=(ROWS, WIDTH))
    numbers = x.astype(np.float32).ravel()
    table = pa.table(
        {
            "path": [f"{row:04d}.jpg" for row in range(ROWS)],
            "label": corrupted,
            "split": ["Test" if is_test(row) else "Training" for row in range(ROWS)],
            "features": pa.FixedSizeListArray.from_arrays(numbers, WIDTH),
        }
    )
    pq.write_table(table, folder / "features.parquet")
    import_features(folder / "features.parquet", folder / "store", settings())
    reduce(folder / "store", ReduceSettings(components=6), settings())
    learn(folder / "store")
    return folder / "store"


@pytest.fixture
def store(taught: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(taught, tmp_path / "store"))


def digests(store: Path) -> list[str]:
    vectors = Store(store).pca()
    assert vectors.paths == sorted(vectors.paths)
    return [hashlib.sha256(row.tobytes()).hexdigest() for row in vectors.array]


def say(store: Path, said: dict[int, str], *, by: str = "a") -> None:
    """Users correct images."""
    own = digests(store)
    for row, label in said.items():
        Journal(store).append(Entry(f"{by}{row}", own[row], "?", 0.5, "m", False, label))


def said(store: Path) -> pa.Table:
    return read_statements(Journal(store))


def outcomes(store: Path, model: str) -> dict[str, str]:
    data = (store / kept.file_name(model, CORRECTIONS)).read_bytes()
    table = pyarrow.csv.read_csv(pa.BufferReader(data))
    return dict(zip(table["id"].to_pylist(), table["outcome"].to_pylist(), strict=True))


def findings(store: Path) -> list[str]:
    return [each.where for each in verify(store, settings()).findings]


def test_what_is_trained_beside_a_classifier_is_a_candidate(taught: Path, store: Path) -> None:
    before = contents(store)
    facts = learn(store, model="logistic")
    promotion = facts["promotion"]
    assert (promotion["promoted"], promotion["in_use"]) == (False, in_use(store)["id"])
    after = contents(store)
    assert {name: after[name] for name in before} == before
    own = {Path(name).name for name in after.keys() - before.keys() if name != "models"}
    assert {f"{facts['id']}.json", f"{facts['id']}-model.onnx"} <= own
    assert findings(store) == []
    again = learn(store)
    assert "promotion" not in again
    assert again["id"] == in_use(store)["id"]


def test_promote_and_roll_back_are_each_others_inverse(pomona: Pomona, store: Path) -> None:
    first = contents(store / "classifier")
    former = in_use(store)["id"]
    candidate = learn(store, model="logistic")["id"]
    entries = {each.facts["id"]: each for each in candidates.list_models(store, settings())}
    assert entries[former].is_in_use
    versus = entries[candidate].versus
    assert versus
    assert versus.images == ROWS // 3
    candidates.promote(store, candidate, settings())
    assert (in_use(store)["id"], in_use(store)["replaced"]) == (candidate, former)
    assert kept.ids(Store(store).files) == [former]
    assert findings(store) == []
    ended = pomona.done("models", store)
    assert f"* {candidate}" in ended.stdout
    assert f"replaced {former}" in ended.stdout
    candidates.roll_back(store, settings())
    assert contents(store / "classifier") == first
    assert kept.ids(Store(store).files) == [candidate]
    candidates.remove(store, candidate, settings())
    assert contents(store / "classifier") == first
    assert not kept.ids(Store(store).files)


def test_what_is_not_kept_is_refused(taught: Path) -> None:
    before = contents(taught / "classifier")
    with pytest.raises(UsageError, match="keeps no classifier '0000'"):
        candidates.promote(taught, "0000", settings())
    with pytest.raises(UsageError, match=r"keeps no classifier '\.\./pca'"):
        candidates.remove(taught, "../pca", settings())
    with pytest.raises(UsageError, match="has replaced none"):
        candidates.roll_back(taught, settings())
    with pytest.raises(UsageError, match="`promote` sometimes: choose never, auto or always"):
        learn(taught, promote="sometimes")
    assert contents(taught / "classifier") == before


@pytest.mark.parametrize("name", ["/tmp/x", "classifier/../../x", "classifier/"])  # noqa: S108
def test_a_kept_classifier_names_no_files_elsewhere(store: Path, name: str) -> None:
    candidate = learn(store, model="logistic")["id"]
    place = store / "models" / f"{candidate}.json"
    facts = json.loads(place.read_bytes())
    place.write_text(json.dumps({**facts, "files": {**facts["files"], name: "0" * 64}}))
    before = contents(store)
    with pytest.raises(StoreDamagedError):
        candidates.promote(store, candidate, settings())
    assert contents(store) == before


def test_corrections_make_it_better_round_by_round(
    store: Path, truth: list[str], corrupted: list[str]
) -> None:
    wrong = [row for row in range(ROWS) if truth[row] != corrupted[row]]
    accuracy = [in_use(store)["figures"]["accuracy"]["value"]]
    for rows in np.array_split(wrong, 2):
        say(store, {int(row): truth[row] for row in rows})
        facts = learn(store, corrections=said(store), promote="auto")
        accuracy.append(in_use(store)["figures"]["accuracy"]["value"])
        assert facts["promotion"]["promoted"] == (not facts["promotion"]["objections"])
    assert facts["feedback"]["learned"] >= 0.8 * len(wrong)
    assert accuracy == sorted(accuracy)
    assert accuracy[-1] > accuracy[0]


def test_bad_corrections_are_shown_and_not_learned(store: Path, truth: list[str]) -> None:
    bad = {row: "label 0" for row in range(120, 160) if truth[row] != "label 0"}
    say(store, bad)
    say(store, {200: "label 1"})
    say(store, {200: "label 2"}, by="b")
    facts = learn(store, model="logistic", corrections=said(store), promote="auto")
    told = outcomes(store, facts["id"]) if not facts["promotion"]["promoted"] else {}
    assert facts["feedback"].get("learned", 0) <= 0.15 * len(bad)
    assert facts["feedback"]["users contradict each other"] == 2
    assert facts["feedback"]["held out"] == sum(map(is_test, bad))
    assert told.get("a200", "users contradict each other") == "users contradict each other"
    if not facts["promotion"]["promoted"]:
        assert facts["promotion"]["objections"]


def test_a_new_label_is_learned_from_corrections_alone(store: Path) -> None:
    rows = [row for row in range(280, 340) if row % LABELS == 3 and not is_test(row)]
    say(store, dict.fromkeys(rows, "label 9"))
    facts = learn(store, corrections=said(store))
    assert "label 9" in facts["labels"]
    assert facts["feedback"]["learned"] > 0


def test_a_correction_is_forgotten_with_what_learned_it(
    store: Path, truth: list[str], corrupted: list[str]
) -> None:
    former = in_use(store)["id"]
    wrong = [row for row in range(ROWS) if truth[row] != corrupted[row]]
    say(store, {row: truth[row] for row in wrong})
    promoted = learn(store, corrections=said(store), promote="always")["id"]
    assert in_use(store)["id"] == promoted
    found = retract(store, f"a{wrong[0]}", settings())
    assert (found.entries, found.models, found.in_use) == (1, [promoted], former)
    assert f"a{wrong[0]}" not in said(store)["id"].to_pylist()
    assert not kept.ids(Store(store).files)
    assert findings(store) == []
    with pytest.raises(UsageError, match="there is no feedback"):
        retract(store, f"a{wrong[0]}", settings())


def test_evaluate_learns_the_same_corrections_again(
    store: Path, truth: list[str], corrupted: list[str]
) -> None:
    wrong = [row for row in range(ROWS) if truth[row] != corrupted[row]]
    say(store, {row: truth[row] for row in wrong})
    learn(store, corrections=said(store), promote="always")
    before = contents(store / "classifier")
    evaluate(store, None, settings())
    after = contents(store / "classifier")
    for name in ("model.onnx", "corrections.csv", "predictions.parquet"):
        assert before[name] == after[name]
    assert in_use(store)["feedback"]["learned"] > 0


def test_damage_is_found(store: Path) -> None:
    model = learn(store, model="logistic")["id"]
    (store / "models" / f"{model}-seen.npz").write_bytes(b"")
    (store / "models" / "0-left").touch()
    assert findings(store) == [f"models/{model}-seen.npz", "models/0-left"]
    with pytest.raises(StoreDamagedError, match="missing or damaged"):
        candidates.promote(store, model, settings())
    assert in_use(store)["id"] != model


def answers(predicted: list[str], right: list[str]) -> pa.Table:
    paths = [str(row) for row in range(len(right))]
    return pa.table({"path": paths, "label": right, "predicted": predicted})


def test_a_candidate_is_worse_by_its_whole_or_by_a_label() -> None:
    right = ["a"] * 20 + ["b"] * 80
    flawless = answers(right, right)
    assert measure(flawless, flawless, ["a", "b"], ["a", "b"]).objections == []
    one_fewer = answers(["b", *right[1:]], right)
    [objection] = measure(one_fewer, flawless, ["a", "b"], ["a", "b"]).objections
    assert objection.startswith("it has 1 fewer of 100 held-out images right")
    by_a = answers(["b", "b", "b", *right[3:]], right)
    by_b = answers([*right[:20], *["a"] * 5, *right[25:]], right)
    versus = measure(by_a, by_b, ["a", "b"], ["a", "b"])
    assert (versus.only_candidate, versus.only_in_use) == (5, 3)
    assert versus.objections == ["it is worse at 'a'"]
    two_of_a = answers(["b", "b", *right[2:]], right)
    assert measure(two_of_a, by_b, ["a", "b"], ["a", "b"]).objections == []
    assert measure(flawless, flawless, ["a"], ["a", "b"]).objections == ["it lacks the labels 'b'"]
    assert measure(flawless, None, ["a"], ["a"]).objections
    assert TEST_PREDICTIONS.startswith("classifier/")
