"""Calibration: whether answers given with a probability of 0.9 are right in 0.9 of the cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pomona.learning.evaluation.intervals import wilson

BINS = 15


def reliability(
    probability: npt.NDArray[np.float64], is_right: npt.NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """Divides answers by their probability into 15 bins of equal width.

    Guo, Pleiss, Sun & Weinberger, "On Calibration of Modern Neural Networks", 2017, section 2. A
    bin is open below and closed above.

    Parameters
    ----------
    probability : numpy.ndarray
        float64[n]: of each answer.
    is_right : numpy.ndarray
        bool[n]: whether it is the row's label.

    Returns
    -------
    list of dict
        Of each bin that has rows: rows, probability (their mean), accuracy, and its interval of
        95 %, low and high (Wilson).
    """
    bins = np.clip(np.ceil(probability * BINS).astype(np.int64) - 1, 0, BINS - 1)
    found = []
    for one in np.unique(bins):
        held = bins == one
        rows, right = int(held.sum()), int(is_right[held].sum())
        low, high = wilson(right, rows)
        found.append(
            {
                "rows": rows,
                "probability": float(probability[held].mean()),
                "accuracy": right / rows,
                "low": low,
                "high": high,
            }
        )
    return found


def expected_calibration_error(curve: list[dict[str, Any]]) -> float:
    """Returns the mean difference of probability and accuracy over the bins, weighted by rows.

    Guo, Pleiss, Sun & Weinberger, 2017, equation 3.

    Parameters
    ----------
    curve : list of dict
        Of `reliability`.
    """
    rows = sum(each["rows"] for each in curve)
    return float(
        sum(each["rows"] * abs(each["accuracy"] - each["probability"]) for each in curve) / rows
    )


def log_loss(own: npt.NDArray[np.float64]) -> float:
    """Returns the mean of −log of the probabilities that labels were given, float64[n].

    That of `sklearn.metrics.log_loss`, which clips them likewise.
    """
    return float(-np.log(np.clip(own, np.finfo(np.float64).eps, 1)).mean())
