"""Intervals: how far a figure may be from that of all images of the kind that was tested."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pomona.learning.models.base import Codes

CONFIDENCE = 0.95
REPEATS = 1_000
BLOCK_NUMBERS = 4_000_000
ONE_GROUP = "none: there is one group only"


@dataclass(frozen=True)
class Figure:
    """A figure, and its interval of 95 %.

    Attributes
    ----------
    value : float
        The figure.
    low, high : float or None
        The interval. None: there is one group only.
    method : str
        How the interval was made.
    """

    value: float
    low: float | None
    high: float | None
    method: str

    def to_json(self) -> dict[str, Any]:
        """The figure as a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Replicates:
    """What the bootstrap made of a test: numbers of rows by label and answer.

    Attributes
    ----------
    labels, predicted : numpy.ndarray
        int64[c]: the pairs of a label and an answer that occur.
    counts : numpy.ndarray
        int64[repeats, c]: how many rows of each pair a replicate has.
    """

    labels: Codes
    predicted: Codes
    counts: npt.NDArray[np.int64]


def resample(
    labels: Codes, predicted: Codes, groups: Codes | None, seed: int, repeats: int = REPEATS
) -> Replicates:
    """Draws groups with replacement, each time as many as there are.

    Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13; by whole groups:
    Davison & Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8. Groups whose
    rows are of the same pairs are drawn as one with their number as its weight, which does not
    change the distribution.

    Parameters
    ----------
    labels, predicted : numpy.ndarray
        int64[n]: the label of each row, and the answer.
    groups : int64[n] or None
        What is drawn. None: rows.
    seed : int
        Of the draws.
    repeats : int
        How many replicates are made.
    """
    from scipy.sparse import csr_array

    pairs = labels * (1 + int(max(labels.max(), predicted.max()))) + predicted
    _, first, pair = np.unique(pairs, return_index=True, return_inverse=True)
    unit = np.arange(len(pairs)) if groups is None else np.unique(groups, return_inverse=True)[1]
    held = csr_array((np.ones(len(unit), np.int64), (unit, pair)))
    rng = np.random.default_rng(seed)
    marks = held @ rng.integers(1, 2**40, held.shape[1])  # the same for the same pairs
    _, kept, weights = np.unique(marks, return_index=True, return_counts=True)
    units, chances = held[kept], weights / weights.sum()
    size = max(1, BLOCK_NUMBERS // len(kept))
    blocks = [min(size, repeats - start) for start in range(0, repeats, size)]
    drawn = [rng.multinomial(held.shape[0], chances, block) @ units for block in blocks]
    return Replicates(labels[first], predicted[first], np.concatenate(drawn))


def accuracies(replicates: Replicates) -> npt.NDArray[np.float64]:
    """Returns the accuracy of each replicate, float64[repeats]."""
    counts, is_right = replicates.counts, replicates.labels == replicates.predicted
    shares: npt.NDArray[np.float64] = counts[:, is_right].sum(axis=1) / counts.sum(axis=1)
    return shares


def macro_f1s(replicates: Replicates) -> npt.NDArray[np.float64]:
    """Returns the macro-F1 of each replicate, float64[repeats].

    The mean of 2 · right / (rows of the label + rows that got it), over the labels that occur in
    the replicate as label or as answer: that of `sklearn.metrics.f1_score(average="macro")`.
    """
    from scipy.sparse import csr_array

    labels, predicted = replicates.labels, replicates.predicted
    pairs, classes = np.arange(len(labels)), 1 + int(max(labels.max(), predicted.max()))

    def per_class(codes: Codes, which: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        ones = np.ones(len(which), np.int64)
        table = csr_array((ones, (which, codes[which])), shape=(len(pairs), classes))
        summed: npt.NDArray[np.int64] = replicates.counts @ table
        return summed

    occurs = per_class(labels, pairs) + per_class(predicted, pairs)
    right = per_class(labels, pairs[labels == predicted])
    scores = np.divide(2 * right, occurs, out=np.zeros(occurs.shape), where=occurs > 0)
    means: npt.NDArray[np.float64] = scores.sum(axis=1) / (occurs > 0).sum(axis=1)
    return means


def wilson(right: int, n: int) -> tuple[float, float]:
    """Returns the interval of 95 % of the share right / n of independent rows.

    Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    from scipy.stats import binomtest

    interval = binomtest(right, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def percentile(replicated: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Returns the middle 95 % of a figure's replicates.

    Efron & Tibshirani, 1993, section 13.3.
    """
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(replicated, [tail, 1 - tail])
    return float(low), float(high)


def measure_share(is_right: npt.NDArray[np.bool_], groups: Codes | None, seed: int) -> Figure:
    """Measures the share of rows that are right.

    The interval is Wilson's, or where there are groups that of the bootstrap. If no row is wrong,
    there is nothing to resample: groups are then taken for trials that all succeeded.

    Parameters
    ----------
    is_right : numpy.ndarray
        bool[n]: whether each row is.
    groups, seed
        As in `resample`.
    """
    value, trials = float(is_right.mean()), _trials(is_right, groups)
    if trials == 1:
        return Figure(value, None, None, ONE_GROUP)
    if groups is None or value == 1:
        return Figure(value, *wilson(round(value * trials), trials), "Wilson")
    right = is_right.astype(np.int64)
    drawn = accuracies(resample(right, np.ones_like(right), groups, seed))
    return Figure(value, *percentile(drawn), "bootstrap")


def measure_macro_f1(labels: Codes, predicted: Codes, groups: Codes | None, seed: int) -> Figure:
    """Measures macro-F1: `sklearn.metrics.f1_score(average="macro")`.

    The interval is that of the bootstrap. If no row is wrong, it is that of `measure_share`.

    Parameters
    ----------
    labels, predicted, groups, seed
        As in `resample`.
    """
    from sklearn.metrics import f1_score

    value = float(f1_score(labels, predicted, average="macro", zero_division=0))
    if _trials(labels, groups) == 1:
        return Figure(value, None, None, ONE_GROUP)
    if value == 1:
        return measure_share(labels == predicted, groups, seed)
    drawn = macro_f1s(resample(labels, predicted, groups, seed))
    return Figure(value, *percentile(drawn), "bootstrap")


def _trials(rows: npt.NDArray[Any], groups: Codes | None) -> int:
    """How many independent trials there are."""
    return len(rows if groups is None else np.unique(groups))
