"""`pomona backbones`: list, add, export; and the flags that say which network is meant."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from pomona.commands.options import AsJson, NetworkFile, grouped
from pomona.errors import BackboneError, UsageError

if TYPE_CHECKING:
    from pomona.backbones.spec import Backbone

STOPPED = 130

app = typer.Typer(
    help="List the networks: width, input size, accuracy, licence, and what there is of each.",
    epilog="Example: pomona backbones add mobilenet_v2",
    invoke_without_command=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="As `pomona backbones` lists it.")]


@app.callback()
def backbones(
    context: typer.Context,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure those that are cached, a second each.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from pomona.backbones import cache, registry

    known = [registry.get(name) for name in registry.names()]
    if measure:
        for one in known:
            if registry.is_bundled(one.name) or cache.is_cached(one):
                cache.measure(one)
    if as_json:
        print(json.dumps([_facts(one) for one in known], ensure_ascii=False))
        return
    table = Table(
        Column("name", no_wrap=True, overflow="fold"),
        *(Column(title, no_wrap=True) for title in ("width", "input", "top-1")),
        "images/s a core",
        Column("weights", no_wrap=True),
        box=None,
        pad_edge=False,
    )
    for one in known:
        rate = cache.measured(one)
        table.add_row(
            one.name + (" (default)" if one.name == registry.DEFAULT else ""),
            "?" if one.width is None else str(one.width),
            f"{one.input_size}²",
            "?" if one.top1 is None else f"{one.top1} %",
            "" if rate is None else f"{rate:,.0f}",
            _state(one),
        )
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    for source in dict.fromkeys(one.top1_source for one in known if one.top1_source):
        of = ", ".join(one.name for one in known if one.top1_source == source)
        console.print(f"ImageNet top-1 of {of}: {source}", markup=False)
    for licence in dict.fromkeys(one.licence for one in known):
        of = ", ".join(one.name for one in known if one.licence == licence)
        console.print(f"Licence of {of}: {licence}", markup=False)
    console.print("To add one: pomona backbones add NAME; keras:NAME for others of Keras")


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


@app.command(epilog="Example: pomona backbones add mobilenet_v2 --weights FILE.h5")
def add(
    name: Name,
    weights: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            metavar="FILE",
            help="Keras's weights on disk: .h5 as published, .weights.h5 or .keras.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    r"""Convert a network of Keras, of this name or keras:NAME, and keep it in the cache.

    Without --weights Keras downloads its own. Needs pip install "pomona\[keras]", here alone.
    """
    from pomona.backbones import cache, registry
    from pomona.backbones.keras import catalog as keras_catalog

    if registry.is_bundled(name):
        raise UsageError(f"{name} comes with pomona: nothing is to be added")
    canonical = keras_catalog.check_name(name)
    print(f"converting {canonical} with Keras, which takes some seconds", file=sys.stderr)
    try:
        done = keras_catalog.add(canonical, weights)
    except KeyboardInterrupt as exc:
        print("pomona: stopped; nothing is left behind", file=sys.stderr)
        raise typer.Exit(exc.args[0] if exc.args else STOPPED) from None
    if as_json:
        told = {"converted": done.converted, "difference": done.difference}
        print(json.dumps({**_facts(done.backbone), **told}, ensure_ascii=False))
    elif done.difference is None:
        print(f"{done.backbone.name} is there already, in {cache.cache_folder()}")
    else:
        print(
            f"{done.backbone.name} is in {cache.cache_folder()}: {done.backbone.width:,} numbers "
            f"an image, within {done.difference:.1e} of their scale of Keras's own"
        )
        print(f"  weights  {done.backbone.origin}, SHA-256 {done.backbone.weights_sha256}")


@app.command(epilog="Example: pomona backbones export mobilenet_v2 mobilenet_v2.onnx")
@grouped
def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A network's name, or a FILE.onnx.")],
    file: Annotated[
        Path, typer.Argument(readable=False, metavar="OUT.onnx", help="The file to write.")
    ],
    network_file: NetworkFile,
    as_json: AsJson = False,
) -> None:
    """Write a network with its spec into one ONNX file, to be carried to where there is none.

    `--backbone OUT.onnx` is then the same network, with the same recipe.
    """
    from pomona.backbones import cache, registry
    from pomona.backbones.onnx import exported

    if file.suffix != ".onnx":
        raise UsageError(f"{file} must end in .onnx, by which --backbone knows it")
    backbone = registry.get(name, network_file.overrides())
    network = cache.load(backbone)
    content = exported.write(backbone, network)
    try:
        if file.exists() and file.read_bytes() != content:
            raise UsageError(f"{file} exists and is another file: choose another name")
        cache.put(file, content)
    except OSError as exc:
        raise BackboneError(f"cannot write {file}: {exc.strerror}; choose another folder") from exc
    told = {
        "file": str(file),
        "name": backbone.name,
        "sha256": cache.sha256(content),
        "model_sha256": network.digest,
    }
    if as_json:
        print(json.dumps(told, ensure_ascii=False))
    else:
        print(f"{file}: {backbone.name}, {network.width:,} numbers an image")
        print(f"  SHA-256  {told['sha256']}")
