"""What the linear models share: logits that are a matrix times the row, plus a bias."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper
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
        """Returns the product and the sum in float64, less the greatest logit of each row.

        Logits of several hundreds, as a discriminant has them, are too coarse in float32 for
        probabilities within 1e-5.
        """
        nodes = [
            helper.make_node("Cast", [x], ["x64"], to=TensorProto.DOUBLE),
            helper.make_node("Gemm", ["x64", "weights", "bias"], ["sums"]),
            helper.make_node("ReduceMax", ["sums"], ["peaks"], axes=[1], keepdims=1),
            helper.make_node("Sub", ["sums", "peaks"], ["below"]),
            helper.make_node("Cast", ["below"], [logits], to=TensorProto.FLOAT),
        ]
        constants = [
            numpy_helper.from_array(self.weights, "weights"),
            numpy_helper.from_array(self.bias, "bias"),
        ]
        return Graph(nodes, constants)
