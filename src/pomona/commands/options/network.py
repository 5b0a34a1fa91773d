"""Which network computes the features, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer
from rich.markup import escape

from pomona.backbones.overrides import LAYOUTS, ModelOverrides
from pomona.backbones.preprocessing import NAMED
from pomona.backbones.runtimes.base import AUTO, Runtime
from pomona.backbones.runtimes.registry import RUNTIMES, precisions
from pomona.commands.completion import one_of
from pomona.pipeline.settings import FITS, ExtractSettings


def _backbone_names() -> list[str]:
    from pomona.backbones import registry

    return registry.names()


def _precisions() -> list[str]:
    return [*precisions(), AUTO]


def _in_words(runtime: Runtime) -> str:
    """A runtime's name, and how to install it, as markup."""
    return runtime.name + (
        escape(f' (in a clone: pip install ".[{runtime.extra}]")') if runtime.extra else ""
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
            help="For FILE.onnx: name of the node, or of its output, that yields the features. "
            "(default: the node before the network's classification layer)",
        ),
    ] = ModelOverrides.layer
    preprocessing: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            help="For FILE.onnx: the pixel values that it expects. unit: 0 to 1; tf: -1 to 1; "
            "none: 0 to 255; caffe: BGR minus the mean; imagenet: scaled by ImageNet's mean and "
            "standard deviation; or MEANS/STDS for red, green and blue on the scale 0 to 255, such "
            "as 123.7,116.3,103.5/58.4,57.1,57.4. Required, unless FILE.onnx takes uint8 pixels, "
            "was exported by pomona, or has a preprocessor_config.json beside it.",
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
            help="For FILE.onnx: refuse any other SHA-256 (with weights in a separate file: that "
            "of `cat FILE.onnx WEIGHTS`).",
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
            help="How the image is made square: stretch resizes the whole image; crop takes its "
            "central square.",
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
            help="float32; int8: about twice as fast on a processor with VNNI, for "
            "efficientnet_lite0 (files that `pomona backbones quantize` wrote are always int8); "
            "bfloat16: also faster, needs --runtime openvino and a processor with AVX512_BF16 or "
            "AMX (AMD Zen 4, Intel Sapphire Rapids, or later); or auto: the fastest of these that "
            "the runtime has on this machine. The features of each are nearly, but not exactly, "
            "the same.",
            autocompletion=_precisions,
        ),
    ] = ExtractSettings.precision

    def worker_modules(self) -> list[str]:
        """Returns what workers import before their first task, to run the network."""
        runtime = RUNTIMES.get(self.runtime)  # a wrong name is refused later, with the others
        return [runtime.implementation] if runtime else []
