"""Writes a store's report, and draws its figures."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pomona.store.folders.base import encode_text
from pomona.store.layout import REPORT, THUMBNAILS
from pomona.store.store import Store

if TYPE_CHECKING:
    from pomona.report.thumbnails import MapHere

FORMATS = ("png", "svg")
PICTURES_S = 60.0


def prepare() -> None:
    """Compiles the page's templates in a thread, ahead of `write`."""
    threading.Thread(target=_prepare, name="prepare report").start()


def _prepare() -> None:
    # Whatever fails here fails again in `write`, which reports it.
    with contextlib.suppress(Exception):
        from pomona.report import page, registry

        page.compile_templates(registry.SECTIONS)


def write(
    store: Store,
    manifest: dict[str, Any],
    *,
    map_here: MapHere,
    threads: int = 1,
    pictures_s: float = PICTURES_S,
) -> None:
    """Writes report.html of a store.

    Parameters
    ----------
    store : Store
        The store, open for writing.
    manifest : dict
        What its pomona.json says, or is about to say.
    map_here : MapHere
        Runs a task in worker processes on this machine. Called only if pictures are missing.
    threads : int
        How many threads of this process may compute.
    pictures_s : float
        How many seconds it may take to make the pictures that the store does not have yet.

    Raises
    ------
    StoreError
        If a table of the store cannot be read, or the report cannot be written.
    """
    from pomona.report import thumbnails
    from pomona.report.page import find_pictures, gather, render

    page = gather(store, manifest, threads)
    images = None
    if manifest.get("thumbnails") is False:
        store.files.delete(THUMBNAILS)
    else:
        images = thumbnails.provide(
            store,
            manifest["source"],
            store.recipe,
            find_pictures(page),
            limit_s=pictures_s,
            map_here=map_here,
            most_pixels=page.most_pixels,
        )
    store.files.write(REPORT, encode_text(render(page, images)))


def draw(store: Store, manifest: dict[str, Any], folder: Path, image_format: str) -> list[Path]:
    """Draws the report's figures as image files.

    Parameters
    ----------
    store : Store
        The store to read.
    manifest : dict
        What its pomona.json says.
    folder : Path
        Where the files go. It is made if it is missing.
    image_format : str
        One of `FORMATS`.

    Returns
    -------
    list of Path
        The files that were written. A figure without data is left out.

    Raises
    ------
    PomonaError
        If matplotlib is not installed, or a file cannot be written.
    StoreError
        If a table of the store cannot be read.
    """
    from pomona.report.figures import draw_all
    from pomona.report.page import gather

    return draw_all(gather(store, manifest).sections, folder, image_format)
