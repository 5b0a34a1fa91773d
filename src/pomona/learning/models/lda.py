"""Linear discriminant analysis, shrunk: class means and one scatter, from which it is solved.

The classes share a covariance S, which is drawn towards a multiple of the identity: with shrinkage
s, (1 − s)·S + s·trace(S)/width·I. That of a row's class c is then the greatest of
x·S⁻¹·mean_c − mean_c·S⁻¹·mean_c/2 + log prior_c (Hastie, Tibshirani & Friedman, "The Elements of
Statistical Learning", 2009, section 4.3), as scikit-learn's solver "lsqr" has it.

All that this needs are numbers, sums and squares of the classes' rows, which can be measured for
any part of the rows, added and subtracted. A fit without a fold is the whole less the fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from pomona.learning.models.base import MISSING, Codes, Logits, Rows, Settings
from pomona.learning.models.linear import Linear

SETTINGS: Sequence[Settings] = tuple(
    {"shrinkage": share} for share in (0.9, 0.8, 0.65, 0.5, 0.3, 0.2, 0.1, 0.03, 0.01)
)
BLOCK_ROWS = 65_536


@dataclass(frozen=True)
class ClassMoments:
    """The moments of rows, by class.

    Attributes
    ----------
    counts : int64[classes]
        The number of rows.
    sums : float64[classes, width]
        Their sums.
    squares : float64[width, width]
        The sum of xᵀ·x over all rows.
    """

    counts: npt.NDArray[np.int64]
    sums: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]

    def __add__(self, other: ClassMoments) -> ClassMoments:
        """Returns the moments of both."""
        return ClassMoments(
            self.counts + other.counts, self.sums + other.sums, self.squares + other.squares
        )

    def __sub__(self, other: ClassMoments) -> ClassMoments:
        """Returns the moments without rows that are among these."""
        return ClassMoments(
            self.counts - other.counts, self.sums - other.sums, self.squares - other.squares
        )

    @classmethod
    def measure(cls, x: Rows, y: Codes, classes: int) -> ClassMoments:
        """Measures rows float32[n, width] of the classes int64[n], in float64 on one thread."""
        width = x.shape[1]
        moments = cls(
            np.zeros(classes, np.int64), np.zeros((classes, width)), np.zeros((width, width))
        )
        with threadpool_limits(1, "blas"):
            for start in range(0, len(x), BLOCK_ROWS):
                rows = x[start : start + BLOCK_ROWS].astype(np.float64)
                codes = y[start : start + BLOCK_ROWS]
                order = np.argsort(codes, kind="stable")
                present, first = np.unique(codes[order], return_index=True)
                sums = np.zeros((classes, width))
                if len(rows):
                    sums[present] = np.add.reduceat(rows[order], first, axis=0)
                moments += cls(np.bincount(codes, minlength=classes), sums, rows.T @ rows)
        return moments

    def solve(self, shrinkages: Sequence[float]) -> list[Linear]:
        """Returns a model for each shrinkage, from one eigendecomposition of the covariance."""
        present = self.counts > 0
        counts = self.counts[present]
        n = counts.sum()
        means = self.sums[present] / counts[:, None]
        with threadpool_limits(1, "blas"):
            covariance = (self.squares - (means * counts[:, None]).T @ means) / n
            variances, axes = np.linalg.eigh(covariance)
            variances = np.maximum(variances, 0)
            # Where the rows of each class are alike, the nearest class mean is all there is.
            least = np.finfo(float).eps * np.trace(self.squares) / (n * len(axes)) or 1.0
            mean_variance = max(variances.mean(), least)
            turned = means @ axes
            models = []
            for share in shrinkages:
                shrunk = (1 - share) * variances + share * mean_variance
                scaled = turned / shrunk
                weights = np.zeros((len(axes), len(present)))
                weights[:, present] = axes @ scaled.T
                bias = np.full(len(present), MISSING)
                bias[present] = np.log(counts / n) - (scaled * turned).sum(axis=1) / 2
                models.append(Linear(weights, bias))
        return models


def fit(x: Rows, y: Codes, classes: int, settings: Settings, seed: int) -> Linear:
    """Fits rows float32[n, width] of the classes int64[n]."""
    [model] = ClassMoments.measure(x, y, classes).solve([settings["shrinkage"]])
    return model


def out_of_fold(
    x: Rows, y: Codes, classes: int, folds: Codes, settings: Sequence[Settings], seed: int
) -> list[Logits]:
    """As `base.out_of_fold`, with each fold's moments taken from those of all rows."""
    numbers = np.unique(folds)
    parts = [ClassMoments.measure(x[folds == fold], y[folds == fold], classes) for fold in numbers]
    whole = parts[0]
    for part in parts[1:]:
        whole += part
    results = [np.empty((len(x), classes)) for _ in settings]
    for fold, part in zip(numbers, parts, strict=True):
        held = folds == fold
        models = (whole - part).solve([each["shrinkage"] for each in settings])
        for result, model in zip(results, models, strict=True):
            result[held] = model.logits(x[held])
    return results
