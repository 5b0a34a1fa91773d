"""Figures: all that is said of a classifier, as evaluation.json holds it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from pomona.learning.evaluation import confusion, leak, learning_curve, unsure
from pomona.learning.evaluation.answers import Answers, ask
from pomona.learning.evaluation.base import Inputs
from pomona.learning.evaluation.calibration import (
    expected_calibration_error,
    log_loss,
    reliability,
)
from pomona.learning.evaluation.comparison import compare
from pomona.learning.evaluation.intervals import measure_macro_f1, measure_share
from pomona.learning.evaluation.suspects import LIKELY, Suspects, find_suspects

FORMAT = 1
NEAR = 5
# What takes test rows.
MEASURED = (
    *("figures", "per_label", "confusion", "calibration", "sure_first"),
    *("learning_curve", "baselines", "earlier"),
)
PAIRS_SHOWN, SUSPECTS_SHOWN, CONFLICTS_SHOWN = 6, 12, 4


def evaluate(inputs: Inputs) -> dict[str, Any]:
    """Measures a classifier.

    Parameters
    ----------
    inputs : Inputs
        The rows that it was asked about, and how it came to be.

    Returns
    -------
    dict
        What evaluation.json holds: plain values. Labels stand in it by their codes, which are
        the places in its `labels`; images by path, sha256 and label. What is measured on test
        rows is None where there are none.
    """
    test, answers = inputs.test, ask(inputs.test, inputs.temperature)
    doubted = inputs.training if inputs.mixed is None else inputs.mixed
    return {
        "format": FORMAT,
        "subject": asdict(inputs.subject),
        "labels": list(inputs.names),
        "temperature": inputs.temperature,
        "seed": inputs.seed,
        "rows": {
            "test": len(test),
            "test_groups": None if test.groups is None else len(np.unique(test.groups)),
            "training": len(inputs.learned),
            "cross_validated": len(inputs.training),
        },
        "leak": _leak(inputs, answers),
        "near": min(NEAR, len(inputs.names) - 1),
        **(_measure(inputs, answers) if len(test) else dict.fromkeys(MEASURED)),
        "thresholds": _thresholds(inputs, answers),
        "suspects": _show_suspects(inputs, find_suspects(doubted, inputs.temperature)),
        "comparison": [asdict(candidate) for candidate in inputs.comparison],
    }


def _measure(inputs: Inputs, answers: Answers) -> dict[str, Any]:
    test, near = inputs.test, min(NEAR, len(inputs.names) - 1)
    right = answers.predicted == test.labels
    cells = confusion.count_cells(test.labels, answers.predicted)
    others = [compare(test.labels, answers.predicted, one) for one in inputs.baselines]
    earlier = inputs.earlier and compare(test.labels, answers.predicted, inputs.earlier)
    figures = {
        "accuracy": measure_share(right, test.groups, inputs.seed),
        "macro_f1": measure_macro_f1(test.labels, answers.predicted, test.groups, inputs.seed),
        "near": measure_share(answers.rank < near, test.groups, inputs.seed),
    }
    return {
        "figures": {name: figure.to_json() for name, figure in figures.items()},
        "per_label": _per_label(inputs, answers),
        "confusion": {
            "cells": cells,
            "order": confusion.arrange(cells),
            "pairs": _show_pairs(inputs, confusion.find_pairs(cells), answers),
        },
        "calibration": _calibration(inputs, answers, right),
        "sure_first": unsure.accuracy_by_share(answers.probability, right),
        "learning_curve": learning_curve.describe(
            inputs.curve, test.labels, len(inputs.names), test.groups, inputs.seed
        ),
        "baselines": others,
        "earlier": earlier,
    }


def _leak(inputs: Inputs, answers: Answers) -> dict[str, Any]:
    copied = ask(inputs.copied, inputs.temperature).predicted == inputs.copied.labels
    right = answers.predicted == inputs.test.labels
    return leak.describe(
        inputs.copied, inputs.learned, int(right.sum()), len(right), int(copied.sum())
    )


def _per_label(inputs: Inputs, answers: Answers) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each label, as sklearn.metrics has them; 0 where it divides by 0.

    images: the test rows; training: the training rows.
    """
    from sklearn.metrics import precision_recall_fscore_support

    classes = len(inputs.names)
    columns = precision_recall_fscore_support(
        inputs.test.labels, answers.predicted, labels=range(classes), zero_division=0
    )
    training = np.bincount(inputs.learned.labels, minlength=classes)
    names = ("label", "precision", "recall", "f1", "images", "training")
    rows = zip(range(classes), *(column.tolist() for column in (*columns, training)), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _show_pairs(
    inputs: Inputs, pairs: list[dict[str, Any]], answers: Answers
) -> list[dict[str, Any]]:
    """The pairs; the first ones with the surest mistake, and a training image that resembles it.

    That is the image of the wrong label that was itself least certainly of that label.
    """
    for pair in pairs[:PAIRS_SHOWN]:
        wrong = (inputs.test.labels == pair["label"]) & (answers.predicted == pair["other"])
        row = int(np.where(wrong, answers.probability, -1).argmax())
        pair["mistaken"] = inputs.test.image(row) | {"probability": float(answers.probability[row])}
        like = np.flatnonzero(inputs.training.labels == pair["other"])
        if len(like):
            logits = inputs.training.logits[like, pair["label"]].astype(np.float64)
            logits -= inputs.training.logits[like, pair["other"]]
            pair["like"] = inputs.training.image(int(like[logits.argmax()]))
    return pairs


def _calibration(inputs: Inputs, answers: Answers, right: Any) -> dict[str, Any]:
    """before and after temperature: curve, ece and log_loss."""
    told = {}
    for name, said in (("before", ask(inputs.test, 1.0)), ("after", answers)):
        curve = reliability(said.probability, right)
        ece = expected_calibration_error(curve)
        told[name] = {"ece": ece, "log_loss": log_loss(said.own), "curve": curve}
    return told


def _thresholds(inputs: Inputs, answers: Answers) -> list[dict[str, Any]]:
    """For each wanted accuracy the threshold, and under test what it does to the test rows."""
    judged = {"random" if inputs.training.groups is None else "grouped": inputs.training}
    if inputs.mixed is not None and _is_test_mixed(inputs):
        judged["random"] = inputs.mixed
    trials = {}
    for folds, rows in judged.items():
        sure = ask(rows, inputs.temperature)
        groups = rows.groups if inputs.are_groups_given else None
        trials[folds] = sure.probability, sure.predicted == rows.labels, groups
    right = answers.predicted == inputs.test.labels
    return [
        promise | {"test": unsure.apply(promise["threshold"], answers.probability, right)}
        for promise in unsure.find_thresholds(trials)
    ]


def _is_test_mixed(inputs: Inputs) -> bool:
    """Whether the test rows are like rows of random folds, and no group was given.

    There, rows of groups of several have others of their group among those that were learned.
    So have at least half as many of such test rows.
    """
    training, test = inputs.training, inputs.test
    if inputs.are_groups_given or training.groups is None or test.groups is None or not len(test):
        return False
    _, group, sizes = np.unique(training.groups, return_inverse=True, return_counts=True)
    linked = float(np.mean(sizes[group] > 1))
    return bool(2 * np.isin(test.groups, training.groups).mean() >= linked > 0)


def _show_suspects(inputs: Inputs, found: Suspects) -> dict[str, Any]:
    """How many there are, and the first ones; likely: more likely wrong than right.

    expected: how many of those listed are wrong, by their scores. Conflicts have their own list:
    an image, and the score of its label being wrong.
    """
    doubted = inputs.training if inputs.mixed is None else inputs.mixed
    suspects = [
        {
            **doubted.image(row),
            "suggested": suggested,
            "score": score,
            "is_conflict": is_conflict,
        }
        for row, suggested, score, is_conflict in zip(
            found.rows.tolist(),
            found.suggested.tolist(),
            found.scores.tolist(),
            found.is_conflict.tolist(),
            strict=True,
        )
    ]
    conflicts = [one for one in suspects if one["is_conflict"]]
    others = [one for one in suspects if not one["is_conflict"]]
    return {
        "listed": len(found),
        "likely": int((found.scores >= LIKELY).sum()),
        "expected": float(found.scores.sum()),
        "wrong_share": found.wrong_share,
        "conflicts": len(conflicts),
        "shown": others[:SUSPECTS_SHOWN],
        "conflicts_shown": conflicts[:CONFLICTS_SHOWN],
    }
