"""Networks as torch.onnx, timm and Hugging Face's tools export them, in small.

The shapes of the graphs are those that torch 2.15 exports of networks of transformers 5.24 and
timm 1.0; `make test-tools` exports such networks anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx_models import CHANNELS, SIDE, TORCH, Node, expected, model

from pomona.backbones import cache, registry
from pomona.backbones.network import Network
from pomona.backbones.overrides import NO_OVERRIDES, ModelOverrides
from pomona.backbones.spec import Backbone
from pomona.errors import BackboneError, UsageError

UNIT = ModelOverrides(preprocessing="unit")
WIDTH, PATCH = 24, 4
RANDOM = np.random.default_rng(2)
PATCHES = RANDOM.normal(0, 0.3, (WIDTH, 3, PATCH, PATCH)).astype(np.float32)
LEADING = RANDOM.normal(0, 0.3, (1, 5, WIDTH)).astype(np.float32)


@pytest.fixture
def images() -> NDArray[np.uint8]:
    return RANDOM.integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)


def load(path: Path, reading: ModelOverrides = UNIT) -> tuple[Backbone, Network]:
    backbone = registry.get(str(path), reading)
    return backbone, cache.load(backbone)


def load_saved(folder: Path, made: onnx.ModelProto) -> tuple[Backbone, Network]:
    onnx.save_model(made, folder / "model.onnx")
    return load(folder / "model.onnx")


# Weights beside the model, as torch.onnx writes them


@pytest.fixture
def spread(tmp_path: Path) -> Path:
    path = tmp_path / "spread" / "model.onnx"
    path.parent.mkdir()
    onnx.save_model(
        model(TORCH),
        path,
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=0,
    )
    return path


def test_weights_beside_the_model_are_its_own(spread: Path, images: NDArray[np.uint8]) -> None:
    backbone, network = load(spread)
    assert np.allclose(network.features(images), expected(images, std=255.0), atol=1e-5)
    both = spread.read_bytes() + (spread.parent / "model.onnx.data").read_bytes()
    digest = hashlib.sha256(both).hexdigest()
    assert backbone.weights_sha256 == digest
    assert load(spread, ModelOverrides(digest, preprocessing="unit"))[1] == network
    whole = spread.parent / "whole.onnx"
    onnx.save_model(onnx.load(spread), whole)
    assert load(whole)[1].model == network.model
    (spread.parent / "model.onnx.data").unlink()
    with pytest.raises(BackboneError, match=r"'model\.onnx\.data', which is not beside it: copy"):
        load(spread)


def test_links_of_a_model_and_its_weights_lead_to_one_folder(
    spread: Path, images: NDArray[np.uint8]
) -> None:
    """The cache of Hugging Face's hub keeps files by their digests, and links to them."""
    blobs, snapshot = spread.parent.parent / "blobs", spread.parent.parent / "snapshots" / "onnx"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for number, name in enumerate(["model.onnx", "model.onnx.data"]):
        shutil.move(spread.parent / name, blobs / str(number))
        (snapshot / name).symlink_to(Path("../../blobs") / str(number))
    _, network = load(snapshot / "model.onnx")
    assert np.allclose(network.features(images), expected(images, std=255.0), atol=1e-5)


# Transformers


def transformer(leading: int, *outputs: str) -> onnx.ModelProto:
    """Patches as tokens behind others, as a ViT has them, without its blocks."""
    nodes: list[Node] = [
        ("Conv", "pixel_values patches", "conv", {"strides": [PATCH, PATCH]}),
        ("Reshape", "conv flat_shape", "flat"),
        ("Transpose", "flat", "patches_last", {"perm": [0, 2, 1]}),
        ("Add", "patches_last zero", "tokens"),
    ]
    if leading:
        nodes += [
            ("Shape", "patches_last", "batch_size", {"start": 0, "end": 1}),
            ("Concat", "batch_size token_shape", "sizes", {"axis": 0}),
            ("Expand", "leading sizes", "expanded"),
            ("Concat", "expanded patches_last", "joined", {"axis": 1}),
            ("Add", "joined zero", "tokens"),
        ]
        del nodes[3]
    nodes += [
        ("Identity", "tokens", "last_hidden_state"),
        ("Gather", "tokens first", "pooler_output", {"axis": 1}),
    ]
    made = model(nodes, ("batch", 3, SIDE, SIDE), inputs=("pixel_values",))
    constants = {
        "patches": PATCHES,
        "flat_shape": np.array([0, WIDTH, -1], np.int64),
        "token_shape": np.array([leading, WIDTH], np.int64),
        "leading": LEADING[:, :leading],
        "zero": np.zeros(1, np.float32),
        "first": np.array(0, np.int64),
    }
    given = [numpy_helper.from_array(np.asarray(each), name) for name, each in constants.items()]
    made.graph.initializer.extend(given)
    del made.graph.output[:]
    for name in outputs:
        made.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return made


def tokens(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """float64[n, patches, WIDTH]."""
    side = SIDE // PATCH
    cut = (images / 255.0).reshape(len(images), side, PATCH, side, PATCH, 3)
    found: NDArray[np.float64] = np.einsum("nyixjc,ocij->nyxo", cut, PATCHES.astype(np.float64))
    return found.reshape(len(images), side * side, WIDTH)


@pytest.mark.parametrize("leading", [1, 2, 5])
def test_of_tokens_the_class_token_is_taken(
    tmp_path: Path, images: NDArray[np.uint8], leading: int
) -> None:
    backbone, network = load_saved(tmp_path, transformer(leading, "last_hidden_state"))
    assert f"the first of {16 + leading} tokens, its class token: 24 num" in str(backbone.note)
    assert np.allclose(network.features(images), LEADING[:, 0])


def test_tokens_of_patches_alone_are_averaged(tmp_path: Path, images: NDArray[np.uint8]) -> None:
    backbone, network = load_saved(tmp_path, transformer(0, "last_hidden_state"))
    assert "its 16 tokens averaged" in str(backbone.note)
    assert np.allclose(network.features(images), tokens(images).mean(axis=1), atol=1e-5)


@pytest.mark.parametrize("leading", [3, 4])
def test_other_numbers_of_tokens_are_refused(tmp_path: Path, leading: int) -> None:
    with pytest.raises(BackboneError, match=f"{16 + leading}, 24.*say another `layer`"):
        load_saved(tmp_path, transformer(leading, "last_hidden_state"))


def test_the_pooled_output_is_taken_before_the_tokens(
    tmp_path: Path, images: NDArray[np.uint8]
) -> None:
    backbone, network = load_saved(tmp_path, transformer(1, "last_hidden_state", "pooler_output"))
    assert " is cut at pooler_output (" in str(backbone.note)
    assert np.allclose(network.features(images), LEADING[:, 0])


def test_a_network_of_one_image_is_given_one_after_the_other(
    tmp_path: Path, images: NDArray[np.uint8]
) -> None:
    """torch.onnx fixes the batch unless told otherwise; the class token is then for one image."""
    made = transformer(1, "last_hidden_state")
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    joined = next(node for node in made.graph.node if node.name == "/joined")
    joined.input[0] = "leading"
    backbone, network = load_saved(tmp_path, made)
    assert "one image after the other, for its batch is fixed to 1" in str(backbone.note)
    assert np.allclose(network.features(images), LEADING[:, 0])
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    with pytest.raises(BackboneError, match="free batch"):
        load_saved(tmp_path, made)
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    made.opset_import[0].version = 8
    with pytest.raises(BackboneError, match="opset 8"):
        load_saved(tmp_path, made)


# Two halves, as of CLIP


@pytest.fixture
def halves(tmp_path: Path) -> Path:
    images: list[Node] = [("Conv", "pixel_values kernel", "conv"), *TORCH[1:4]]
    nodes: list[Node] = [
        *images,
        ("MatMul", "flat matrix", "image_embeds"),
        ("Gather", "words input_ids", "embedded"),
        ("ReduceMean", "embedded", "text_embeds", {"axes": [1], "keepdims": 0}),
        ("Transpose", "text_embeds", "texts", {"perm": [1, 0]}),
        ("MatMul", "image_embeds texts", "logits_per_image"),
    ]
    made = model(nodes, inputs=("pixel_values",))
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ("texts", "length"))
    made.graph.input.insert(0, ids)
    words = numpy_helper.from_array(np.ones((9, 5), np.float32), "words")
    made.graph.initializer.append(words)
    for name in ("text_embeds", "image_embeds"):
        made.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    path = tmp_path / "clip.onnx"
    onnx.save_model(made, path)
    return path


def test_of_two_halves_the_images_is_taken(halves: Path, images: NDArray[np.uint8]) -> None:
    from onnx_models import MATRIX

    backbone, network = load(halves)
    pooled = expected(images, std=255.0)
    assert " is cut at image_embeds (its output of this name): 5 n" in str(backbone.note)
    assert np.allclose(network.features(images), pooled @ MATRIX, atol=1e-5)
    assert b"words" not in network.model
    _, before = load(halves, ModelOverrides(layer="flat", preprocessing="unit"))
    assert np.allclose(before.features(images), pooled, atol=1e-5)


@pytest.mark.parametrize("layer", ["text_embeds", "logits_per_image"])
def test_what_texts_are_needed_for_is_refused(halves: Path, layer: str) -> None:
    with pytest.raises(BackboneError, match=r"input_ids int64.*not a batch of RGB images"):
        load(halves, ModelOverrides(layer=layer, preprocessing="unit"))


# preprocessor_config.json

MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
CLIP = {
    "crop_size": 224,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": MEAN,
    "image_std": STD,
    "resample": 3,
    "size": 224,
}
DINOV2 = {
    "crop_size": {"height": SIDE, "width": SIDE},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_processor_type": "BitImageProcessor",
    "image_std": [0.229, 0.224, 0.225],
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 20},
}
EFFICIENTNET = {
    "crop_size": {"height": 289, "width": 289},
    "do_center_crop": False,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.5, 0.5, 0.5],
    "rescale_factor": 1 / 127.5,
    "rescale_offset": True,
    "size": {"height": SIDE, "width": SIDE},
}
MOBILEVIT = {"do_flip_channel_order": True, "do_normalize": False, "size": {"shortest_edge": SIDE}}
CONVNEXT = {"image_mean": 0.5, "image_std": 0.5, "size": {"shortest_edge": SIDE}, "crop_pct": 0.9}


@pytest.mark.parametrize(
    ("config", "mean", "std", "side", "crop"),
    [
        (CLIP, np.multiply(MEAN, 255), np.multiply(STD, 255), 224, 1.0),
        (DINOV2, [123.675, 116.28, 103.53], [58.395, 57.12, 57.375], SIDE, 0.8),
        (EFFICIENTNET, [191.25, 178.5, 165.75], 63.75, SIDE, 1.0),
        (MOBILEVIT, 0.0, 255.0, SIDE, 1.0),
        (CONVNEXT, 127.5, 127.5, SIDE, 0.9),
    ],
)
def test_the_preprocessing_is_read_from_the_file_beside_it(
    tmp_path: Path, config: dict[str, Any], mean: Any, std: Any, side: int, crop: float
) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    path = tmp_path / "onnx" / "model.onnx"
    onnx.save_model(model(TORCH, ("batch_size", "num_channels", "height", "width")), path)
    backbone, network = load(path, NO_OVERRIDES)
    assert backbone.input_size == side
    assert backbone.crop_fraction == pytest.approx(crop)
    images = np.random.default_rng(3).integers(0, 256, (2, side, side, 3), np.uint8)
    seen = images[..., ::-1] if config is MOBILEVIT else images
    assert np.allclose(network.features(images), expected(seen, mean, std), atol=1e-4)
    assert "; pixels as preprocessor_config.json says: " in str(backbone.note)
    assert load(path, ModelOverrides(input_size=SIDE, preprocessing="tf"))[0].crop_fraction == 0.875


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("{", "no such file"),
        ("[]", "no such file"),
        (json.dumps({"size": 224}), "neither image_mean and image_std nor do_normalize false"),
        (json.dumps(CLIP | {"image_mean": [0.5]}), "for 1 channels"),
        (json.dumps(CLIP | {"image_std": 0}), "no such file"),
        (json.dumps(CLIP | {"rescale_factor": 0}), "no such file"),
        (json.dumps(CLIP | {"include_top": True}), "it says include_top"),
        (json.dumps(CLIP | {"size": {"height": 9, "width": 8}}), "not square"),
        (json.dumps(CLIP | {"crop_size": "x"}), "its size is 'x'"),
        ("[" * 100_000, "no such file"),
    ],
)
def test_a_file_that_says_no_preprocessing_is_named(tmp_path: Path, config: str, why: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(config)
    path = tmp_path / "model.onnx"
    onnx.save_model(model(TORCH), path)
    with pytest.raises(UsageError, match=rf"config\.json cannot be used \(.*{why}.*say `prepro"):
        load(path, NO_OVERRIDES)
    assert load(path, UNIT)[1].width == CHANNELS
