"""A classifier by the nearest mean of each label, made by hand: quick, without a library."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
from onnx import TensorProto, helper, numpy_helper

from pomona.backbones.graphs import IR_VERSION, OPSET
from pomona.learning.models.base import Codes, Rows
from pomona.learning.seen import Seen
from pomona.store import classifier
from pomona.store.layout import CLASSIFIER_MODEL, CLASSIFIER_SEEN, SUSPECTS
from pomona.store.store import Store
from pomona.store.tables import encode_csv


def graph(means: Rows, temperature: float) -> bytes:
    """softmax(−|x − mean|² / 2 / temperature), as model.onnx has it."""
    width, classes = means.shape[1], len(means)
    weights = (means / temperature).astype(np.float32)
    bias = (-np.square(means).sum(axis=1) / 2 / temperature).astype(np.float32)
    nodes = [
        helper.make_node("Gemm", ["rows", "weights", "bias"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "classifier",
            [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", width])],
            [
                helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
                helper.make_tensor_value_info(
                    "probabilities", TensorProto.FLOAT, ["batch", classes]
                ),
            ],
            [
                numpy_helper.from_array(weights, "weights"),
                numpy_helper.from_array(bias, "bias"),
            ],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="pomona",
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def teach(
    folder: Path | str,
    *,
    on: str = "pca",
    temperature: float = 30.0,
    suspects: pa.Table | None = None,
) -> dict[str, Any]:
    """Gives a store a classifier of its labels; returns what classifier.json says.

    suspects: what suspects.csv lists; without it, the classifier has none, as it was not evaluated.
    """
    store = Store(folder)
    vectors = store.pca() if on == "pca" else store.features()
    names = sorted({label for label in vectors.labels if label is not None})
    y: Codes = np.array([names.index(label) for label in vectors.labels if label is not None])
    means = np.stack([vectors.array[y == code].mean(axis=0) for code in range(len(names))])
    model = graph(means, temperature)
    facts = {
        "id": hashlib.sha256(model).hexdigest()[:16],
        "labels": names,
        "model": "means",
        "on": on,
        "projection": store.projection.id if on == "pca" else None,
        "recipe": store.recipe.digest,
        "temperature": temperature,
    }
    seen = Seen.of(vectors.array, y, np.arange(len(y)) % 5)
    with store.lock("test") as (locked, _):
        contents = {CLASSIFIER_MODEL: model, CLASSIFIER_SEEN: seen.to_bytes()}
        if suspects is not None:
            contents[SUSPECTS] = bytes(encode_csv(suspects))
        classifier.write(locked.files, facts, contents)
    return facts
