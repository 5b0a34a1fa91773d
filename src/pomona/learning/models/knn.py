"""Nearest neighbours: the labels of the rows that are most like a row.

The k nearest vote, each with a weight that falls with its distance and is nothing at that of the
next one: 1 − (distance / distance of the k + 1st)², the quadratic kernel of Epanechnikov with the
window of nearest neighbours (Hastie, Tibshirani & Friedman, "The Elements of Statistical Learning",
2009, section 6.1). So a row that is just outside of the window changes nothing, and which of two
rows at the same distance is found does not matter. Rows that are the same count as one, with the
shares of their labels: copies of an image under several labels say that it is any of them.

The graph contains the rows.
"""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import joblib
import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper
from sklearn.neighbors import NearestNeighbors

from pomona.learning.models.base import Codes, Graph, Logits, Rows, Settings
from pomona.learning.models.distances import squared_distances_graph
from pomona.learning.models.shares import to_logits, to_logits_graph

SETTINGS: Sequence[Settings] = tuple({"k": k} for k in (15, 5, 1))
# The least weight: of neighbours that are all at one distance, each has it.
LEAST = 1e-9
TINY = float(np.finfo(np.float64).tiny)


@functools.cache
def _count_cores() -> None:
    """Lets joblib count the cores for scikit-learn, once.

    Where it cannot, as in a container without lscpu, it warns and prints a traceback.
    """
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        joblib.cpu_count(only_physical_cores=True)


@dataclass(frozen=True)
class Neighbours:
    """Rows to look for neighbours among.

    Attributes
    ----------
    rows : float32[m, width]
        Distinct rows.
    kinds : int64[m]
        Which of the mixtures each of them is.
    mixtures : float64[kinds, classes]
        Shares of the classes: those of one class alone, by its place, and then those of each row
        that occurs under several labels.
    k : int
        How many neighbours vote.
    """

    rows: Rows
    kinds: Codes
    mixtures: npt.NDArray[np.float64]
    k: int

    @property
    def found(self) -> int:
        """How many rows are looked for: those that vote, and the next."""
        return min(self.k + 1, len(self.rows))

    def find(self, x: Rows) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Returns the distances and the places of the nearest rows, both [n, found]."""
        _count_cores()
        finder = NearestNeighbors(n_neighbors=self.found, algorithm="brute")
        distances, places = finder.fit(self.rows.astype(np.float64)).kneighbors(
            x.astype(np.float64)
        )
        return distances, places

    def vote(
        self, distances: npt.NDArray[np.float64], places: npt.NDArray[np.int64], k: int
    ) -> Logits:
        """Returns the logits float64[n, classes] by the first k neighbours of those found."""
        squares = distances[:, : k + 1] ** 2
        weights = np.maximum(1 - squares / np.maximum(squares[:, -1:], TINY), LEAST)
        weights /= weights.sum(axis=1, keepdims=True)
        shares = np.zeros((len(squares), self.mixtures.shape[1]))
        for weight, place in zip(weights.T, places.T[: k + 1], strict=True):
            shares += weight[:, None] * self.mixtures[self.kinds[place]]
        return to_logits(shares, self._present)

    def logits(self, x: Rows) -> Logits:
        """Returns float64[n, classes] of rows float32[n, width]."""
        return self.vote(*self.find(x), self.k)

    def graph(self, x: str, logits: str) -> Graph:
        """Returns distances to all rows in float64, the nearest of them, and their vote."""
        distances = squared_distances_graph(x, self.rows, "squares")
        nodes = [
            helper.make_node("TopK", ["squares", "found"], ["nearest", "places"], largest=0),
            helper.make_node("ReduceMax", ["nearest"], ["window"], axes=[1], keepdims=1),
            helper.make_node("Max", ["window", "tiny"], ["reach"]),
            helper.make_node("Div", ["nearest", "reach"], ["relative"]),
            helper.make_node("Sub", ["one", "relative"], ["kernel"]),
            helper.make_node("Max", ["kernel", "least_weight"], ["weights"]),
            helper.make_node("Unsqueeze", ["weights", "at_one"], ["weights_3d"]),
            helper.make_node("Gather", ["kinds", "places"], ["found_kinds"]),
            helper.make_node("Gather", ["mixtures", "found_kinds"], ["found_mixtures"]),
            helper.make_node("MatMul", ["weights_3d", "found_mixtures"], ["votes_3d"]),
            helper.make_node("Squeeze", ["votes_3d", "at_one"], ["votes"]),
            helper.make_node("ReduceSum", ["weights", "at_one"], ["total"], keepdims=1),
            helper.make_node("Div", ["votes", "total"], ["shares64"]),
            helper.make_node("Cast", ["shares64"], ["shares"], to=TensorProto.FLOAT),
        ]
        values = {
            "found": np.asarray([self.found]),
            "tiny": np.asarray(TINY),
            "one": np.asarray(1.0),
            "least_weight": np.asarray(LEAST),
            "at_one": np.asarray([1]),
            "kinds": self.kinds,
            "mixtures": self.mixtures,
        }
        constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
        end = to_logits_graph("shares", self._present, logits)
        return Graph(
            [*distances.nodes, *nodes, *end.nodes],
            [*distances.constants, *constants, *end.constants],
        )

    @property
    def _present(self) -> npt.NDArray[np.bool_]:
        present: npt.NDArray[np.bool_] = self.mixtures.max(axis=0) > 0
        return present


def fit(x: Rows, y: Codes, classes: int, settings: Settings, seed: int) -> Neighbours:
    """Keeps rows float32[n, width] of the classes int64[n]."""
    rows, inverse = np.unique(x, axis=0, return_inverse=True)
    keys, counts = np.unique(inverse.reshape(-1) * classes + y, return_counts=True)
    row, label = np.divmod(keys, classes)
    is_mixed = np.bincount(row) > 1
    kinds = np.empty(len(rows), np.int64)
    kinds[row] = label
    kinds[is_mixed] = classes + np.arange(is_mixed.sum())
    mixtures = np.zeros((classes + is_mixed.sum(), classes))
    mixtures[kinds[row], label] = counts
    mixtures /= np.maximum(mixtures.sum(axis=1, keepdims=True), 1)
    return Neighbours(rows, kinds, mixtures, settings["k"])


def out_of_fold(
    x: Rows, y: Codes, classes: int, folds: Codes, settings: Sequence[Settings], seed: int
) -> list[Logits]:
    """As `base.out_of_fold`; neighbours are looked for once for all k."""
    results = [np.empty((len(x), classes)) for _ in settings]
    most = max(each["k"] for each in settings)
    for fold in np.unique(folds):
        held = folds == fold
        neighbours = fit(x[~held], y[~held], classes, {"k": most}, seed)
        distances, places = neighbours.find(x[held])
        for result, each in zip(results, settings, strict=True):
            result[held] = neighbours.vote(distances, places, each["k"])
    return results
