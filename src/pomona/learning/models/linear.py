"""What the linear models share: logits that are a matrix times the row, plus a bias."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import helper, numpy_helper
from threadpoolctl import threadpool_limits

from pomona.learning.models.base import Graph, Logits, Rows


@dataclass(frozen=True)
class Linear:
    """A fitted linear model: logits = x · weights + bias.

    Attributes
    ----------
    weights : float64[width, classes]
        Zeros for a class that no row of the fit had.
    bias : float64[classes]
        `MISSING` for such a class.
    """

    weights: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]

    def logits(self, x: Rows) -> Logits:
        """Returns float64[n, classes] of rows float32[n, width]."""
        with threadpool_limits(1, "blas"):
            result: Logits = x.astype(np.float64) @ self.weights + self.bias
        return result

    def graph(self, x: str, logits: str) -> Graph:
        """Returns a matrix product and a sum."""
        constants = [
            numpy_helper.from_array(self.weights.astype(np.float32), "weights"),
            numpy_helper.from_array(self.bias.astype(np.float32), "bias"),
        ]
        return Graph([helper.make_node("Gemm", [x, "weights", "bias"], [logits])], constants)
