"""Logistic regression with an L2 penalty, by scikit-learn's L-BFGS.

Rows are divided by one number, so that components weigh as they vary, or standardized, so that all
weigh alike. Which is better depends on the images: cross-validation tries both.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from pomona.learning.models.base import MISSING, Codes, Logits, Rows, Settings
from pomona.learning.models.linear import Linear
from pomona.learning.models.scaling import PLAIN, STANDARD, find_scaling

# The most regularized first. A larger C takes longer to fit, and changes few answers.
SETTINGS: Sequence[Settings] = (
    *({"scaling": PLAIN, "C": c} for c in (0.005, 0.05, 1.0)),
    *({"scaling": STANDARD, "C": c} for c in (0.05, 0.5)),
)
MOST_STEPS, TOLERANCE = 200, 1e-4
# Of so many rows, half the steps give the same answers.
MANY_ROWS, MANY_TOLERANCE = 100_000, 3e-4
# Fits side by side, each on one thread: a second one would wait for the first most of the time.
THREADS = 2


def fit(x: Rows, y: Codes, classes: int, settings: Settings, seed: int) -> Linear:
    """Fits rows float32[n, width] of the classes int64[n]."""
    with _bounds():
        [model] = _fit_path(x, y, classes, settings["scaling"], [settings["C"]])
    return model


def out_of_fold(
    x: Rows, y: Codes, classes: int, folds: Codes, settings: Sequence[Settings], seed: int
) -> list[Logits]:
    """As `base.out_of_fold`: of each scaling, a fit starts where that of the smaller C ended."""
    results = [np.empty((len(x), classes)) for _ in settings]

    def answer(task: tuple[int, str]) -> None:
        fold, scaling = task
        held = folds == fold
        places = [at for at, each in enumerate(settings) if each["scaling"] == scaling]
        penalties = [settings[at]["C"] for at in places]
        models = _fit_path(x[~held], y[~held], classes, scaling, penalties)
        for at, model in zip(places, models, strict=True):
            results[at][held] = model.logits(x[held])

    scalings = dict.fromkeys(each["scaling"] for each in settings)
    tasks = [(fold, scaling) for scaling in scalings for fold in np.unique(folds).tolist()]
    with _bounds(), ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(answer, tasks))
    return results


@contextmanager
def _bounds() -> Iterator[None]:
    """Keeps each fit to one thread, and to itself that it stopped at the most steps."""
    with threadpool_limits(1, "blas"), warnings.catch_warnings():
        # A fit that is not at its end yet is as good as its cross-validation says.
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _fit_path(
    x: Rows, y: Codes, classes: int, scaling: str, penalties: Sequence[float]
) -> Iterator[Linear]:
    """Fits one C after the other, from small to large."""
    mean, scale = find_scaling(x, scaling)
    rows = (x - mean) / scale
    tolerance = MANY_TOLERANCE if len(x) >= MANY_ROWS else TOLERANCE
    regression = LogisticRegression(max_iter=MOST_STEPS, tol=tolerance, warm_start=True)
    for penalty in penalties:
        regression.set_params(C=penalty)
        regression.fit(rows, y)
        yield _linear(regression, mean, scale, classes)


def _linear(
    regression: LogisticRegression,
    mean: npt.NDArray[np.float32],
    scale: npt.NDArray[np.float32],
    classes: int,
) -> Linear:
    """The regression as a linear model of rows that are not scaled."""
    coefficients = regression.coef_.astype(np.float64)
    intercepts = regression.intercept_.astype(np.float64)
    if len(regression.classes_) == 2:  # scikit-learn has the second class's logit alone
        coefficients = np.vstack([np.zeros_like(coefficients), coefficients])
        intercepts = np.concatenate([[0.0], intercepts])
    weights, bias = np.zeros((coefficients.shape[1], classes)), np.full(classes, MISSING)
    weights[:, regression.classes_] = (coefficients / scale).T
    bias[regression.classes_] = intercepts - coefficients @ (mean / scale).astype(np.float64)
    return Linear(weights, bias)
