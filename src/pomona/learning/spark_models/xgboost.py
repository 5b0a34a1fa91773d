"""Boosted trees by `xgboost.spark`: each task that trains keeps a share of the rows."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
from xgboost.spark import SparkXGBClassifier

from pomona.learning.models.base import Graph, Logits, Settings
from pomona.learning.models.trees import LESS, Tree, sum_node
from pomona.learning.models.xgboost import ROUNDS, parameters, read_trees
from pomona.learning.spark_models.answers import OnSpark
from pomona.learning.spark_models.rows import SparkRows

LIBRARY = "xgboost"


def fit(rows: SparkRows, settings: Settings, seed: int) -> OnSpark:
    """Fits rows, among which each class occurs."""
    # It says on the terminal that it runs.
    logging.getLogger("XGBoost-PySpark").setLevel(logging.WARNING)
    workers = min(rows.slots, rows.parts)
    model = SparkXGBClassifier(
        **parameters(settings, rows.width),
        n_estimators=ROUNDS,
        num_workers=workers,
        # Of two classes the probability before any tree; of more, what all have alike.
        base_score=0.5,
        random_state=seed,
    ).fit(rows.frame(workers))
    trees = read_trees(model.get_booster())
    if rows.classes == 2:  # XGBoost has the second one's logit alone
        trees = [dataclasses.replace(tree, classes=np.ones_like(tree.classes)) for tree in trees]
    return OnSpark(model, "rawPrediction", _to_logits, partial(_graph, trees, rows.classes))


def _graph(trees: Sequence[Tree], classes: int, x: str, logits: str) -> Graph:
    base = np.zeros(classes, np.float32)
    return Graph([sum_node(x, logits, trees, LESS, base)], [])


def _to_logits(margins: npt.NDArray[np.float64]) -> Logits:
    if margins.shape[1] == 2:  # Spark's are those of a class and their negatives
        return np.stack([np.zeros(len(margins)), margins[:, 1]], axis=1)
    return margins
