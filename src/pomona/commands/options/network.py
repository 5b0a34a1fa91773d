"""Which network computes the features, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer
from rich.markup import escape

from pomona.backbones.overrides import LAYOUTS, ModelOverrides
from pomona.backbones.preprocessing import NAMED
from pomona.backbones.runtimes.base import Runtime
from pomona.backbones.runtimes.registry import RUNTIMES, precisions
from pomona.commands.completion import one_of
from pomona.pipeline.settings import FITS, ExtractSettings


def _backbone_names() -> list[str]:
    from pomona.backbones import registry

    return registry.names()


def _in_words(runtime: Runtime) -> str:
    """A runtime's name, and how to install it, as markup."""
    return runtime.name + (
        escape(f' (pip install "{runtime.requirement}")') if runtime.extra else ""
    )


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
            help="For FILE.onnx: the node that gives the features. (default: the classifier's "
            "input)",
        ),
    ] = ModelOverrides.layer
    preprocessing: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            help="For FILE.onnx, required unless its input is uint8: the scaling it expects, which "
            "is imagenet, tf, caffe, unit, none, or MEANS/DEVIATIONS (0 to 255).",
            autocompletion=one_of(NAMED),
        ),
    ] = ModelOverrides.preprocessing
    layout: Annotated[
        str | None,
        typer.Option(
            metavar="ORDER",
            help="For FILE.onnx: nchw or nhwc. (default: from the shape of its input)",
            autocompletion=one_of(LAYOUTS),
        ),
    ] = ModelOverrides.layout
    backbone_sha256: Annotated[
        str | None,
        typer.Option(
            "--backbone-sha256",
            metavar="DIGEST",
            help="For FILE.onnx: refuse a file with a different SHA-256.",
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
            help="stretch: resize the whole image to a square; crop: take the central square.",
            autocompletion=one_of(FITS),
        ),
    ] = ExtractSettings.fit
    runtime: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help=f"{' or '.join(map(_in_words, RUNTIMES.values()))}.",
            autocompletion=one_of(RUNTIMES),
        ),
    ] = ExtractSettings.runtime
    precision: Annotated[
        str,
        typer.Option(
            metavar="TYPE",
            help="float32, or bfloat16: faster with openvino on processors that support it, with "
            "nearly the same features.",
            autocompletion=precisions,
        ),
    ] = ExtractSettings.precision

    def worker_modules(self) -> list[str]:
        """Returns what workers import before their first task, to run the network."""
        runtime = RUNTIMES.get(self.runtime)  # a wrong name is refused later, with the others
        return [runtime.implementation] if runtime else []
