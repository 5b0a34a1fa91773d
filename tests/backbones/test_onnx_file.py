"""Any ONNX file as a backbone: where it is cut, what it takes, and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto
from onnx_models import CHANNELS, SIDE, TENSORFLOW, TORCH, Node, expected, model

from pomona.backbones import cache, registry
from pomona.backbones.network import Network
from pomona.backbones.onnx import exported
from pomona.backbones.overrides import NO_OVERRIDES, ModelOverrides
from pomona.errors import BackboneError, PomonaError, UsageError
from pomona.extraction.recipe import make_recipe

UNIT = ModelOverrides(preprocessing="unit")


@pytest.fixture
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)


def save(folder: Path, made: onnx.ModelProto, name: str = "small.onnx") -> str:
    path = folder / name
    path.write_bytes(made.SerializeToString())
    return str(path)


def load(path: str, reading: ModelOverrides = UNIT) -> Network:
    return cache.load(registry.get(path, reading))


NHWC = ("batch", SIDE, SIDE, 3)


@pytest.mark.parametrize(
    ("nodes", "shape", "cut"),
    [
        (TORCH, ("batch", 3, SIDE, SIDE), "flat"),
        (TENSORFLOW, NHWC, "mean"),
        (TORCH[:4], ("batch", 3, SIDE, SIDE), "flat"),
        (TORCH[:3], ("batch", 3, SIDE, SIDE), "pool"),
        (TORCH[:2], ("batch", 3, SIDE, SIDE), "relu"),
        (TENSORFLOW[:4], NHWC, "last"),
        (TORCH, (1, 3, SIDE, SIDE), "flat"),
    ],
)
def test_the_default_cut_is_before_the_classifier(
    tmp_path: Path,
    images: NDArray[np.uint8],
    nodes: list[Node],
    shape: tuple[int | str, ...],
    cut: str,
) -> None:
    backbone = registry.get(save(tmp_path, model(nodes, shape)), UNIT)
    network = cache.load(backbone)
    assert (network.width, network.input_size) == (CHANNELS, SIDE)
    assert np.allclose(network.features(images), expected(images, std=255.0), atol=1e-5)
    assert backbone.note is not None
    assert f" cut at {cut} (" in backbone.note


def test_maps_at_the_cut_are_averaged_and_that_is_said(
    tmp_path: Path, images: NDArray[np.uint8]
) -> None:
    path = save(tmp_path, model(TORCH))
    reading = ModelOverrides(layer="/relu", preprocessing="unit")
    assert "its maps averaged" in str(registry.get(path, reading).note)
    assert np.allclose(load(path, reading).features(images), expected(images, std=255.0), atol=1e-5)


@pytest.mark.parametrize(
    ("how", "mean", "std"),
    [
        ("none", 0, 1),
        ("tf", 127.5, 127.5),
        ("imagenet", [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
        ("10,20,30/2", [10, 20, 30], 2),
    ],
)
def test_preprocessing_is_inside_the_graph(
    tmp_path: Path, images: NDArray[np.uint8], how: str, mean: float, std: float
) -> None:
    for nodes, shape in ((TORCH, ("batch", 3, SIDE, SIDE)), (TENSORFLOW, NHWC)):
        network = load(save(tmp_path, model(nodes, shape)), ModelOverrides(preprocessing=how))
        features = network.features(images)
        assert np.allclose(features, expected(images, mean, std), rtol=1e-4, atol=1e-4)


def test_caffe_takes_blue_first(tmp_path: Path, images: NDArray[np.uint8]) -> None:
    network = load(save(tmp_path, model(TORCH)), ModelOverrides(preprocessing="caffe"))
    bgr = expected(images[..., ::-1], [103.939, 116.779, 123.68])
    assert np.allclose(network.features(images), bgr, rtol=1e-4, atol=1e-4)


def test_bytes_need_no_preprocessing(tmp_path: Path, images: NDArray[np.uint8]) -> None:
    cast: Node = ("Cast", "input", "floats", {"to": TensorProto.FLOAT})
    nodes = [cast, ("Conv", "floats kernel", "conv"), *TORCH[1:]]
    network = load(save(tmp_path, model(nodes, dtype=TensorProto.UINT8)), NO_OVERRIDES)
    assert np.allclose(network.features(images), expected(images), rtol=1e-4)


@pytest.mark.parametrize("allowzero", [0, 1])
def test_a_fixed_batch_is_freed(tmp_path: Path, images: NDArray[np.uint8], allowzero: int) -> None:
    reshape: Node = ("Reshape", "pool one_row", "flat", {"allowzero": allowzero})
    path = save(tmp_path, model([*TORCH[:3], reshape, *TORCH[4:]], (1, 3, SIDE, SIDE)))
    assert np.allclose(load(path).features(images), expected(images, std=255.0), atol=1e-5)
    assert "one image after the other" not in str(registry.get(path, UNIT).note)


def test_a_free_size_needs_a_size(tmp_path: Path) -> None:
    path = save(tmp_path, model(TORCH, ("n", 3, "h", "w")))
    with pytest.raises(UsageError, match="say `input_size`"):
        registry.get(path, UNIT)
    assert load(path, ModelOverrides(input_size=24, preprocessing="unit")).input_size == 24


def test_a_layout_that_is_not_clear_is_asked_for(tmp_path: Path) -> None:
    path = save(tmp_path, model(TORCH, ("n", "c", "h", "w")))
    with pytest.raises(UsageError, match="say `layout` nchw or nhwc"):
        registry.get(path, ModelOverrides(input_size=SIDE, preprocessing="unit"))
    reading = ModelOverrides(input_size=SIDE, preprocessing="unit", layout="nchw")
    assert load(path, reading).width == CHANNELS


def test_a_network_may_use_the_names_of_pomonas_own_tensors(
    tmp_path: Path, images: NDArray[np.uint8]
) -> None:
    made = model(
        [("Conv", "images kernel", "features"), ("Relu", "features", "relu")], inputs=("images",)
    )
    path = save(tmp_path, made)
    assert np.allclose(load(path).features(images), expected(images, std=255.0), atol=1e-5)


def test_the_same_file_and_settings_are_the_same_recipe(tmp_path: Path) -> None:
    path = save(tmp_path, model(TORCH))
    digests = set()
    for reading in (
        UNIT,
        UNIT,
        ModelOverrides(preprocessing="tf"),
        ModelOverrides(layer="conv", preprocessing="unit"),
    ):
        backbone = registry.get(path, reading)
        digests.add(make_recipe(backbone, cache.load(backbone), "stretch").digest)
    assert len(digests) == 3


def test_a_file_with_another_digest_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, model(TORCH))
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert load(path, ModelOverrides(digest, preprocessing="unit")).width == CHANNELS
    with pytest.raises(BackboneError, match=f"has the SHA-256 {digest}, not 00"):
        load(path, ModelOverrides("00", preprocessing="unit"))


CUBE: list[Node] = [*TORCH[:3], ("Reshape", "pool one_cube", "cube")]
MASKED = model([("Mul", "images mask", "input"), *TORCH], inputs=("images", "mask"))


@pytest.mark.parametrize(
    ("made", "reading", "told"),
    [
        (
            model(TORCH, ("n", 1, 28, 28)),
            UNIT,
            r"takes input float32\[n, 1, 28, 28\]: not a batch of",
        ),
        (model(TORCH, ("n", 3, 16, 24)), UNIT, "squares"),
        (model(TORCH, ("n", 3)), UNIT, "not a batch of RGB images"),
        (model(TORCH, dtype=TensorProto.INT64), UNIT, r"int64\[.*not a batch of RGB images"),
        (MASKED, UNIT, "mask float32.*not a batch of RGB images"),
        (model(TORCH), NO_OVERRIDES, "say `preprocessing` none, unit"),
        (model(TORCH), ModelOverrides(input_size=99, preprocessing="tf"), "takes 16 alone"),
        (model(TORCH), ModelOverrides(layer="fat", preprocessing="tf"), "did you mean flat"),
        (model(CUBE, (1, 3, SIDE, SIDE)), UNIT, "say another `layer`"),
        (model(CUBE), UNIT, "free batch"),
        (model(TORCH, opset=6), UNIT, "opset 6"),
        (onnx.ModelProto(), UNIT, "no nodes"),
    ],
)
def test_an_unusable_network_is_refused_with_what_it_takes(
    tmp_path: Path, made: onnx.ModelProto, reading: ModelOverrides, told: str
) -> None:
    with pytest.raises(PomonaError, match=told) as caught:
        registry.get(save(tmp_path, made), reading)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_bytes(b"no model at all")
    with pytest.raises(BackboneError, match="not a complete ONNX file"):
        registry.get(str(tmp_path / "text.onnx"), UNIT)
    with pytest.raises(BackboneError, match=r"cannot read .*No such file.*check `backbone`"):
        registry.get("not there.onnx", UNIT)


def test_a_network_that_optimizations_change_is_refused(tmp_path: Path) -> None:
    """ONNX Runtime moves a padding with zeros into a MaxPool, which pads with −∞."""
    pooling = {"kernel_shape": [3, 3], "strides": [2, 2]}
    nodes: list[Node] = [
        TORCH[0],
        ("Neg", "relu", "negative"),
        ("Pad", "negative sides", "padded"),
        ("MaxPool", "padded", "largest", pooling),
        ("GlobalAveragePool", "largest", "pool"),
    ]
    made = model([nodes[0], TORCH[1], *nodes[1:]])
    sides = onnx.numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "sides")
    made.graph.initializer.append(sides)
    with pytest.raises(BackboneError, match="optimizations of ONNX Runtime"):
        registry.get(save(tmp_path, made), UNIT)


# Export


def test_an_exported_network_is_the_same_wherever_it_is_used(tmp_path: Path) -> None:
    backbone = registry.get(registry.DEFAULT, ModelOverrides(input_size=64))
    network = cache.load(backbone)
    path = tmp_path / "carried.onnx"
    path.write_bytes(exported.write(backbone, network))
    carried = registry.get(str(path))
    assert carried.facts() == backbone.facts()
    again = cache.load(carried)
    assert (again, again.model) == (network, network.model)
    recipes = [make_recipe(*each, "crop") for each in ((backbone, network), (carried, again))]
    assert recipes[0] == recipes[1]
    onnx.checker.check_model(onnx.load(path))
    with pytest.raises(UsageError, match="exported by pomona for 64"):
        registry.get(str(path), ModelOverrides(input_size=128))


def test_an_exported_network_that_was_changed_is_refused(tmp_path: Path) -> None:
    backbone = registry.get(registry.DEFAULT, ModelOverrides(input_size=64))
    content = bytearray(exported.write(backbone, cache.load(backbone)))
    content[len(content) // 2] ^= 1
    path = tmp_path / "changed.onnx"
    path.write_bytes(content)
    with pytest.raises(BackboneError, match="damaged, or was changed"):
        registry.get(str(path))
