"""What models share that answer with shares of the classes, not with logits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import helper, numpy_helper

from pomona.learning.models.base import MISSING, Graph, Logits

# So unlikely is a class with a share of nothing, for its logarithm to be a number.
LEAST = 1e-6


def to_logits(shares: npt.NDArray[np.float64], present: npt.NDArray[np.bool_]) -> Logits:
    """Returns the logarithms of shares, none of them below `LEAST`.

    Parameters
    ----------
    shares : float64[n, classes]
        Of each row they sum to 1.
    present : bool[classes]
        Whether a row of the fit had the class; else its logit is `MISSING`.
    """
    return np.where(present, np.log(np.maximum(shares, LEAST)), MISSING)


def to_logits_graph(shares: str, present: npt.NDArray[np.bool_], logits: str) -> Graph:
    """Returns what computes the tensor `logits` from the tensor `shares`, both of float32."""
    nodes = [
        helper.make_node("Max", [shares, "least_share"], ["likely"]),
        helper.make_node("Log", ["likely"], ["logarithms"]),
        helper.make_node("Where", ["present", "logarithms", "missing"], [logits]),
    ]
    constants = [
        numpy_helper.from_array(np.asarray(LEAST, np.float32), "least_share"),
        numpy_helper.from_array(np.asarray(MISSING, np.float32), "missing"),
        numpy_helper.from_array(present, "present"),
    ]
    return Graph(nodes, constants)
