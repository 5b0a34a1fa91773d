"""Report: what a store holds, on one self-contained page."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

from pomona.engines.base import Engine
from pomona.store.folders.base import encode_text
from pomona.store.layout import REPORT, THUMBNAILS
from pomona.store.store import Store

FORMATS = ("png", "svg")
PICTURES_S = 60.0


def prepare() -> None:
    """Gets ready to `write`, in a thread: for whoever waits for workers in the meantime."""
    threading.Thread(target=_prepare, name="prepare report").start()


def _prepare() -> None:
    # What fails here fails again, and is told, where it is needed.
    with contextlib.suppress(Exception):
        from pomona.report.page import templates

        templates()


def write(
    store: Store,
    manifest: dict[str, Any],
    pictures_s: float = PICTURES_S,
    engine: Engine | None = None,
) -> None:
    """Writes report.html of a store from its tables and this manifest.

    pictures_s: how long pictures may be made that the store does not have yet; engine: whose
    workers make them if they are on this machine, else one is started.
    """
    from pomona.report import thumbnails
    from pomona.report.page import numbers, pictures, render

    found = numbers(store, manifest)
    images = None
    if manifest.get("thumbnails") is False:
        store.files.delete(THUMBNAILS)
    else:
        wanted, source, recipe = pictures(found), manifest["source"], store.recipe
        images = thumbnails.provide(
            store, source, recipe, wanted, pictures_s, found["most_pixels"], engine
        )
    store.files.write(REPORT, encode_text(render(found, images)))


def draw(store: Store, manifest: dict[str, Any], folder: Path, image_format: str) -> list[Path]:
    """Draws the page's figures into a folder, in one of `FORMATS`; returns where they lie.

    Raises PomonaError where matplotlib is not installed, or the folder cannot be written.
    """
    from pomona.report.figures import draw_all
    from pomona.report.page import numbers

    return draw_all(numbers(store, manifest), folder, image_format)
