"""Commands that show what a store holds: report, search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.commands.completion import one_of
from pomona.commands.options.buckets import BucketOptions
from pomona.commands.options.engine import EngineOptions, Workers
from pomona.commands.options.places import StoreFolder
from pomona.commands.output import OutputOptions, Thumbnails
from pomona.commands.running import open_in_browser, run_settings, start_engine
from pomona.store.folders.registry import place

if TYPE_CHECKING:
    from pomona.search.ask import Found


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
            'per label, time per step. Needs matplotlib; in a clone: pip install ".\\[figures]".',
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


def search(
    store: StoreFolder,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE",
            help="Image file, or a folder, pack or s3:// address as `pomona run` takes it; may be "
            "repeated.",
        ),
    ],
    buckets: BucketOptions,
    output: OutputOptions,
    top: Annotated[
        int, typer.Option(metavar="N", help="How many similar images to find for each IMAGE.")
    ] = 10,
    open_page: Annotated[
        bool, typer.Option("--open", help="Show the images on a page in the browser.")
    ] = False,
    workers: Workers = None,
) -> None:
    """Find the images of a store that are most similar to the given ones.

    Similarity is the cosine similarity of the images' PCA components, from −1 to 1. The index for
    searching is kept in the store's search/ folder.
    """
    with start_engine(EngineOptions(workers=workers), ("pomona.search.ask",)) as engine:
        from pomona.search import ask, page

    places = [place(each) for each in images]
    with run_settings(output, buckets.access(), engine) as settings:
        asked, found = ask.search_images(store, places, settings, top=top)
        content = {"found": [each.to_dict() for each in found]}
        output.result(content, "\n".join(line for each in found for line in _nearest(each)))
        if open_page:
            from pomona.pipeline.here import map_here
            from pomona.store.store import Store

            with map_here() as run_here:
                written = page.write(Store(store, settings.access), asked, found, run_here)
            open_in_browser(str(written), settings.progress)


def _nearest(found: Found) -> list[str]:
    """A line for an image, and one for each of its nearest."""
    if found.error:
        detail = f": {found.error['detail']}" if found.error["detail"] else ""
        return [f"{found.path}: no features, {found.error['reason']}{detail}"]
    return [
        f"{found.path}:",
        *(
            f"  {each.similarity:6.3f}  {each.path}" + (f" ({each.label})" if each.label else "")
            for each in found.nearest
        ),
    ]
