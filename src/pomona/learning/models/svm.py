"""Support vector machine with a Gaussian kernel, by scikit-learn's SVC.

Each pair of classes has a decision of its own. Logits are scikit-learn's decision function of one
class against the rest: how many pairs a class wins, plus the sum of its decisions, squashed to
less than a third, which parts those that win as many. The label is that of `break_ties=True`.
Decisions are no probabilities: the temperature alone makes them such.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper
from sklearn.svm import SVC

from pomona.learning.models.base import MISSING, Codes, Graph, Logits, Rows, Settings
from pomona.learning.models.distances import squared_distances_graph

SETTINGS: Sequence[Settings] = tuple({"C": c} for c in (1.0, 10.0, 100.0))
CACHE_MB = 500


@dataclass(frozen=True)
class Machine:
    """A fitted support vector machine.

    Attributes
    ----------
    machine : sklearn.svm.SVC
        Of the classes that a row of the fit had.
    classes : int
        All of them.
    """

    machine: SVC
    classes: int

    def logits(self, x: Rows) -> Logits:
        """Returns float64[n, classes] of rows float32[n, width]."""
        decisions = self.machine.decision_function(x.astype(np.float64))
        if decisions.ndim == 1:  # of two classes, scikit-learn has the second one's alone
            decisions = np.stack([np.zeros_like(decisions), decisions], axis=1)
        logits = np.full((len(x), self.classes), MISSING)
        logits[:, self.machine.classes_] = decisions
        return logits

    def graph(self, x: str, logits: str) -> Graph:
        """Returns the kernel, the decisions of pairs and what they sum to, all in float64."""
        vectors = self.machine.support_vectors_.astype(np.float32)
        distances = squared_distances_graph(x, vectors, "squares")
        nodes = [
            helper.make_node("Mul", ["squares", "minus_gamma"], ["exponents"]),
            helper.make_node("Exp", ["exponents"], ["kernel"]),
        ]
        constants = {"minus_gamma": np.asarray(-self.machine.gamma)}
        end = self._one_pair() if len(self.machine.classes_) == 2 else self._all_pairs()
        nodes += end[0]
        constants |= end[1]
        nodes.append(helper.make_node("Cast", ["scores"], [logits], to=TensorProto.FLOAT))
        return Graph(
            [*distances.nodes, *nodes],
            [
                *distances.constants,
                *(numpy_helper.from_array(value, name) for name, value in constants.items()),
            ],
        )

    def _one_pair(self) -> tuple[list[Any], dict[str, npt.NDArray[Any]]]:
        """Nodes and constants from the kernel to the scores of two classes."""
        second = self.machine.classes_[1]
        weights = np.zeros((self.machine.dual_coef_.shape[1], self.classes))
        weights[:, second] = self.machine.dual_coef_[0]
        bias = self._missing()
        bias[second] = self.machine.intercept_[0]
        return (
            [helper.make_node("Gemm", ["kernel", "weights", "bias"], ["scores"])],
            {"weights": weights, "bias": bias},
        )

    def _all_pairs(self) -> tuple[list[Any], dict[str, npt.NDArray[Any]]]:
        """Nodes and constants from the kernel to the scores of more classes.

        The decision of a pair is a sum over the support vectors of either class. Each class's
        vectors are multiplied by their weights against each other class. The two sums of a pair
        are then gathered into [n, classes, classes].
        """
        present = self.machine.classes_
        number = len(present)
        constants: dict[str, npt.NDArray[Any]] = {"sizes": self.machine.n_support_.astype(np.int64)}
        ends = np.cumsum(self.machine.n_support_)[:-1]
        for at, weights in enumerate(np.split(self.machine.dual_coef_, ends, axis=1)):
            constants[f"weights_{at}"] = weights.T
        kernels = [f"kernel_{at}" for at in range(number)]
        sums = [f"sums_{at}" for at in range(number)]
        first, second = np.triu_indices(number, 1)
        one, other = np.zeros((2, self.classes, self.classes), np.int64)
        sign, bias = np.zeros((2, self.classes, self.classes))
        for a, b, of in ((first, second, 1.0), (second, first, -1.0)):
            place = present[a], present[b]
            one[place] = first * (number - 1) + second - 1
            other[place] = second * (number - 1) + first
            sign[place], bias[place] = of, self.machine.intercept_
        constants |= {"one": one, "other": other, "sign": sign, "bias": bias}
        constants |= {
            "zero": np.asarray(0.0),
            "three": np.asarray(3.0),
            "last": np.asarray([2]),
            "missing": self._missing(),
        }
        nodes = [
            helper.make_node("Split", ["kernel", "sizes"], kernels, axis=1),
            *(
                helper.make_node("MatMul", [kernel, f"weights_{at}"], [sums[at]])
                for at, kernel in enumerate(kernels)
            ),
            helper.make_node("Concat", sums, ["all_sums"], axis=1),
            helper.make_node("Gather", ["all_sums", "one"], ["one_sums"], axis=1),
            helper.make_node("Gather", ["all_sums", "other"], ["other_sums"], axis=1),
            helper.make_node("Sum", ["one_sums", "other_sums", "bias"], ["unsigned"]),
            helper.make_node("Mul", ["unsigned", "sign"], ["decisions"]),
            helper.make_node("Greater", ["decisions", "zero"], ["is_won"]),
            helper.make_node("Cast", ["is_won"], ["won"], to=TensorProto.DOUBLE),
            helper.make_node("ReduceSum", ["won", "last"], ["votes"], keepdims=0),
            helper.make_node("ReduceSum", ["decisions", "last"], ["confidence"], keepdims=0),
            helper.make_node("Abs", ["confidence"], ["size"]),
            helper.make_node("Mul", ["size", "three"], ["size_3"]),
            helper.make_node("Add", ["size_3", "three"], ["bound"]),
            helper.make_node("Div", ["confidence", "bound"], ["squashed"]),
            helper.make_node("Sum", ["votes", "squashed", "missing"], ["scores"]),
        ]
        return nodes, constants

    def _missing(self) -> npt.NDArray[np.float64]:
        """`MISSING` for each class that no row of the fit had, else 0."""
        missing = np.full(self.classes, MISSING)
        missing[self.machine.classes_] = 0
        return missing


def fit(x: Rows, y: Codes, classes: int, settings: Settings, seed: int) -> Machine:
    """Fits rows float32[n, width] of the classes int64[n]."""
    rows = x.astype(np.float64)
    # As gamma="scale", but known.
    gamma = 1 / (rows.shape[1] * (rows.var() or 1.0))
    machine = SVC(C=settings["C"], gamma=gamma, cache_size=CACHE_MB)
    return Machine(machine.fit(rows, y), classes)
