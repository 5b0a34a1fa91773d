"""Commands for the first steps: sample, doctor."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pomona.commands import exit_status
from pomona.commands.output import AsJson, OutputOptions, Quiet
from pomona.errors import PomonaError
from pomona.progress import count

MARKS = {True: "[green]ok[/]", False: "[red]missing[/]", None: "[dim]optional[/]"}


def sample(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    varieties: Annotated[int, typer.Option(metavar="N", help="Number of varieties of fruit.")] = 12,
    per_variety: Annotated[
        int, typer.Option(metavar="N", help="Number of images of each variety.")
    ] = 25,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Random seed: the same N gives the same images.")
    ] = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Generate synthetic images of fruit to try pomona on: one folder per variety and split."""
    from pomona.samples.sample import draw_sample

    output = OutputOptions(quiet=quiet, as_json=as_json)
    progress = output.progress()
    progress.begin("draw", varieties * per_variety)
    try:
        drawn = draw_sample(
            folder,
            varieties=varieties,
            per_variety=per_variety,
            seed=seed,
            progress=progress.advance,
        )
    except OSError as exc:
        raise PomonaError(f"cannot write {folder}: {exc.strerror}; choose another folder") from exc
    finally:
        progress.end()
    content = {**dataclasses.asdict(drawn), "folder": str(drawn.folder)}
    images = count(drawn.images, "image")
    varieties_drawn = count(drawn.varieties, "variety", "varieties")
    output.result(
        content,
        f"{images} of {varieties_drawn} in {drawn.folder}\n"
        f"next: pomona run {shlex.quote(str(drawn.folder))} out",
    )


def doctor(
    speed: Annotated[
        bool,
        typer.Option(
            "--speed",
            help="Also measure how many images/s the default network processes on all cores "
            "together; this takes a few seconds per runtime.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check this machine: what is installed, what is missing, and how to install it."""
    from pomona.maintenance.doctor import examine, measure

    checks = [*examine(), *(measure() if speed else ())]
    if as_json:
        print(json.dumps([dataclasses.asdict(check) for check in checks]))
    else:
        table = Table("", "", "", box=None, show_header=False)
        for check in checks:
            table.add_row(MARKS[check.ok], check.what, escape(check.detail))
        Console().print(table)
    if any(check.ok is False for check in checks):
        raise typer.Exit(exit_status.FAILED)
