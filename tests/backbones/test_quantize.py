from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_models import TENSORFLOW, TORCH, Node, model

from conftest import Pomona
from pomona import open as open_store

LAYERS: list[Node] = [
    ("Conv", "input kernel", "conv"),
    ("Clip", "conv zero six", "clipped"),
    ("MaxPool", "clipped", "smaller", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("Conv", "smaller filters", "filtered", {"group": 4, "pads": [1, 1, 1, 1]}),
    ("Conv", "smaller square", "turned"),
    ("Add", "filtered turned", "sum"),
    ("Sigmoid", "sum", "gate"),
    ("Mul", "sum gate", "swish"),
    ("Conv", "swish square", "last"),
    ("GlobalAveragePool", "last", "pool"),
    ("Flatten", "pool", "flat"),
    ("Gemm", "flat matrix bias", "logits"),
]


@pytest.fixture
def constants(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx_models

    random = np.random.default_rng(1)
    more = {
        "zero": np.float32(0),
        "six": np.float32(6),
        "filters": random.normal(0, 0.3, (8, 2, 3, 3)).astype(np.float32),
        "square": random.normal(0, 0.3, (8, 8, 1, 1)).astype(np.float32),
    }
    monkeypatch.setattr(onnx_models, "CONSTANTS", {**onnx_models.CONSTANTS, **more})


def quantize(pomona: Pomona, photos: Path, folder: Path, nodes: list[Node], **how: Any) -> Any:
    onnx.save_model(model(nodes, **how), folder / "small.onnx")
    flags = ["--preprocessing", "imagenet", "--limit", 16, "--json"]
    return pomona(
        *("backbones", "quantize", folder / "small.onnx", photos, folder / "out.onnx", *flags)
    )


@pytest.mark.parametrize("nodes", [TORCH, LAYERS], ids=["torch", "layers"])
@pytest.mark.usefixtures("constants")
def test_a_network_of_other_operators_stays_nearly_the_same(
    photos: Path, pomona: Pomona, tmp_path: Path, nodes: list[Node]
) -> None:
    ended = quantize(pomona, photos, tmp_path, nodes)
    assert ended.status == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["measured"] == told["compared"] == 8
    assert told["least_cosine"] > 0.995
    assert told["speed"] > 0
    operators = {node.op_type for node in onnx.load(tmp_path / "out.onnx").graph.node}
    assert "QLinearConv" in operators
    assert "Conv" not in operators
    out = tmp_path / "out"
    flags = ["--limit", 4, "--components", 2, "--workers", 1, "--backbone", tmp_path / "out.onnx"]
    pomona.done("run", photos, out, *flags)
    recipe = open_store(out).manifest["recipe"]
    assert recipe["precision"] == "int8"
    assert recipe["model_sha256"] == told["model_sha256"]


def test_what_cannot_be_quantized_is_refused_in_a_line(
    photos: Path, pomona: Pomona, tmp_path: Path
) -> None:
    flat: list[Node] = [
        ("GlobalAveragePool", "input", "pool"),
        ("Flatten", "pool", "flat"),
    ]
    ended = quantize(pomona, photos, tmp_path, flat)
    assert ended.status == 1
    assert "no convolutions with weights of their own to quantize" in ended.stderr
    ended = quantize(pomona, photos, tmp_path, TENSORFLOW, shape=("n", 16, 16, 3), opset=11)
    assert ended.status == 1
    assert "opset 11: export it with 12 or later for int8" in ended.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "one.jpg").write_bytes(next(photos.rglob("*.jpg")).read_bytes())
    ended = quantize(pomona, empty, tmp_path, TORCH)
    assert ended.status == 1
    assert "1 images that can be read: give 8 or more" in ended.stderr
    assert not (tmp_path / "out.onnx").exists()
