"""Random forest, by scikit-learn: the mean over trees of the shares of classes in a leaf."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import RandomForestClassifier

from pomona.learning.models.base import Codes, Graph, Logits, Rows, Settings
from pomona.learning.models.shares import to_logits, to_logits_graph
from pomona.learning.models.trees import LESS_OR_EQUAL, Tree, sum_node

# The shallowest trees first.
SETTINGS: Sequence[Settings] = tuple({"min_samples_leaf": rows} for rows in (4, 1))
TREES, THREADS = 200, 2


@dataclass(frozen=True)
class Forest:
    """A fitted forest.

    Attributes
    ----------
    forest : sklearn.ensemble.RandomForestClassifier
        Of the classes that a row of the fit had.
    classes : int
        All of them.
    """

    forest: RandomForestClassifier
    classes: int

    def logits(self, x: Rows) -> Logits:
        """Returns float64[n, classes] of rows float32[n, width]."""
        shares = np.zeros((len(x), self.classes))
        shares[:, self.forest.classes_] = self.forest.predict_proba(x)
        return to_logits(shares, self._present)

    def graph(self, x: str, logits: str) -> Graph:
        """Returns the trees, and the logarithms of their shares."""
        base = np.zeros(self.classes, np.float32)
        end = to_logits_graph("shares", self._present, logits)
        trees = sum_node(x, "shares", self.trees, LESS_OR_EQUAL, base)
        return Graph([trees, *end.nodes], end.constants)

    @property
    def trees(self) -> list[Tree]:
        """The trees, each of which gives its part of the mean."""
        estimators = self.forest.estimators_
        return [_tree(each.tree_, self.forest.classes_, 1 / len(estimators)) for each in estimators]

    @property
    def _present(self) -> npt.NDArray[np.bool_]:
        return np.isin(np.arange(self.classes), self.forest.classes_)


def fit(x: Rows, y: Codes, classes: int, settings: Settings, seed: int) -> Forest:
    """Fits rows float32[n, width] of the classes int64[n]."""
    forest = RandomForestClassifier(
        TREES, min_samples_leaf=settings["min_samples_leaf"], n_jobs=THREADS, random_state=seed
    ).fit(x, y)
    # Several threads would add up the trees in any order.
    return Forest(forest.set_params(n_jobs=1), classes)


def _tree(tree: Any, classes: npt.NDArray[np.int64], weight: float) -> Tree:
    """One of scikit-learn's trees, each of whose leaves gives its shares times the weight."""
    shares = tree.value[:, 0, :]
    leaves, columns = np.nonzero(shares * (tree.children_left < 0)[:, None])
    return Tree(
        tree.children_left,
        tree.children_right,
        tree.feature,
        round_down(tree.threshold),
        leaves,
        classes[columns],
        (shares[leaves, columns] * weight).astype(np.float32),
    )


def round_down(thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Returns the greatest float32 up to each: a float32 is up to both, or to neither."""
    nearest = thresholds.astype(np.float32)
    return np.where(nearest > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest)
