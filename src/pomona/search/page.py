"""The page of a search: each image that was asked about, with its nearest ones."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from pomona import __version__
from pomona.errors import ImageError, PomonaError
from pomona.extraction.asked import Asked
from pomona.progress import count
from pomona.report import thumbnails
from pomona.report.neighbours import NEAR_DUPLICATE
from pomona.report.page import Pictures
from pomona.report.thumbnails import ImageFile, MapHere, ThumbnailTask, to_base64
from pomona.search.ask import Found
from pomona.store.folders.base import encode_text
from pomona.store.recipe import Recipe
from pomona.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAME = "search.html.j2"
QUERIES_SHOWN = 50
# How long all pictures of the store, and all of those that were asked about, may take.
PICTURES_S = 30.0


def write(store: Store, asked: Sequence[Asked], found: Sequence[Found], map_here: MapHere) -> Path:
    """Writes the page of a search to a new temporary folder, which is the user's alone.

    Parameters
    ----------
    store : Store
        The store.
    asked, found
        The images that were asked about, and what was found.
    map_here : MapHere
        Runs a task in worker processes on this machine.

    Returns
    -------
    Path
        The page.
    """
    manifest, recipe = store.manifest, store.recipe
    shown, images = found[:QUERIES_SHOWN], asked[:QUERIES_SHOWN]
    wanted = {
        near.path: near.sha256 for each in shown for near in each.nearest if near.sha256 is not None
    }
    pictures = thumbnails.provide(
        store,
        manifest["source"],
        recipe,
        wanted,
        limit_s=PICTURES_S,
        map_here=map_here,
        keep=False,
    )
    own = _draw_asked(images, recipe, map_here)
    page = Path(tempfile.mkdtemp(prefix="pomona-search-"), "search.html")
    page.write_bytes(encode_text(render(str(store.files), found, pictures, own)))
    return page


def render(
    store: str,
    found: Sequence[Found],
    pictures: Mapping[str, bytes],
    asked: Mapping[str, bytes],
) -> str:
    """Renders a search as HTML that loads nothing.

    Parameters
    ----------
    store : str
        The store's path or address.
    found : sequence of Found
        What was found.
    pictures, asked : mapping of str to bytes
        Pictures of the store's images and of those that were asked about, WebP by path.
    """
    own = to_base64(asked)
    queries = [
        {
            "path": each.path,
            "error": each.error,
            "nearest": each.nearest,
            "picture": own.get(each.path or ""),
        }
        for each in found[:QUERIES_SHOWN]
    ]
    return (
        _templates()
        .get_template(FRAME)
        .render(
            store=store,
            queries=queries,
            hidden=len(found) - len(queries),
            near_duplicate=NEAR_DUPLICATE,
            pictures=Pictures(to_base64(pictures), True, 0),
            version=__version__,
        )
    )


def _draw_asked(asked: Sequence[Asked], recipe: Recipe, map_here: MapHere) -> dict[str, bytes]:
    """Pictures of the images that were asked about, by the path that is shown."""
    pictures: dict[str, bytes] = {}
    if asked:
        drawing = ThumbnailTask.of(asked[0].source, recipe, limit_s=PICTURES_S)
        for drawn in map_here(thumbnails.draw, ([file] for file in _files(asked)), drawing):
            pictures.update(drawn)
    return pictures


def _files(asked: Sequence[Asked]) -> Iterator[ImageFile]:
    for one in asked:
        try:
            data = one.source.fetch(one.image.path, one.image.fingerprint)
        except (ImageError, PomonaError):
            continue
        yield one.shown, hashlib.sha256(data).hexdigest(), data


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=ChoiceLoader(
            [PackageLoader("pomona", "search/templates"), PackageLoader("pomona", "report")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=count, whole="{:,}".format)
    return environment
