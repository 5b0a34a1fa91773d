"""The learning curve: what fewer training images would have given, and more may give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pomona.learning.evaluation.base import CurvePoint
from pomona.learning.evaluation.intervals import Figure, measure_share, percentile, resample
from pomona.learning.models.base import Codes, Fitted, Rows

SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
FEWEST_OF_LABEL = 2
GROWING_SHOWN = 8


def learn(
    fit: Callable[[Codes], Fitted],
    y: Codes,
    groups: Codes | None,
    asked: Rows,
    answers: Codes,
    seed: int,
) -> list[CurvePoint]:
    """Fits a classifier on a sixteenth, an eighth, a quarter and a half of the training rows.

    Each share is taken of each label, and holds the smaller ones. Groups come in whole, but for
    the last one of a label, for it is new groups that a larger collection would bring.

    Parameters
    ----------
    fit : callable
        Fits the training rows of these places, int64[m], with the settings that were chosen.
    y : numpy.ndarray
        int64[n]: the classes of the training rows.
    groups : numpy.ndarray or None
        int64[n]: their groups.
    asked : numpy.ndarray
        float32[t, width]: the test rows.
    answers : numpy.ndarray
        int64[t]: what the classifier, which has all rows, says of them.
    seed : int
        Of the order in which groups, and rows, are taken.

    Returns
    -------
    list of CurvePoint
        The fewest rows first; the last one is of all rows. Without test rows there is none.
    """
    if not len(asked):
        return []
    place = _places(y, groups, seed)
    points = []
    for share in SHARES:
        wanted = np.maximum(np.ceil(share * np.bincount(y)), FEWEST_OF_LABEL)
        taken = place < wanted[y]
        logits = fit(np.flatnonzero(taken)).logits(asked)
        points.append(CurvePoint(int(taken.sum()), logits.argmax(axis=1)))
    return [*points, CurvePoint(len(y), answers)]


def _places(y: Codes, groups: Codes | None, seed: int) -> Codes:
    """The place of each row among those of its label: groups in a random order, whole."""
    rng = np.random.default_rng(seed)
    n = len(y)
    group = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    order = np.lexsort((rng.permutation(n), rng.permutation(n)[group], y))
    first = np.cumsum(np.bincount(y)) - np.bincount(y)
    place = np.empty(n, np.int64)
    place[order] = np.arange(n) - first[y[order]]
    return place


def describe(
    curve: Sequence[CurvePoint], labels: Codes, classes: int, groups: Codes | None, seed: int
) -> dict[str, Any] | None:
    """Says how the accuracy grew with the training rows, of all labels and of each.

    Parameters
    ----------
    curve : sequence of CurvePoint
        Of `learn`.
    labels : numpy.ndarray
        int64[n]: those of the test rows.
    classes : int
        How many labels there are.
    groups, seed
        As in `intervals.resample`.

    Returns
    -------
    dict or None
        points: rows, and the accuracy as a figure; gain: the difference between all rows and
        half of them, with the interval of the paired bootstrap; growing: the labels whose recall
        grew most per doubling since a quarter of the rows, and is not 1. None: there is no curve.
    """
    if len(curve) < 3 or not len(labels):
        return None
    recalls = [_recalls(labels, point.predicted, classes) for point in curve[-3:]]
    growth = (recalls[2] - recalls[0]) / 2
    growing = np.flatnonzero((growth > 0) & (recalls[2] < 1))
    growing = growing[np.argsort(-growth[growing], kind="stable")][:GROWING_SHOWN]
    return {
        "points": [
            {
                "rows": point.rows,
                "accuracy": measure_share(point.predicted == labels, groups, seed).to_json(),
            }
            for point in curve
        ],
        "gain": _gain(curve, labels, groups, seed).to_json(),
        "growing": [
            {"label": label, "recalls": [float(recall[label]) for recall in recalls]}
            for label in growing.tolist()
        ],
    }


def _recalls(labels: Codes, predicted: Codes, classes: int) -> Any:
    """The recall of each label, float64[classes]; nan for one without rows."""
    rows = np.bincount(labels, minlength=classes)
    right = np.bincount(labels[labels == predicted], minlength=classes)
    return np.divide(right, rows, out=np.full(classes, np.nan), where=rows > 0)


def _gain(curve: Sequence[CurvePoint], labels: Codes, groups: Codes | None, seed: int) -> Figure:
    """The accuracy of all rows minus that of half of them."""
    half, whole = ((point.predicted == labels).astype(np.int64) for point in curve[-2:])
    drawn = resample(whole, half, groups, seed)
    gains = drawn.counts @ (drawn.labels - drawn.predicted) / drawn.counts.sum(axis=1)
    value = float((whole - half).mean())
    return Figure(value, *percentile(gains), "paired bootstrap")
