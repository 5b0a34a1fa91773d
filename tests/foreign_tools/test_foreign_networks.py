"""Networks as torch.onnx exports them, held against torch itself: `make test-tools`.

Weights are random, the networks small; both exporters write each, with a free batch and with the
batch that is fixed unless the exporter is told otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pomona.backbones import cache, registry
from pomona.backbones.overrides import NO_OVERRIDES, ModelOverrides

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")

SIDE, TOLERANCE = 64, 1e-5
TF = ModelOverrides(preprocessing="tf")
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": SIDE,
    "patch_size": 16,
}
TIMM: dict[str, dict[str, Any]] = {
    "resnet10t": {},
    "convnext_atto": {},
    "mobilenetv3_small_050": {},
    "vit_tiny_patch16_224": {"img_size": SIDE, "depth": 1, "embed_dim": 32, "num_heads": 4},
    "swin_tiny_patch4_window7_224": {
        "img_size": SIDE,
        "window_size": 4,
        "embed_dim": 16,
        "depths": (1, 1),
        "num_heads": (2, 2),
    },
}


class Outputs(torch.nn.Module):  # type: ignore[name-defined, misc]
    """A network whose outputs are some of those that it names."""

    def __init__(self, network: Any, inputs: list[str], names: list[str]) -> None:
        super().__init__()
        self.network, self.inputs, self.names = network, inputs, names

    def forward(self, *given: Any) -> tuple[Any, ...]:
        found = self.network(**dict(zip(self.inputs, given, strict=True)))
        return tuple(getattr(found, name) for name in self.names)


def hugging_face() -> dict[str, tuple[Any, list[str], list[str], Callable[[Any, Any], Any]]]:
    """Each network with its inputs and outputs, and what its features are."""
    pixels = ["pixel_values"]

    def class_token(network: Any, images: Any) -> Any:
        return network(images).last_hidden_state[:, 0]

    def embedding(network: Any, images: Any) -> Any:
        pooled = network.vision_model(images).pooler_output
        return torch.nn.functional.normalize(network.visual_projection(pooled), dim=-1)

    text = {key: value for key, value in SMALL.items() if not key.endswith("_size")}
    text |= {"hidden_size": 32, "intermediate_size": 64, "vocab_size": 99}
    text |= {"max_position_embeddings": 16, "eos_token_id": 2}
    clip = transformers.CLIPConfig(text_config=text, vision_config=SMALL, projection_dim=24)
    vit = transformers.ViTConfig(**SMALL)
    dinov2 = transformers.Dinov2Model(
        transformers.Dinov2Config(**{k: v for k, v in SMALL.items() if k != "intermediate_size"})
    )
    both = ["last_hidden_state", "pooler_output"]
    embeds = ["logits_per_image", "logits_per_text", "text_embeds", "image_embeds"]
    return {
        "vit": (transformers.ViTModel(vit), pixels, both, class_token),
        "vit_classifier": (
            transformers.ViTForImageClassification(vit),
            pixels,
            ["logits"],
            lambda network, images: class_token(network.vit, images),
        ),
        "dinov2": (dinov2, pixels, both, class_token),
        "dinov2_tokens": (dinov2, pixels, both[:1], class_token),
        "siglip": (
            transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**SMALL)),
            pixels,
            both,
            lambda network, images: network(images).pooler_output,
        ),
        "clip": (
            transformers.CLIPModel(clip),
            ["input_ids", "pixel_values", "attention_mask"],
            embeds,
            embedding,
        ),
    }


def export(
    path: Path, network: Any, inputs: list[str], outputs: list[str], *, dynamo: bool, free: bool
) -> None:
    ids = torch.tensor([[1, 5, 6, 2]] * (2 if free else 1))
    given = {
        "pixel_values": torch.zeros(len(ids), 3, SIDE, SIDE),
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
    }
    how: dict[str, Any] = {"dynamo": dynamo, "input_names": inputs, "output_names": outputs}
    if free and dynamo:
        batches = ({0: torch.export.Dim.DYNAMIC},) * len(inputs)
        how["dynamic_shapes"] = (batches,) if isinstance(network, Outputs) else batches
    elif free:
        how["dynamic_axes"] = {name: {0: "batch"} for name in (*inputs, *outputs)}
    path.parent.mkdir()
    torch.onnx.export(network, tuple(given[name] for name in inputs), str(path), **how)
    assert (path.parent / f"{path.name}.data").exists() == dynamo


def check(path: Path, expected: Callable[[Any], Any]) -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    with torch.no_grad():
        right = expected((torch.tensor(images).permute(0, 3, 1, 2).float() - 127.5) / 127.5).numpy()
    backbone = registry.get(str(path), TF)
    found = cache.load(backbone).features(images)
    assert found.shape == right.shape, backbone.note
    assert np.abs(found - right).max() <= TOLERANCE * np.abs(right).max(), backbone.note


@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize("name", hugging_face())
def test_a_network_of_transformers(name: str, free: bool, dynamo: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, inputs, outputs, features = hugging_face()[name]
    path = tmp_path / name / "model.onnx"
    exported = Outputs(network.eval(), inputs, outputs)
    export(path, exported, inputs, outputs, dynamo=dynamo, free=free)
    check(path, lambda images: features(network, images))


@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize("name", TIMM)
def test_a_network_of_timm(name: str, free: bool, dynamo: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False, **TIMM[name]).eval()
    path = tmp_path / name / "model.onnx"
    export(path, network, ["pixel_values"], ["logits"], dynamo=dynamo, free=free)

    def features(images: Any) -> Any:
        return network.forward_head(network.forward_features(images), pre_logits=True)

    check(path, features)


class Mean(torch.nn.Module):  # type: ignore[name-defined, misc]
    """The mean of each channel."""

    def forward(self, pixel_values: Any) -> Any:
        return pixel_values.mean(dim=(2, 3))


@pytest.mark.parametrize(
    "processor",
    [
        "BitImageProcessor",
        "CLIPImageProcessor",
        "ConvNextImageProcessor",
        "SiglipImageProcessor",
        "ViTImageProcessor",
    ],
)
def test_the_preprocessing_is_that_of_the_processor(processor: str, tmp_path: Path) -> None:
    """On images that need no resizing, for pomona resizes in its own way."""
    given = {"size": {"shortest_edge": 384}} if processor == "ConvNextImageProcessor" else {}
    made = getattr(transformers, processor)(**given)
    made.save_pretrained(tmp_path)
    path = tmp_path / "model.onnx"
    sizes = getattr(made, "crop_size", None) or made.size
    side = next(filter(None, dict(sizes).values()))
    torch.onnx.export(
        Mean(),
        (torch.zeros(2, 3, side, side),),
        str(path),
        dynamo=False,
        input_names=["pixel_values"],
        dynamic_axes={"pixel_values": {0: "n", 2: "h", 3: "w"}},
    )
    images = np.random.default_rng(1).integers(0, 256, (2, side, side, 3), np.uint8)
    backbone = registry.get(str(path), NO_OVERRIDES)
    assert backbone.input_size == side
    made.do_resize = False
    right = made(list(images), return_tensors="np")["pixel_values"].mean(axis=(2, 3))
    assert np.allclose(cache.load(backbone).features(images), right, atol=1e-4)
