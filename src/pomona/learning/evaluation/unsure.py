"""Unsure answers: what leaving them out is worth, and from which probability on to trust."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pomona.learning.evaluation.intervals import CONFIDENCE
from pomona.learning.models.base import Codes

WANTED = (0.99, 0.995, 0.999)
STEPS = 20
CURVE_POINTS = 100


def lower_bound(right: float, n: float) -> float:
    """Returns the one-sided 95 % lower bound of a share.

    Clopper & Pearson, "The use of confidence or fiducial limits", 1934. Both numbers may be
    effective ones, which need not be whole.
    """
    from scipy.stats import beta

    return float(beta.ppf(1 - CONFIDENCE, right, n - right + 1)) if right > 0 else 0.0


def needed(wanted: float) -> int:
    """Returns how many answers without a mistake it takes to promise an accuracy."""
    return int(np.ceil(np.log(1 - CONFIDENCE) / np.log(wanted)))


def find_threshold(
    probability: npt.NDArray[np.float64],
    is_right: npt.NDArray[np.bool_],
    wanted: float,
    groups: Codes | None = None,
) -> dict[str, Any]:
    """Finds the probability from which on answers are as accurate as wanted.

    The surest 5 %, 10 %, … 100 % of the answers are looked at. The largest share whose accuracy
    has a lower bound (`lower_bound`) of at least the wanted accuracy gives the threshold. Where
    there are groups, they are what is counted, each with the share of mistakes of all.

    Parameters
    ----------
    probability : numpy.ndarray
        float64[n]: of each answer on rows that the classifier has not seen.
    is_right : numpy.ndarray
        bool[n]: whether the answer is right.
    wanted : float
        The accuracy.
    groups : numpy.ndarray, optional
        int64[n]: given groups, where the promise is to hold for others.

    Returns
    -------
    dict
        wanted; threshold (None: none can be promised); answered, the share of rows at or above
        it; accuracy of these; bound; units, what was counted; needed, the fewest of these
        without a mistake that would do.
    """
    promise: dict[str, Any] = {"threshold": None, "answered": 0.0, "accuracy": None, "bound": None}
    order = np.sort(probability)[::-1]
    for step in range(STEPS, 0, -1):
        threshold = order[max(1, len(order) * step // STEPS) - 1]
        kept = probability >= threshold
        accuracy = float(is_right[kept].mean())
        n = int(kept.sum()) if groups is None else len(np.unique(groups[kept]))
        bound = lower_bound(accuracy * n, n)
        if bound >= wanted:
            promise = {
                "threshold": float(threshold),
                "answered": float(kept.mean()),
                "accuracy": accuracy,
                "bound": bound,
            }
            break
    units = "images" if groups is None else "groups"
    return {"wanted": wanted, **promise, "units": units, "needed": needed(wanted)}


def find_thresholds(
    trials: Mapping[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], Codes | None]],
) -> list[dict[str, Any]]:
    """Finds the threshold for each accuracy of `WANTED`.

    Parameters
    ----------
    trials : mapping
        By the name of their folds, the probability, is_right and groups of `find_threshold`. The
        first that allow a promise are taken.

    Returns
    -------
    list of dict
        As `find_threshold` has them, with the folds. What promises a higher accuracy is taken for
        a lower one, too, if it is not above its own threshold.
    """
    found: list[dict[str, Any]] = []
    for wanted in sorted(WANTED, reverse=True):
        promises = [
            find_threshold(probability, is_right, wanted, groups) | {"folds": folds}
            for folds, (probability, is_right, groups) in trials.items()
        ]
        promise = next((one for one in promises if one["threshold"] is not None), promises[0])
        if found and _height(found[0]) < _height(promise):
            promise = found[0] | {"wanted": wanted, "needed": promise["needed"]}
        found.insert(0, promise)
    return found


def _height(promise: Mapping[str, Any]) -> float:
    return np.inf if promise["threshold"] is None else float(promise["threshold"])


def apply(
    threshold: float | None,
    probability: npt.NDArray[np.float64],
    is_right: npt.NDArray[np.bool_],
) -> dict[str, Any] | None:
    """Says what a threshold does to other rows.

    Returns
    -------
    dict or None
        answered, the share of rows at or above it; rows, their number; right, how many of these
        are; accuracy; upper, its one-sided 95 % upper bound (Clopper & Pearson, 1934). None:
        there is no threshold, or no row.
    """
    if threshold is None or not len(probability):
        return None
    kept = probability >= threshold
    rows, right = int(kept.sum()), int(is_right[kept].sum())
    accuracy = right / rows if rows else None
    return {
        "answered": rows / len(kept),
        "rows": rows,
        "right": right,
        "accuracy": accuracy,
        "upper": 1 - lower_bound(rows - right, rows),
    }


def accuracy_by_share(
    probability: npt.NDArray[np.float64], is_right: npt.NDArray[np.bool_]
) -> list[tuple[float, float]]:
    """Returns the share of rows answered, the surest first, and the accuracy of these answers.

    The risk-coverage curve of El-Yaniv & Wiener, "On the Foundations of Noise-free Selective
    Classification", 2010, as accuracy. Rows of equal probability are answered together.

    Parameters
    ----------
    probability, is_right
        float64[n], bool[n]: of each answer.

    Returns
    -------
    list of (float, float)
        At most 100 points, rising in share; the last one answers all.
    """
    order = np.argsort(-probability, kind="stable")
    right = np.cumsum(is_right[order])
    ends = np.flatnonzero(np.append(np.diff(probability[order]) != 0, True))
    shown = ends[np.unique(np.linspace(0, len(ends) - 1, CURVE_POINTS).astype(int))]
    return [((end + 1) / len(order), float(right[end] / (end + 1))) for end in shown.tolist()]
