"""To add a model: a module with its settings and a fit, and an entry in `MODELS`.

This one takes the label of the nearest mean.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from onnx import helper, numpy_helper

from conftest import Pomona
from pomona.api import train
from pomona.learning.models.base import MISSING, Codes, Graph, Logits, Model, Rows, Settings
from pomona.learning.models.registry import MODELS

SETTINGS = ({"sharpness": 0.5}, {"sharpness": 2.0})
MEANS = Model("means", "nearest mean", __name__, is_quick=False)


@dataclass(frozen=True)
class Fitted:
    weights: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]

    def logits(self, x: Rows) -> Logits:
        result: Logits = x.astype(np.float64) @ self.weights + self.bias
        return result

    def graph(self, x: str, logits: str) -> Graph:
        constants = [
            numpy_helper.from_array(self.weights.astype(np.float32), "weights"),
            numpy_helper.from_array(self.bias.astype(np.float32), "bias"),
        ]
        return Graph([helper.make_node("Gemm", [x, "weights", "bias"], [logits])], constants)


def fit(x: Rows, y: Codes, classes: int, settings: Settings, seed: int) -> Fitted:
    weights, bias = np.zeros((x.shape[1], classes)), np.full(classes, MISSING)
    for code in np.unique(y):
        mean = x[y == code].mean(axis=0, dtype=np.float64)
        weights[:, code] = settings["sharpness"] * mean
        bias[code] = -settings["sharpness"] * mean @ mean / 2
    return Fitted(weights, bias)


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, MEANS.name, MEANS)


def test_a_model_from_outside_becomes_a_classifier(
    finished: Path, photos: Path, tmp_path: Path, pomona: Pomona
) -> None:
    store = Path(shutil.copytree(finished, tmp_path / "store"))
    classifier = train(store, model="means", groups="none", progress=False)
    assert classifier.facts["model"] == "means"
    assert [each["settings"] for each in classifier.facts["comparison"]] == list(SETTINGS)
    pomona.done("verify", store)
    # Who asks it needs the model no more.
    image = next(photos.rglob("*.jpg"))
    assert "photo" in pomona.done("predict", store, image).stdout
