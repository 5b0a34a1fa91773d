"""Commands that show what a store holds: report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pomona.commands.completion import one_of
from pomona.commands.options.buckets import BucketOptions
from pomona.commands.options.engine import EngineOptions
from pomona.commands.options.places import StoreFolder
from pomona.commands.output import OutputOptions, Thumbnails
from pomona.commands.running import open_in_browser, run_settings


def report(
    store: StoreFolder,
    buckets: BucketOptions,
    output: OutputOptions,
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the report in the browser.")
    ] = False,
    figures: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            metavar="DIR",
            help="Also write charts as files in DIR, for slides: explained variance, map, images "
            "per label, time per step.",
        ),
    ] = None,
    image_format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="File format of --figures: png or svg.",
            autocompletion=one_of(("png", "svg")),
        ),
    ] = "png",
    thumbnails: Thumbnails = None,
) -> None:
    """Write report.html again from what a store holds, and print its path."""
    from pomona.pipeline import run as pipeline

    access, engine = buckets.access(), EngineOptions(workers=1).open()
    with run_settings(output, access, engine, thumbnails) as settings:
        page = pipeline.rewrite_report(store, settings)
        drawn = pipeline.draw_figures(store, figures, image_format, access) if figures else []
        content: dict[str, Any] = {"report": str(page)}
        if figures:
            content["figures"] = [str(file) for file in drawn]
        output.result(content, "\n".join(map(str, [page, *drawn])))
        if open_page:
            open_in_browser(page, settings.progress)
