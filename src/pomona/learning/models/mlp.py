"""A neural network with one hidden layer, by scikit-learn's MLPClassifier."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from pomona.learning.models.base import MISSING, Codes, Graph, Logits, Rows, Settings
from pomona.learning.models.scaling import PLAIN, find_scaling

# The most regularized first.
SETTINGS: Sequence[Settings] = tuple({"alpha": alpha} for alpha in (1.0, 0.01))
HIDDEN, MOST_EPOCHS = 256, 60


@dataclass(frozen=True)
class Network:
    """A fitted network: logits = relu((x − mean) / scale · w1 + b1) · w2 + b2.

    Attributes
    ----------
    mean, scale : float32[width]
        How rows are scaled.
    w1, b1, w2, b2 : float64
        [width, hidden], [hidden], [hidden, classes] and [classes]; of a class that no row of the
        fit had, zeros in w2 and `MISSING` in b2.
    """

    mean: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]
    w1: npt.NDArray[np.float64]
    b1: npt.NDArray[np.float64]
    w2: npt.NDArray[np.float64]
    b2: npt.NDArray[np.float64]

    def logits(self, x: Rows) -> Logits:
        """Returns float64[n, classes] of rows float32[n, width]."""
        rows = ((x - self.mean) / self.scale).astype(np.float64)
        with threadpool_limits(1, "blas"):
            hidden: npt.NDArray[np.float64] = np.maximum(rows @ self.w1 + self.b1, 0)
            result: Logits = hidden @ self.w2 + self.b2
        return result

    def graph(self, x: str, logits: str) -> Graph:
        """Returns the scaling, and the two layers in float64."""
        nodes = [
            helper.make_node("Sub", [x, "mean"], ["centred"]),
            helper.make_node("Div", ["centred", "scale"], ["scaled_rows"]),
            helper.make_node("Cast", ["scaled_rows"], ["x64"], to=TensorProto.DOUBLE),
            helper.make_node("Gemm", ["x64", "w1", "b1"], ["sums"]),
            helper.make_node("Relu", ["sums"], ["hidden"]),
            helper.make_node("Gemm", ["hidden", "w2", "b2"], ["answers"]),
            helper.make_node("Cast", ["answers"], [logits], to=TensorProto.FLOAT),
        ]
        names = ("mean", "scale", "w1", "b1", "w2", "b2")
        return Graph(nodes, [numpy_helper.from_array(getattr(self, name), name) for name in names])


def fit(x: Rows, y: Codes, classes: int, settings: Settings, seed: int) -> Network:
    """Fits rows float32[n, width] of the classes int64[n]."""
    mean, scale = find_scaling(x, PLAIN)
    network = MLPClassifier(
        HIDDEN, alpha=settings["alpha"], max_iter=MOST_EPOCHS, random_state=seed
    )
    with threadpool_limits(1, "blas"), warnings.catch_warnings():
        # After so many epochs, cross-validation says what more would.
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit((x - mean) / scale, y)
    w1, last, b1, last_bias = (
        each.astype(np.float64) for each in (*network.coefs_, *network.intercepts_)
    )
    if len(network.classes_) == 2:  # scikit-learn has the second class's logit alone
        last = np.hstack([np.zeros_like(last), last])
        last_bias = np.append(np.zeros_like(last_bias), last_bias)
    w2, b2 = np.zeros((HIDDEN, classes)), np.full(classes, MISSING)
    w2[:, network.classes_] = last
    b2[network.classes_] = last_bias
    return Network(mean, scale, w1, b1, w2, b2)
