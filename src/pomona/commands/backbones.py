"""`pomona backbones`: list, add, export and quantize networks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from pomona.commands import exit_status
from pomona.commands.grouping import grouped
from pomona.commands.options.buckets import ReadBucketOptions
from pomona.commands.options.network import NetworkFileOptions
from pomona.commands.output import AsJson, AsJsonArray, complain
from pomona.commands.parser import PomonaCommand, PomonaGroup
from pomona.errors import BackboneError, UsageError
from pomona.store.folders.registry import place

if TYPE_CHECKING:
    from pomona.backbones.spec import Backbone
    from pomona.extraction.quantize import Quantized

app = typer.Typer(
    cls=PomonaGroup,
    help="List the pretrained networks (backbones) or, with a COMMAND, add, export or "
    "quantize one.\n\n"
    "The columns: name; width (features per image); input (side of the square in pixels); top-1 "
    "(accuracy on ImageNet); images/s per core (as last measured with --measure on this machine); "
    "weights (installed: they came with pomona; cached: ready in the cache; added: converted "
    "earlier, but no longer in the cache; to be added: never converted; in the last two cases, run "
    "`pomona backbones add`).\n\n"
    "Converted networks are kept in the cache: the folder $POMONA_CACHE, or else pomona/ in your "
    "own cache folder (~/.cache on Linux, ~/Library/Caches on macOS).",
    invoke_without_command=True,
    subcommand_metavar="[COMMAND] [ARGS]...",
    add_completion=False,
)


@app.callback()
def backbones(
    context: typer.Context,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Measure images/s per core of the networks that are cached or installed, a second "
            "each.",
        ),
    ] = False,
    as_json: AsJsonArray = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from pomona.backbones import cache, registry

    known = [registry.get(name) for name in registry.names()]
    if measure:
        for backbone in known:
            if registry.is_bundled(backbone.name) or cache.is_cached(backbone):
                cache.measure(backbone)
    if as_json:
        print(json.dumps([_facts(backbone) for backbone in known], ensure_ascii=False))
    else:
        _print_table(known)


def _print_table(known: list[Backbone]) -> None:
    from pomona.backbones import cache, registry

    table = Table(
        Column("name", no_wrap=True, overflow="fold"),
        *(Column(title, no_wrap=True) for title in ("width", "input", "top-1")),
        "images/s per core",
        Column("weights", no_wrap=True),
        box=None,
        pad_edge=False,
    )
    for backbone in known:
        rate = cache.measured(backbone)
        table.add_row(
            backbone.name + (" (default)" if backbone.name == registry.DEFAULT else ""),
            "?" if backbone.width is None else str(backbone.width),
            f"{backbone.input_size}²",
            "?" if backbone.top1 is None else f"{backbone.top1} %",
            "" if rate is None else f"{rate:,.0f}",
            _state(backbone),
        )
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    for source in dict.fromkeys(one.top1_source for one in known if one.top1_source):
        names = ", ".join(one.name for one in known if one.top1_source == source)
        console.print(f"ImageNet top-1 of {names}: {source}", markup=False)
    for licence in dict.fromkeys(one.licence for one in known):
        names = ", ".join(one.name for one in known if one.licence == licence)
        console.print(f"Licence of {names}: {licence}", markup=False)
    console.print(
        "To add one: pomona backbones add NAME, or keras:NAME for any other Keras network"
    )


def _facts(backbone: Backbone) -> dict[str, Any]:
    from pomona.backbones import cache

    return {
        **backbone.facts(),
        "cached": cache.is_cached(backbone),
        "state": _state(backbone),
        "images_per_second": cache.measured(backbone),
    }


def _state(backbone: Backbone) -> str:
    from pomona.backbones import cache, registry

    if cache.is_cached(backbone):
        return "cached"
    if registry.is_bundled(backbone.name):
        return "installed"
    if backbone.weights_sha256:
        return "added"
    return "to be added"


@app.command(
    cls=PomonaCommand, epilog="Example: pomona backbones add mobilenet_v2 --weights FILE.h5"
)
def add(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A network that `pomona backbones` lists, or keras:NAME for any other network in "
            "keras.applications, such as keras:VGG16.",
        ),
    ],
    weights: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            metavar="FILE",
            help="Keras weights file: .h5, .weights.h5 or .keras. (default: Keras downloads it)",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    r"""Convert a Keras network, and keep it in the cache.

    Then give the same NAME, such as mobilenet_v2 or keras:VGG16, to `pomona run --backbone`. Needs
    Keras; in a clone: pip install ".\[keras]".
    """
    from pomona.backbones import cache, registry
    from pomona.backbones.keras import catalog as keras_catalog

    if registry.is_bundled(name):
        raise UsageError(f"{name} comes with pomona: there is nothing to add")
    canonical = keras_catalog.check_name(name)
    if keras_catalog.has_keras():
        print(f"converting {canonical} with Keras: this takes some seconds", file=sys.stderr)
    try:
        done = keras_catalog.add(canonical, weights)
    except KeyboardInterrupt as exc:
        complain("stopped; nothing is left behind")
        raise typer.Exit(exit_status.of_stop(exc)) from None
    if as_json:
        result = {"converted": done.converted, "difference": done.difference}
        print(json.dumps({**_facts(done.backbone), **result}, ensure_ascii=False))
    elif done.difference is None:
        print(f"{done.backbone.name} is already in {cache.cache_folder()}")
    else:
        print(
            f"{done.backbone.name} is in {cache.cache_folder()}: {done.backbone.width:,} features "
            f"per image, which differ from Keras's own by at most {done.difference:.1e} of their "
            "scale"
        )
        print(f"  weights  {done.backbone.origin}, SHA-256 {done.backbone.weights_sha256}")


@app.command(
    cls=PomonaCommand, epilog="Example: pomona backbones export efficientnet_lite0 network.onnx"
)
@grouped
def export(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A network that `pomona backbones` lists, or a FILE.onnx."
        ),
    ],
    file: Annotated[
        Path, typer.Argument(readable=False, metavar="OUT.onnx", help="The file to write.")
    ],
    network_file: NetworkFileOptions,
    as_json: AsJson = False,
) -> None:
    """Write a network into one ONNX file, for machines that do not have it.

    The file records the options given here: on such a machine, `pomona run --backbone OUT.onnx`
    computes the same features as NAME does on this one with those options.
    """
    from pomona.backbones import cache, registry
    from pomona.backbones.onnx import exported

    _check_suffix(file)
    backbone = registry.get(name, network_file.overrides())
    network = cache.load(backbone)
    content = exported.write(backbone, network)
    _write(file, content)
    result = {
        "file": str(file),
        "name": backbone.name,
        "sha256": cache.sha256(content),
        "model_sha256": network.digest,
    }
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        print(f"{file}: {backbone.name}, {network.width:,} features per image")
        print(f"  SHA-256  {result['sha256']}")


@app.command(
    cls=PomonaCommand,
    epilog="Example: pomona backbones quantize resnet50 photos out.onnx",
)
@grouped
def quantize(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A network that `pomona backbones` lists, or a FILE.onnx."
        ),
    ],
    photographs: Annotated[
        Any,
        typer.Argument(
            parser=place,
            metavar="PHOTOS",
            help="Images like those that you will run the network on; given as to `pomona run`.",
        ),
    ],
    file: Annotated[
        Path, typer.Argument(readable=False, metavar="OUT.onnx", help="The file to write.")
    ],
    network_file: NetworkFileOptions,
    buckets: ReadBucketOptions,
    limit: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Take at most N images of PHOTOS, the same number from each label if possible.",
        ),
    ] = 256,
    as_json: AsJson = False,
) -> None:
    """Write a network in int8 into one ONNX file; print its similarity to float32, and its speed.

    Every second image calibrates the ranges of the activations; on the others, the features in int8
    are compared with those in float32. `pomona run --backbone OUT.onnx` then computes in int8, with
    ONNX Runtime.
    """
    from pomona.backbones import cache, registry
    from pomona.backbones.onnx import exported
    from pomona.extraction.quantize import quantize_backbone

    _check_suffix(file)
    backbone = registry.get(name, network_file.overrides())
    done = quantize_backbone(backbone, photographs, file.name, limit, buckets.access())
    content = exported.write(done.backbone, done.network)
    _write(file, content)
    _tell(done, backbone.name, file, cache.sha256(content), as_json=as_json)


def _tell(done: Quantized, name: str, file: Path, digest: str, *, as_json: bool) -> None:
    result = {
        "file": str(file),
        "name": name,
        "sha256": digest,
        "model_sha256": done.network.digest,
        "measured": done.measured,
        "compared": done.compared,
        "cosine": done.cosine,
        "least_cosine": done.least_cosine,
        "speed": done.speed,
    }
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
        return
    print(f"{file}: {name} in int8, by {done.measured} images")
    print(
        f"  cosine   to float32, of {done.compared} other images: {done.cosine:.4f} in the mean, "
        f"{done.least_cosine:.4f} at least"
    )
    print(f"  speed    {done.speed:.2f} of float32's, on one core of this machine")
    print(f"  SHA-256  {digest}")


def _check_suffix(file: Path) -> None:
    if file.suffix != ".onnx":
        raise UsageError(f"{file} must end in .onnx, by which --backbone recognizes it")


def _write(file: Path, content: bytes) -> None:
    from pomona.backbones import cache

    try:
        if file.exists() and file.read_bytes() != content:
            raise UsageError(f"{file} exists and is another file: choose another name")
        cache.put(file, content)
    except OSError as exc:
        raise BackboneError(f"cannot write {file}: {exc.strerror}; choose another folder") from exc
