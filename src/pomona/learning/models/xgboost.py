"""Boosted trees, by XGBoost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xgboost

from pomona.learning.models.base import MISSING, Codes, Graph, Logits, Rows, Settings
from pomona.learning.models.trees import LESS, Tree, sum_node

# The shallowest trees first.
SETTINGS: Sequence[Settings] = tuple({"max_depth": depth} for depth in (4, 6))
ROUNDS, THREADS = 80, 2


@dataclass(frozen=True)
class Boosted:
    """Fitted trees.

    Attributes
    ----------
    booster : xgboost.Booster
        One tree of each class in each round.
    present : bool[classes]
        Whether a row of the fit had the class.
    """

    booster: xgboost.Booster
    present: npt.NDArray[np.bool_]

    def logits(self, x: Rows) -> Logits:
        """Returns float64[n, classes] of rows float32[n, width]."""
        margins = self.booster.predict(xgboost.DMatrix(x, nthread=1), output_margin=True)
        return np.where(self.present, margins.astype(np.float64), MISSING)

    def graph(self, x: str, logits: str) -> Graph:
        """Returns the trees."""
        base = np.where(self.present, 0, MISSING).astype(np.float32)
        return Graph([sum_node(x, logits, read_trees(self.booster), LESS, base)], [])


def fit(x: Rows, y: Codes, classes: int, settings: Settings, seed: int) -> Boosted:
    """Fits rows float32[n, width] of the classes int64[n]."""
    booster = xgboost.train(
        {
            **parameters(settings, x.shape[1]),
            "objective": "multi:softprob",
            "num_class": classes,
            "base_score": 0.0,
            "nthread": THREADS,
            "seed": seed,
        },
        xgboost.DMatrix(x, y, nthread=THREADS),
        ROUNDS,
    )
    return Boosted(booster, np.bincount(y, minlength=classes) > 0)


def parameters(settings: Settings, width: int) -> dict[str, Any]:
    """Returns XGBoost's own parameters for rows of so many numbers."""
    return {
        "max_depth": settings["max_depth"],
        # Each tree sees half the rows, and as many columns as a split of a random forest: several
        # times faster than on all of them, and more accurate.
        "subsample": 0.5,
        "colsample_bytree": width**-0.5,
        "tree_method": "hist",
        "max_bin": 64,
    }


def read_trees(booster: xgboost.Booster) -> list[Tree]:
    """Returns the trees of a booster, from XGBoost's own JSON."""
    model = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]
    return [_tree(tree, of) for tree, of in zip(model["trees"], model["tree_info"], strict=True)]


def _tree(tree: Mapping[str, Any], of: int) -> Tree:
    """One of XGBoost's trees, all of whose leaves give to one class."""
    left = np.asarray(tree["left_children"], np.int64)
    # The value of a leaf stands in the place of its threshold.
    values = np.asarray(tree["split_conditions"], np.float32)
    [leaves] = np.nonzero(left < 0)
    return Tree(
        left,
        np.asarray(tree["right_children"], np.int64),
        np.asarray(tree["split_indices"], np.int64),
        values,
        leaves,
        np.full(len(leaves), of),
        values[leaves],
    )
