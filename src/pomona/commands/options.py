"""The options that several commands share, in groups: dataclasses whose fields are the options.

A command takes a whole group as one argument, through `grouped`.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import re
import sys
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_args, get_type_hints

import typer
from rich.console import Console

from pomona.errors import UsageError
from pomona.progress import LoggedProgress, PlainProgress, Progress, TerminalProgress
from pomona.s3.address import Access
from pomona.store.folders.registry import place

if TYPE_CHECKING:
    from pomona.backbones.overrides import ModelOverrides
    from pomona.engines import base as engines
    from pomona.pipeline.settings import ExtractSettings, ReduceSettings


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command as Typer takes it: each group's options, under a heading, in its place."""
    own = inspect.signature(command, eval_str=True).parameters.values()
    groups: dict[str, Any] = {
        each.name: each.annotation for each in own if dataclasses.is_dataclass(each.annotation)
    }

    @functools.wraps(command)
    def flat(**given: Any) -> None:
        for name, group in groups.items():
            options = {field.name: given.pop(field.name) for field in dataclasses.fields(group)}
            given[name] = group(**options)
        command(**given)

    options = []
    for each in own:
        options += _options(groups[each.name]) if each.name in groups else [each]
    flat.__annotations__ = {each.name: each.annotation for each in options}
    options = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in options]
    flat.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    return flat


def _options(group: Any) -> list[inspect.Parameter]:
    """The fields of a group, told of under its heading."""
    hints, found = get_type_hints(group, include_extras=True), []
    for field in dataclasses.fields(group):
        kind, option = get_args(hints[field.name])
        option = copy(option)
        option.rich_help_panel = group.panel
        annotation = Annotated[kind, option]  # type: ignore[valid-type]
        parameter = inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY)
        found.append(parameter.replace(default=field.default, annotation=annotation))
    return found


def _backbone_names() -> list[str]:
    from pomona.backbones import registry

    return registry.names()


def parse_pixels(text: str | int) -> int:
    """A number of pixels: 50000000 or 50MP."""
    number = re.fullmatch(r"(\d+)(MP)?", str(text))
    if number is None:
        raise typer.BadParameter(f"{text!r} is no number of pixels: give 50000000 or 50MP")
    return int(number[1]) * (1_000_000 if number[2] else 1)


def parse_size(text: str | int) -> int:
    """A number of bytes: 128000000, 128MB or 1GB."""
    number = re.fullmatch(r"(\d+)(MB|GB)?", str(text))
    if number is None:
        raise typer.BadParameter(f"{text!r} is no size: give bytes, or 128MB or 1GB")
    return int(number[1]) * {None: 1, "MB": 10**6, "GB": 10**9}[number[2]]


# (A place is a Path, or the text of an s3:// address. readable=False: whether a path can be read is
# found, and told, where it is read.)

Source = Annotated[
    Any,
    typer.Argument(
        parser=place,
        metavar="SOURCE",
        help="Folder of images, or s3://BUCKET/PREFIX, whose subfolders are labels; or a pack.",
    ),
]
Out = Annotated[
    Any,
    typer.Argument(
        parser=place,
        metavar="OUT",
        help="Folder for the results, or s3://BUCKET/PREFIX: new, empty, or a store.",
    ),
]
StoreFolder = Annotated[
    Any, typer.Argument(parser=place, metavar="STORE", help="A folder or prefix that pomona made.")
]
Thumbnails = Annotated[
    bool | None,
    typer.Option(
        "--thumbnails/--no-thumbnails",
        help="Show small pictures in the report. (default: as before, or yes)",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, write nothing.")]
Include = Annotated[
    list[str] | None,
    typer.Option(metavar="GLOB", help="Only files whose path or name matches; may be repeated."),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        readable=False,
        metavar="FILE",
        help="CSV with path,label[,split] instead of the folders' names.",
    ),
]
Workers = Annotated[
    int | None, typer.Option(metavar="N", help="Worker processes. (default: one per core)")
]
Seed = Annotated[int, typer.Option(help="Seed of what is drawn at random.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


@dataclass(frozen=True)
class Images:
    """Which images are meant, and when one of them is given up."""

    panel: ClassVar[str] = "Which images"
    include: Include = None
    labels: Labels = None
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", help="At most N images, drawn evenly from the labels."),
    ] = None
    seed: Seed = 0
    retry_errors: Annotated[
        str | None,
        typer.Option(
            metavar="[=all]",
            help="Try images again whose error may pass; =all: every one that gave no features.",
        ),
    ] = None
    sync: Annotated[
        bool, typer.Option("--sync", help="Drop images that the source does not have any more.")
    ] = False
    yes: Annotated[
        bool, typer.Option("--yes", help="With --sync: drop even most of the store.")
    ] = False
    image_timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="An image that takes longer to read is an error row."),
    ] = 60.0
    max_pixels: Annotated[
        int,
        typer.Option(
            parser=parse_pixels,
            metavar="N",
            show_default=False,
            help="An image of more pixels, as 50000000 or 50MP, is an error row, refused by its "
            "header. Decoding takes up to 17 bytes a pixel: 1.7 GB for 100MP, in each worker. "
            "(default: 100MP)",
        ),
    ] = 100_000_000
    max_error_rate: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Exit status 3 if more images than this gave none."),
    ] = 0.05

    def extracting(
        self, source: str | Path, network: Network, network_file: NetworkFile
    ) -> ExtractSettings:
        """What the pipeline is to do of a source's images."""
        from pomona.pipeline.settings import ExtractSettings

        if not 0 <= self.max_error_rate <= 1:
            raise UsageError(
                f"--max-error-rate {self.max_error_rate:g}: a share between 0 and 1 is needed"
            )
        return ExtractSettings(
            source=source,
            include=tuple(self.include or ()),
            labels=self.labels,
            limit=self.limit,
            seed=self.seed,
            backbone=network.backbone,
            fit=network.fit,
            image_timeout=self.image_timeout,
            max_pixels=self.max_pixels,
            retry_errors=self.retry_errors,
            sync=self.sync,
            yes=self.yes,
            overrides=network_file.overrides(),
            runtime=network.runtime,
            precision=network.precision,
        )


@dataclass(frozen=True)
class NetworkFile:
    """How a network's file is read."""

    panel: ClassVar[str] = "Network"
    input_size: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS", help="Side of the squares the network takes. (default: its own)"
        ),
    ] = None
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="FILE.onnx: cut at this node. (default: what enters the classifier)",
        ),
    ] = None
    preprocessing: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            help="FILE.onnx: imagenet, tf, caffe, unit, none, or MEANS/DEVIATIONS in 0…255.",
            autocompletion=lambda: ["imagenet", "tf", "caffe", "unit", "none"],
        ),
    ] = None
    layout: Annotated[
        str | None,
        typer.Option(
            metavar="ORDER",
            help="FILE.onnx: nchw or nhwc. (default: by its input's shape)",
            autocompletion=lambda: ["nchw", "nhwc"],
        ),
    ] = None
    backbone_sha256: Annotated[
        str | None,
        typer.Option(
            "--backbone-sha256", metavar="DIGEST", help="FILE.onnx: refuse any other file."
        ),
    ] = None

    def overrides(self) -> ModelOverrides:
        """Imports what knows networks."""
        from pomona.backbones.overrides import ModelOverrides

        return ModelOverrides(
            self.backbone_sha256, self.layer, self.input_size, self.preprocessing, self.layout
        )


@dataclass(frozen=True)
class Network:
    """Which network, what an image is to it, and what runs it."""

    panel: ClassVar[str] = "Network"
    backbone: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The network, or a FILE.onnx; `pomona backbones` lists them.",
            autocompletion=_backbone_names,
        ),
    ] = "efficientnet_lite0"
    fit: Annotated[
        str,
        typer.Option(
            metavar="FIT",
            help="stretch: the whole image; crop: the central square.",
            autocompletion=lambda: ["stretch", "crop"],
        ),
    ] = "stretch"
    runtime: Annotated[
        str,
        typer.Option(
            metavar="RUNTIME",
            help="What runs it: onnxruntime, or openvino (pip install pomona\\[openvino]).",
            autocompletion=lambda: ["onnxruntime", "openvino"],
        ),
    ] = "onnxruntime"
    precision: Annotated[
        str,
        typer.Option(
            metavar="PRECISION",
            help="float32, or bfloat16: faster with openvino where the processor has it, "
            "and as a feature nearly the same (docs/performance.md).",
            autocompletion=lambda: ["float32", "bfloat16"],
        ),
    ] = "float32"


@dataclass(frozen=True)
class Pca:
    """How many components, and when they are fitted anew."""

    panel: ClassVar[str] = "PCA"
    variance: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="As many components as hold this share. (default: 0.9)"),
    ] = None
    components: Annotated[int | None, typer.Option(metavar="K", help="This many components.")] = (
        None
    )
    refit: Annotated[
        bool, typer.Option("--refit", help="Fit the PCA anew, on all the store holds.")
    ] = False
    keep_projection: Annotated[
        bool,
        typer.Option("--keep-projection", help="Keep the PCA however much the store has grown."),
    ] = False
    csv: Annotated[
        bool | None,
        typer.Option(
            "--csv/--no-csv", help="Write CSV beside Parquet. (default: as before, or csv)"
        ),
    ] = None

    def reducing(self) -> ReduceSettings:
        """What the pipeline is to do with features."""
        from pomona.pipeline.settings import ReduceSettings

        return ReduceSettings(
            components=self.components,
            variance=self.variance,
            refit=self.refit,
            keep_projection=self.keep_projection,
            csv=self.csv,
        )


@dataclass(frozen=True)
class Where:
    """Where the work is done."""

    panel: ClassVar[str] = "Where the work is done"
    workers: Workers = None
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            metavar="NAME",
            help="Where the work is done: local, on this machine, or spark.",
            autocompletion=lambda: ["local", "spark"],
        ),
    ] = "local"
    master: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Spark's master: local[N], spark://HOST:PORT, yarn, k8s://… "
            "(default: what spark-submit says, or this machine)",
        ),
    ] = None
    spark_conf: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A setting of Spark; may be repeated."),
    ] = None

    def open(self) -> engines.Engine:
        """Raises UsageError for settings that no engine takes."""
        from pomona.engines.registry import open_engine

        conf = {}
        for setting in self.spark_conf or []:
            key, equals, value = setting.partition("=")
            if not equals or not key.startswith("spark."):
                raise UsageError(f"--spark-conf {setting}: give spark.KEY=VALUE")
            conf[key] = value
        return open_engine(self.engine, self.workers, master=self.master, conf=conf)


@dataclass(frozen=True)
class ReadBuckets:
    """How buckets are read."""

    panel: ClassVar[str] = "Buckets"
    allow_region: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REGION",
            help="A region of AWS outside the EEA that a bucket may be in; may be repeated.",
        ),
    ] = None
    insecure_endpoint: Annotated[
        bool, typer.Option("--insecure-endpoint", help="Speak to an http:// endpoint in the clear.")
    ] = False

    def access(self) -> Access:
        """How buckets are used."""
        return Access(tuple(self.allow_region or ()), insecure_endpoint=self.insecure_endpoint)


@dataclass(frozen=True)
class Buckets(ReadBuckets):
    """How buckets are read and written."""

    sse: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="How a bucket encrypts: AES256, aws:kms or none. (default: AES256 on AWS)",
            autocompletion=lambda: ["AES256", "aws:kms", "none"],
        ),
    ] = None
    kms_key: Annotated[
        str | None, typer.Option(metavar="ID", help="The key that --sse aws:kms encrypts with.")
    ] = None

    def access(self) -> Access:
        return dataclasses.replace(super().access(), sse=self.sse, kms_key=self.kms_key)


@dataclass(frozen=True)
class Output:
    """How a command speaks."""

    panel: ClassVar[str] = "Output"
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False
    as_json: AsJson = False
    log_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append what happens, a JSON object a line, to FILE."),
    ] = None

    def progress(self) -> Progress:
        """What tells the user how it goes: on stderr, so that stdout holds the result alone."""
        shown = Progress()
        if not self.quiet:
            console = Console(stderr=True)
            shown = TerminalProgress(console) if console.is_terminal else PlainProgress(sys.stderr)
        return shown if self.log_file is None else LoggedProgress.open(shown, self.log_file)

    def result(self, content: dict[str, Any], text: str) -> None:
        """The command's result on stdout."""
        if self.as_json:
            print(json.dumps(content, ensure_ascii=False))
        elif not self.quiet:
            Console(soft_wrap=True, highlight=False).print(text, markup=False)
