"""Which network computes the features, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from pomona.backbones.overrides import LAYOUTS, ModelOverrides
from pomona.backbones.preprocessing import NAMED
from pomona.pipeline.settings import FITS, ExtractSettings


def _backbone_names() -> list[str]:
    from pomona.backbones import registry

    return registry.names()


@dataclass(frozen=True)
class NetworkFileOptions:
    """How a network's file is read."""

    panel: ClassVar[str] = "Network"
    input_size: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS", help="Side of the square input. (default: the network's own)"
        ),
    ] = ModelOverrides.input_size
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="FILE.onnx: take the features from this node. (default: the classifier's input)",
        ),
    ] = ModelOverrides.layer
    preprocessing: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            help="FILE.onnx: imagenet, tf, caffe, unit, none, or MEANS/DEVIATIONS on a scale of "
            "0 to 255.",
            autocompletion=lambda: list(NAMED),
        ),
    ] = ModelOverrides.preprocessing
    layout: Annotated[
        str | None,
        typer.Option(
            metavar="ORDER",
            help="FILE.onnx: nchw or nhwc. (default: from the shape of its input)",
            autocompletion=lambda: list(LAYOUTS),
        ),
    ] = ModelOverrides.layout
    backbone_sha256: Annotated[
        str | None,
        typer.Option(
            "--backbone-sha256",
            metavar="DIGEST",
            help="FILE.onnx: refuse a file with another SHA-256.",
        ),
    ] = ModelOverrides.sha256

    def overrides(self) -> ModelOverrides:
        """Returns these options as the library takes them."""
        return ModelOverrides(
            sha256=self.backbone_sha256,
            layer=self.layer,
            input_size=self.input_size,
            preprocessing=self.preprocessing,
            layout=self.layout,
        )


@dataclass(frozen=True)
class NetworkOptions:
    """Which network, what part of an image it sees, and what runs it."""

    panel: ClassVar[str] = "Network"
    backbone: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="A network that `pomona backbones` lists, or a FILE.onnx.",
            autocompletion=_backbone_names,
        ),
    ] = ExtractSettings.backbone
    fit: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            help="stretch: the network sees the whole image; crop: the central square.",
            autocompletion=lambda: list(FITS),
        ),
    ] = ExtractSettings.fit
    runtime: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help='onnxruntime, or openvino (pip install "pomona\\[openvino]").',
            autocompletion=lambda: ["onnxruntime", "openvino"],
        ),
    ] = ExtractSettings.runtime
    precision: Annotated[
        str,
        typer.Option(
            metavar="TYPE",
            help="float32, or bfloat16: faster with openvino on processors that support it, with "
            "nearly the same features.",
            autocompletion=lambda: ["float32", "bfloat16"],
        ),
    ] = ExtractSettings.precision
