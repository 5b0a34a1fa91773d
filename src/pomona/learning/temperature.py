"""Temperature: one number that makes probabilities mean what they say."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pomona.learning.models.base import Codes, Logits

LOWEST, HIGHEST = 0.02, 50.0


def fit_temperature(logits: Logits, y: Codes) -> float:
    """Returns the T for which softmax(logits / T) has the least log loss.

    Guo, Pleiss, Sun & Weinberger, "On Calibration of Modern Neural Networks", 2017, section 4.2.

    Parameters
    ----------
    logits : float64[n, classes]
        Of rows that the model has not seen.
    y : int64[n]
        Their classes.
    """
    from scipy.optimize import minimize_scalar

    own = np.arange(len(y))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        peak = scaled.max(axis=1)
        total = np.log(np.exp(scaled - peak[:, None]).sum(axis=1)) + peak
        return float((total - scaled[own, y]).mean())

    bounds = (np.log(LOWEST), np.log(HIGHEST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def softmax(logits: Logits, temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Returns softmax(logits / temperature) of each row, float64[n, classes]."""
    scaled = logits / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probabilities: npt.NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return probabilities
