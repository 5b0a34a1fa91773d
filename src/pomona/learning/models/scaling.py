"""What rows are divided by before a model that needs it sees them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pomona.learning.models.base import Rows

PLAIN, STANDARD = "plain", "standard"


def find_scaling(x: Rows, scaling: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Returns what is taken from each row, and what it is then divided by.

    Parameters
    ----------
    x : float32[n, width]
        The rows.
    scaling : str
        "plain": all columns by one number, so that they weigh as they vary; "standard": each by
        its standard deviation, so that they weigh alike.

    Returns
    -------
    mean, scale : float32[width]
    """
    mean = x.mean(axis=0, dtype=np.float64)
    deviations = x.std(axis=0, dtype=np.float64)
    if scaling == PLAIN:
        deviations = np.full_like(deviations, np.sqrt((deviations**2).mean()))
    deviations[deviations == 0] = 1
    return mean.astype(np.float32), deviations.astype(np.float32)
