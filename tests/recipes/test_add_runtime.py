"""To add a runtime: a module with two functions, and an entry in `RUNTIMES`.

This one drives ONNX's own reference evaluator, which computes each operator with NumPy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pomona
from pomona.backbones.runtimes.base import Runtime, Session, SessionSettings
from pomona.backbones.runtimes.registry import RUNTIMES
from pomona.errors import UsageError

REFERENCE = Runtime(
    name="reference",
    implementation=__name__,
    library="onnx",
    package="onnx",
    batch_sizes={"float32": 8},
)
SETTINGS: dict[str, Any] = {
    "limit": 4,
    "components": 2,
    "input_size": 32,
    "workers": 1,
    "progress": False,
}


def open_session(model: bytes, settings: SessionSettings) -> Session:
    import onnx
    from onnx.reference import ReferenceEvaluator

    evaluator: Any = ReferenceEvaluator(onnx.load_model_from_string(model))

    def run(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        features: NDArray[np.float32] = evaluator.run(["features"], {"images": batch})[0]
        return features

    return run


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNTIMES, REFERENCE.name, REFERENCE)


def test_a_runtime_from_outside_computes_the_features(photos: Path, tmp_path: Path) -> None:
    made = pomona.run(photos, tmp_path / "made", runtime="reference", **SETTINGS)
    expected = pomona.run(photos, tmp_path / "expected", **SETTINGS).features()
    features = made.features()
    assert features.paths == expected.paths
    np.testing.assert_allclose(features.array, expected.array, rtol=1e-3, atol=1e-4)
    assert features.array.tobytes() != expected.array.tobytes()
    assert made.recipe.runtime == "reference"
    assert "onnx" in made.manifest["runs"][0]["machine"]


def test_it_has_the_precisions_that_its_entry_names() -> None:
    with pytest.raises(UsageError, match="reference does not have it; add `runtime` openvino"):
        pomona.run("photos", "out", runtime="reference", precision="bfloat16")
