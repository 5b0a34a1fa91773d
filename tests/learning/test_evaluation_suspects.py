"""Images that are probably mislabelled: those that were mislabelled on purpose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from judgements import judge

from pomona.learning.evaluation.base import Judged
from pomona.learning.evaluation.suspects import LIKELY, find_suspects, suspects
from pomona.learning.models.base import Codes
from pomona.learning.temperature import fit_temperature

pytest.importorskip("scipy")

CLASSES = 20


def swap(judged: Judged, share: float) -> tuple[Judged, Codes]:
    """The rows with some labels swapped at random, and which these are."""
    rng = np.random.default_rng(7)
    rows = rng.choice(len(judged), round(share * len(judged)), replace=False)
    labels = judged.labels.copy()
    labels[rows] = (labels[rows] + rng.integers(1, CLASSES, len(rows))) % CLASSES
    return replace(judged, labels=labels), rows


@pytest.mark.parametrize("share", [0.005, 0.02, 0.1])
@pytest.mark.parametrize("margin", [9.0, 12.0])
def test_swapped_labels_stand_first(share: float, margin: float) -> None:
    judged, swapped = swap(judge(6000, CLASSES, 0, margin=margin), share)
    found = find_suspects(judged, fit_temperature(judged.logits.astype(float), judged.labels))
    first = found.rows[: len(swapped)]
    assert np.isin(swapped, first).mean() >= 0.8
    assert found.wrong_share == pytest.approx(share, rel=0.25)
    # The scores are probabilities: their sum is how many of the listed labels are wrong.
    wrong = np.isin(found.rows, swapped).sum()
    assert found.scores.sum() == pytest.approx(wrong, abs=3 * wrong**0.5)
    assert (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize("margin", [3.0, 6.0, 10.0])
def test_of_right_labels_hardly_any_is_suspect(margin: float) -> None:
    found = [find_suspects(judge(6000, CLASSES, seed, margin=margin), 1.0) for seed in range(5)]
    assert sum(len(one) == 0 for one in found) >= 4
    assert max((one.scores >= LIKELY).sum() for one in found) <= 6


def test_the_scale_of_logits_does_not_matter() -> None:
    judged, _ = swap(judge(3000, CLASSES, 2), 0.03)
    found = find_suspects(judged, 1.5)
    scaled = find_suspects(replace(judged, logits=judged.logits * 40), 60.0)
    assert (scaled.rows == found.rows).all()
    assert scaled.scores == pytest.approx(found.scores)


def test_the_label_suggested_was_that_before_the_swap() -> None:
    before = judge(3000, CLASSES, 3, margin=8.0)
    judged, swapped = swap(before, 0.02)
    found = find_suspects(judged, 1.0)
    known = np.isin(found.rows, swapped)
    assert (found.suggested[known] == before.labels[found.rows[known]]).mean() > 0.95
    assert (found.suggested != judged.labels[found.rows]).all()


def test_equal_files_under_two_labels_are_conflicts() -> None:
    judged = judge(2000, CLASSES, 4, margin=8.0)
    sha256, labels = list(judged.sha256), judged.labels.copy()
    logits = judged.logits.copy()
    right = labels[:10].copy()
    logits[np.arange(10), right] += 9  # what the classifier thinks of the file is plain
    for row in range(10):  # a copy of each of the first ten follows under the next label
        sha256[row + 10], logits[row + 10] = sha256[row], logits[row]
        labels[row + 10] = (right[row] + 1) % CLASSES
    sha256[21], labels[21] = sha256[20], labels[20]  # a copy under its own label is none
    judged = replace(judged, sha256=sha256, labels=labels, logits=logits)
    found = find_suspects(judged, 1.0)
    conflicts = found.rows[found.is_conflict]
    assert sorted(conflicts.tolist()) == list(range(10, 20))
    assert (found.suggested[found.is_conflict] == right[conflicts - 10]).all()
    assert (found.scores[found.is_conflict] > 0.9).all()


def test_the_table_can_be_corrected_and_read_back() -> None:
    judged, swapped = swap(judge(3000, CLASSES, 5, margin=8.0), 0.02)
    names = [f"label, {code}" for code in range(CLASSES)]
    table = suspects(names, judged, 1.0)
    assert table.column_names == ["path", "label", "suggested", "score"]
    rows = [judged.paths.index(path) for path in table["path"].to_pylist()]
    assert table["label"].to_pylist() == [names[code] for code in judged.labels[rows]]
    assert len(np.intersect1d(rows, swapped)) > 50
    assert table["score"].to_pylist() == sorted(table["score"].to_pylist(), reverse=True)


def test_no_label_is_suspect_without_rows_or_with_two_classes() -> None:
    assert len(find_suspects(judge(0, 3, 0), 1.0)) == 0
    judged = judge(500, 2, 0)
    assert len(find_suspects(judged, 1.0)) <= 5
