"""The ONNX graph of a classifier: a row of the store in, probabilities out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pomona.backbones.graphs import IR_VERSION, OPSET
from pomona.learning.models.base import Fitted, check_size
from pomona.learning.models.trees import TREES_DOMAIN, TREES_OPSET

KEY = "pomona"


def classifier_graph(
    fitted: Fitted, width: int, classes: int, temperature: float, facts: Mapping[str, Any]
) -> bytes:
    """Returns a checked graph as ONNX bytes, the same for the same arguments.

    Its input is "rows", float32[batch, width]; its outputs are "label", int64[batch], the place of
    the most probable label, and "probabilities", float32[batch, classes].

    Parameters
    ----------
    fitted : Fitted
        The model.
    width, classes : int
        The numbers in a row, and how many labels there are.
    temperature : float
        What logits are divided by.
    facts : mapping
        What the file says of itself, as JSON under the key "pomona".

    Raises
    ------
    PomonaError
        If an ONNX file cannot hold it.
    """
    part = fitted.graph("rows", "logits")
    nodes = [
        *part.nodes,
        helper.make_node("Div", ["logits", "temperature"], ["scaled"]),
        helper.make_node("Softmax", ["scaled"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]
    constants = [
        *part.constants,
        numpy_helper.from_array(np.asarray(temperature, np.float32), "temperature"),
    ]
    rows = helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", width])
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", classes]),
    ]
    opsets = {"": OPSET, TREES_DOMAIN: TREES_OPSET}
    model = helper.make_model(
        helper.make_graph(nodes, "classifier", [rows], outputs, constants),
        opset_imports=[
            helper.make_opsetid(domain, opsets[domain])
            for domain in sorted({node.domain for node in nodes})
        ],
        ir_version=IR_VERSION,
        producer_name="pomona",
    )
    text = json.dumps(dict(facts), sort_keys=True, ensure_ascii=False)
    model.metadata_props.add(key=KEY, value=text)
    check_size(model.ByteSize())
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))
