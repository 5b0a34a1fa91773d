"""The figures of a classifier, against scikit-learn and against what was drawn."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from judgements import judge, make_inputs, take

from pomona.learning.evaluation import confusion, leak, learning_curve, unsure
from pomona.learning.evaluation.answers import ask
from pomona.learning.evaluation.base import CurvePoint, Labelled, Other
from pomona.learning.evaluation.calibration import (
    expected_calibration_error,
    log_loss,
    reliability,
)
from pomona.learning.evaluation.comparison import compare
from pomona.learning.evaluation.figures import MEASURED, evaluate
from pomona.learning.evaluation.intervals import (
    accuracies,
    macro_f1s,
    measure_macro_f1,
    measure_share,
    resample,
    wilson,
)
from pomona.learning.models.base import Codes, Rows
from pomona.learning.temperature import fit_temperature, softmax

metrics = pytest.importorskip("sklearn.metrics")


def test_figures_are_those_of_scikit_learn() -> None:
    inputs = make_inputs(margin=2.0)
    found = evaluate(inputs)
    labels, logits = inputs.test.labels, inputs.test.logits
    predicted = logits.argmax(axis=1)
    figures = found["figures"]
    assert figures["accuracy"]["value"] == metrics.accuracy_score(labels, predicted)
    assert figures["macro_f1"]["value"] == metrics.f1_score(labels, predicted, average="macro")
    assert figures["near"]["value"] == metrics.top_k_accuracy_score(labels, logits, k=5)
    columns = metrics.precision_recall_fscore_support(labels, predicted)
    assert [
        [row["precision"], row["recall"], row["f1"], row["images"]] for row in found["per_label"]
    ] == np.stack(columns, axis=1).tolist()
    matrix = np.zeros((12, 12), int)
    for label, answer, rows in found["confusion"]["cells"]:
        matrix[label, answer] = rows
    assert (matrix == metrics.confusion_matrix(labels, predicted)).all()
    after = found["calibration"]["after"]
    assert after["log_loss"] == pytest.approx(
        metrics.log_loss(labels, softmax(logits.astype(float)))
    )
    for figure in figures.values():
        assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1


def test_an_evaluation_is_plain_values_and_repeats() -> None:
    inputs = make_inputs(of=4, copied=3)
    found = evaluate(inputs)
    assert json.loads(json.dumps(found, allow_nan=False)) == json.loads(json.dumps(found))
    assert json.dumps(evaluate(inputs)) == json.dumps(found)
    assert found["rows"] == {
        "test": 400,
        "test_groups": 100,
        "training": 4000,
        "cross_validated": 4000,
    }


def test_without_test_rows_what_takes_them_is_none() -> None:
    found = evaluate(make_inputs(tested=0, copied=5))
    assert {found[name] for name in MEASURED} == {None}
    assert found["leak"]["files"] == found["leak"]["copied"] == 5
    assert [one["test"] for one in found["thresholds"]] == [None] * 3


def test_replicates_are_tests_of_rows_that_occurred() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2, 2, 3])
    predicted = np.array([0, 1, 1, 1, 2, 0, 2, 2])
    drawn = resample(labels, predicted, None, seed=0, repeats=50)
    assert (drawn.counts.sum(axis=1) == 8).all()
    assert len(np.unique(drawn.counts, axis=0)) > 40
    for counts, accuracy, f1 in zip(drawn.counts, accuracies(drawn), macro_f1s(drawn), strict=True):
        truth, answers = np.repeat(drawn.labels, counts), np.repeat(drawn.predicted, counts)
        assert accuracy == metrics.accuracy_score(truth, answers)
        wanted = metrics.f1_score(truth, answers, average="macro", zero_division=0)
        assert f1 == pytest.approx(wanted)


def test_groups_are_drawn_whole() -> None:
    groups = np.repeat(np.arange(30), 7)
    labels, right = groups % 3, groups % 2 == 0
    predicted = np.where(right, labels, (labels + 1) % 3)
    drawn = resample(labels, predicted, groups, seed=0)
    assert (drawn.counts % 7 == 0).all()
    assert (drawn.counts.sum(axis=1) == 210).all()
    alone = resample(labels, predicted, np.arange(210), seed=0)
    assert (alone.counts == resample(labels, predicted, None, seed=0).counts).all()
    assert np.std(accuracies(drawn)) == pytest.approx(np.std(accuracies(alone)) * 7**0.5, rel=0.15)


def test_intervals_by_group_hold_where_those_of_rows_do_not() -> None:
    rng = np.random.default_rng(0)
    held = {"groups": 0, "rows": 0}
    for trial in range(100):
        groups = np.repeat(np.arange(60), 20)
        right = rng.random(1200) < rng.beta(4, 1, 60)[groups]  # 0.8 in the mean
        for name, given in (("groups", groups), ("rows", None)):
            figure = measure_share(right, given, trial)
            assert figure.low is not None
            assert figure.high is not None
            held[name] += figure.low <= 0.8 <= figure.high
    assert held["groups"] >= 88
    assert held["rows"] <= 75


def test_wilsons_interval_is_that_of_the_formula() -> None:
    z, n, share = 1.959963984540054, 200, 0.97
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    assert wilson(194, n) == pytest.approx((middle - half, middle + half))


def test_an_interval_without_mistakes_still_has_a_width() -> None:
    right, groups = np.ones(300, bool), np.arange(300) // 10
    alone, grouped = measure_share(right, None, 0), measure_share(right, groups, 0)
    assert (alone.low, alone.high) == wilson(300, 300)
    assert (grouped.low, grouped.high) == wilson(30, 30)
    labels = np.arange(300) % 4
    assert measure_macro_f1(labels, labels, groups, 0) == grouped
    one = measure_macro_f1(labels, labels, np.zeros(300, np.int64), 0)
    assert (one.value, one.low, one.high) == (1, None, None)


def test_a_calibrated_classifier_has_no_calibration_error() -> None:
    judged = judge(20_000, 10, 0)
    answers = ask(judged, 1.0)
    curve = reliability(answers.probability, answers.predicted == judged.labels)
    assert sum(one["rows"] for one in curve) == 20_000
    assert expected_calibration_error(curve) < 0.01
    sharp_logits = judged.logits.astype(float) * 3
    sharp = ask(replace(judged, logits=sharp_logits), 1.0)
    blunt = reliability(sharp.probability, sharp.predicted == judged.labels)
    assert expected_calibration_error(blunt) > 0.05
    assert fit_temperature(sharp_logits, judged.labels) == pytest.approx(3, rel=0.05)
    probabilities = softmax(judged.logits.astype(float))
    assert log_loss(answers.own) == pytest.approx(metrics.log_loss(judged.labels, probabilities))


def test_the_calibration_error_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    probability = np.concatenate([rng.uniform(0, 1, 500), np.arange(1, 16) / 15])
    right = rng.random(515) < 0.7
    error = 0.0
    for low in range(15):
        held = (probability > low / 15) & (probability <= (low + 1) / 15 + 1e-15)
        if held.any():
            error += held.mean() * abs(right[held].mean() - probability[held].mean())
    assert expected_calibration_error(reliability(probability, right)) == pytest.approx(error)


def test_answers_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    judged = judge(1000, 6, 0)
    whole = ask(judged, 1.3)
    monkeypatch.setattr("pomona.learning.evaluation.answers.BLOCK_BYTES", 8 * 6 * 7)
    parts = ask(judged, 1.3)
    for name in ("predicted", "probability", "own", "rank"):
        assert (getattr(parts, name) == getattr(whole, name)).all()
    assert (whole.rank == 0).sum() == (whole.predicted == judged.labels).sum()


def test_answers_of_very_many_rows_take_little_memory() -> None:
    rng = np.random.default_rng(0)
    logits = rng.random((400_000, 100), np.float32)
    judged = replace(judge(1, 100, 0), labels=rng.integers(0, 100, 400_000), logits=logits)
    tracemalloc.start()
    try:
        ask(judged, 1.0)
        assert tracemalloc.get_traced_memory()[1] < 250e6  # the logits: 160 MB, in float64 320 MB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("wanted", "margin"), [(0.99, 6.0), (0.995, 6.0), (0.999, 14.0)])
def test_a_threshold_keeps_its_promise(wanted: float, margin: float) -> None:
    others = judge(200_000, 10, 1, margin=margin)
    truth = ask(others, 1.0)
    right = truth.predicted == others.labels
    promised = kept = 0
    for seed in range(40):
        judged = judge(6000, 10, 100 + seed, margin=margin)
        answers = ask(judged, 1.0)
        found = unsure.find_threshold(
            answers.probability, answers.predicted == judged.labels, wanted
        )
        if found["threshold"] is not None:
            assert found["bound"] >= wanted
            applied = unsure.apply(found["threshold"], truth.probability, right)
            assert applied is not None
            promised += 1
            kept += applied["accuracy"] >= wanted
    assert promised >= 30
    assert kept >= 0.93 * promised


def test_what_cannot_be_promised_says_what_it_takes() -> None:
    probability, right = np.linspace(0.5, 1, 500), np.ones(500, bool)
    found = unsure.find_threshold(probability, right, 0.99)
    assert found["threshold"] == 0.5
    assert unsure.find_threshold(probability, right, 0.999)["threshold"] is None
    needed = unsure.needed(0.999)
    assert unsure.find_threshold(probability, right, 0.999)["needed"] == needed == 2995
    assert unsure.lower_bound(needed, needed) >= 0.999 > unsure.lower_bound(needed - 1, needed - 1)
    # Given groups are what is counted: fifty of them say less than five hundred images.
    grouped = unsure.find_threshold(probability, right, 0.99, np.arange(500) // 10)
    assert grouped["threshold"] is None
    assert grouped["units"] == "groups"


def test_accuracy_by_share_is_that_of_the_surest() -> None:
    rng = np.random.default_rng(0)
    probability = rng.integers(0, 20, 300) / 20  # many are equal
    right = rng.random(300) < probability
    curve = unsure.accuracy_by_share(probability, right)
    assert len(curve) == len(np.unique(probability))
    for (share, accuracy), threshold in zip(curve, np.unique(probability)[::-1], strict=True):
        kept = probability >= threshold
        assert share == pytest.approx(kept.mean())
        assert accuracy == pytest.approx(right[kept].mean())


def test_random_folds_promise_where_grouped_ones_cannot_and_the_test_is_like_them() -> None:
    inputs = make_inputs(of=4, margin=20.0)
    surest = int(inputs.training.logits.max(axis=1).argmax())
    labels = inputs.training.labels.copy()
    logits = np.array(inputs.training.logits, np.float64)
    logits[:200] = logits[surest]  # by the folds that keep groups together, wrong and sure of it
    groups, mixed = inputs.test.groups, inputs.training
    assert groups is not None
    inputs = replace(inputs, training=replace(mixed, logits=logits, labels=labels), mixed=mixed)
    apart = replace(inputs, test=replace(inputs.test, groups=groups + 10_000))
    for case, folds in (
        (inputs, ["random"] * 3),
        (apart, [None] * 3),
        (replace(inputs, are_groups_given=True), [None] * 3),
        (replace(inputs, training=mixed), ["grouped"] * 3),
    ):
        thresholds = evaluate(case)["thresholds"]
        found = [one["threshold"] and one["folds"] for one in thresholds]
        assert found == folds


def test_a_lower_accuracy_never_takes_a_higher_threshold() -> None:
    found = []
    for margin in (3.0, 6.0, 10.0, 20.0):
        thresholds = evaluate(make_inputs(margin=margin))["thresholds"]
        assert [one["wanted"] for one in thresholds] == list(unsure.WANTED)
        found += [[one["threshold"] or 2 for one in thresholds]]
        for one in thresholds:
            assert one["threshold"] is None or one["bound"] >= one["wanted"]
            assert one["needed"] == unsure.needed(one["wanted"])
    assert all(thresholds == sorted(thresholds) for thresholds in found)


def test_pairs_are_counted_either_way() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    predicted = np.array([1, 1, 0, 0, 1, 2, 3, 3, 3])
    assert confusion.find_pairs(confusion.count_cells(labels, predicted)) == [
        {"label": 0, "other": 1, "taken": 2, "back": 1},
        {"label": 2, "other": 3, "taken": 3, "back": 0},
    ]
    assert confusion.find_pairs([[0, 0, 5]]) == []


def test_labels_that_are_mixed_up_stand_side_by_side() -> None:
    cells = [[code, code, 20] for code in range(60)]
    for first in range(10):  # 0 with 20, 1 with 21, …
        cells += [[first, first + 20, 5], [first + 20, first, 3]]
    order = confusion.arrange(cells)
    assert sorted(order) == [*range(10), *range(20, 30)]
    assert all(abs(order.index(code) - order.index(code + 20)) == 1 for code in range(10))
    assert len(confusion.arrange(cells, most=6)) == 6
    assert confusion.arrange([[0, 1, 1]]) == [0, 1]


def test_the_pictures_of_a_pair_are_of_its_labels() -> None:
    inputs = make_inputs(margin=2.0)
    for pair in evaluate(inputs)["confusion"]["pairs"][:6]:
        row = inputs.test.paths.index(pair["mistaken"]["path"])
        assert inputs.test.labels[row] == pair["mistaken"]["label"] == pair["label"]
        assert inputs.test.logits[row].argmax() == pair["other"]
        row = inputs.training.paths.index(pair["like"]["path"])
        assert inputs.training.labels[row] == pair["like"]["label"] == pair["other"]
        assert inputs.training.sha256[row] == pair["like"]["sha256"]


def test_the_leak_counts_copies_and_those_under_other_labels() -> None:
    learned = Labelled(["a", "b", "c", "d"], ["1", "2", "2", "3"], np.array([0, 0, 1, 1]))
    copied = take(judge(4, 3, 0), np.arange(4))
    copied = replace(copied, sha256=["1", "2", "3", "3"], labels=np.array([0, 1, 0, 2]))
    found = leak.describe(copied, learned, right=90, tested=96, copied_right=1)
    assert (found["copied"], found["files"], found["other_label"]) == (4, 100, 2)
    assert found["accuracy"] == 0.91
    assert [pair["training"]["path"] for pair in found["shown"]] == ["d", "d"]


def test_mcnemars_test_is_that_of_the_binomial() -> None:
    labels = np.zeros(100, np.int64)
    this, other = np.zeros(100, np.int64), np.zeros(100, np.int64)
    this[:3], other[3:15] = 1, -1
    found = compare(labels, this, Other("before", other))
    assert found["accuracy"] == 0.88
    assert (found["only_this"], found["only_other"]) == (12, 3)
    assert found["p"] == pytest.approx(2 * sum([1, 15, 105, 455]) / 2**15)
    assert compare(labels, this, Other("same", this))["p"] == 1


class Constant:
    """A classifier that says the same of all rows."""

    def logits(self, x: Rows) -> np.ndarray:
        return np.tile([0.0, 1.0, 0.0], (len(x), 1))


@pytest.mark.parametrize("is_grouped", [False, True])
def test_the_learning_curve_takes_shares_of_each_label(is_grouped: bool) -> None:
    rng = np.random.default_rng(0)
    groups: Codes = np.sort(rng.integers(0, 120, 1200))
    y = np.where(np.arange(1200) < 1150, groups % 2, 2)
    asked = np.zeros((5, 1), np.float32)
    taken: list[set[int]] = []

    def fit(rows: Codes) -> Constant:
        assert np.bincount(y[rows], minlength=3).min() >= 2
        taken.append(set(rows.tolist()))
        return Constant()

    predicted = np.zeros(5, np.int64)
    given = groups if is_grouped else None
    points = learning_curve.learn(fit, y, given, asked, predicted, 0)  # type: ignore[arg-type]
    assert [point.rows for point in points] == [*map(len, taken), 1200]
    assert all(few < more for few, more in itertools.pairwise(taken))
    assert len(taken[-1]) == pytest.approx(600, abs=3)
    assert (points[-1].predicted == predicted).all()
    half = np.isin(np.arange(1200), list(taken[-1]))
    shares = [half[members].mean() for code in range(3) for members in _groups_of(groups, y, code)]
    torn = [share for share in shares if 0 < share < 1]
    assert len(torn) <= 3 if is_grouped else len(torn) > 50


def _groups_of(groups: Codes, y: Codes, code: int) -> list[Codes]:
    """The rows of each group that have a label."""
    rows = np.flatnonzero(y == code)
    return [rows[groups[rows] == group] for group in np.unique(groups[rows])]


def test_growth_is_the_difference_to_half_of_the_rows() -> None:
    labels = np.repeat(np.arange(4), 50)
    wrong = (labels + 1) % 4

    def after(mistakes: dict[int, int]) -> Codes:
        rows = np.concatenate(
            [50 * label + np.arange(number) for label, number in mistakes.items()]
        ).astype(np.int64)
        return np.where(np.isin(np.arange(200), rows), wrong, labels)

    curve = [
        CurvePoint(100, after({0: 20, 1: 8})),
        CurvePoint(200, after({0: 15, 1: 8})),
        CurvePoint(400, after({0: 5, 1: 8})),
    ]
    found = learning_curve.describe(curve, labels, 4, None, 0)
    assert found is not None
    assert found["gain"]["value"] == pytest.approx(10 / 200)
    assert 0 < found["gain"]["low"] < 10 / 200 < found["gain"]["high"]
    assert [one["label"] for one in found["growing"]] == [0]
    assert found["growing"][0]["recalls"] == pytest.approx([0.6, 0.7, 0.9])
    flat = learning_curve.describe(curve[:2] + curve[1:2], labels, 4, None, 0)
    assert flat is not None
    assert flat["gain"]["low"] == flat["gain"]["high"] == 0
    assert learning_curve.describe([], labels, 4, None, 0) is None
