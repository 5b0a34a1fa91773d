"""Logistic regression by Spark ML: the minimum that scikit-learn looks for.

Spark minimizes the mean loss plus regParam / 2 · |w|², scikit-learn C times the sum of the losses
plus 1 / 2 · |w|², with w the weights of scaled rows. So regParam is 1 / (C · n). It counts for the
weights of standardized rows where `standardization` is on; of rows that are all divided by one
number it is that number's square larger.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pyspark.ml.classification import LogisticRegression, LogisticRegressionModel

from pomona.learning.models.base import Logits, Settings
from pomona.learning.models.linear import Linear
from pomona.learning.models.logistic import MOST_STEPS
from pomona.learning.models.scaling import STANDARD
from pomona.learning.spark_models.answers import OnSpark
from pomona.learning.spark_models.rows import SparkRows

LIBRARY = None
# Of the loss between two steps: it is at its end then, but for differences that change few labels.
TOLERANCE = 1e-5
LEAST = float(np.finfo(np.float64).tiny)


def fit(rows: SparkRows, settings: Settings, seed: int) -> OnSpark:
    """Fits rows, among which each class occurs."""
    penalty = 1 / (settings["C"] * len(rows))
    is_standard = settings["scaling"] == STANDARD
    model = LogisticRegression(
        maxIter=MOST_STEPS,
        tol=TOLERANCE,
        regParam=penalty if is_standard else penalty * rows.spread**2,
        standardization=is_standard,
    ).fit(rows.frame())
    return OnSpark(model, "probability", _to_logits, _linear(model).graph)


def _linear(model: LogisticRegressionModel) -> Linear:
    weights = model.coefficientMatrix.toArray().T.astype(np.float64)
    bias = model.interceptVector.toArray().astype(np.float64)
    if len(bias) == 1:  # of two classes, Spark has the second one's logit alone
        weights = np.hstack([np.zeros_like(weights), weights])
        bias = np.concatenate([[0.0], bias])
    return Linear(weights, bias)


def _to_logits(probabilities: npt.NDArray[np.float64]) -> Logits:
    logits: Logits = np.log(np.maximum(probabilities, LEAST))
    return logits
