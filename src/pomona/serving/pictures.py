"""Pictures: the store's images, small, as the page shows them beside an answer."""

from __future__ import annotations

import asyncio
import math
import queue
from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeAlias

from pomona.engines.queue import BatchQueue, Loaded
from pomona.errors import PomonaError
from pomona.images.limits import MAX_PIXELS
from pomona.images.sources.registry import open_source
from pomona.report.thumbnails import TIMEOUT_S, ThumbnailTask
from pomona.search.index import Neighbour
from pomona.serving.answers import Answer, Item
from pomona.store.store import Store

Work: TypeAlias = "Loaded[Item, Answer | bytes | None]"

# An answer does not wait longer for pictures; they are there the next time.
WAIT_S = 2.0
# Each has about 700 bytes.
MOST = 10_000


def find_drawing(store: Store) -> ThumbnailTask | None:
    """Returns what draws a store's images; None where they are away, or on other machines.

    Parameters
    ----------
    store : Store
        The store.
    """
    recipe = store.recipe
    try:
        source = open_source(store.manifest["source"], store.access).absolute()
    except PomonaError:
        return None
    if source.ahead > 1 or recipe.input_size is None:
        return None
    fit = (recipe.input_size, recipe.fit, recipe.crop_fraction)
    return ThumbnailTask(source, *fit, MAX_PIXELS, recipe.side, TIMEOUT_S, math.inf)


class Pictures:
    """Draws pictures in a server's workers, and keeps the last ones.

    Parameters
    ----------
    queue : BatchQueue
        What gives images to workers.
    """

    def __init__(self, queue: BatchQueue) -> None:
        self._queue = queue
        self._drawn: OrderedDict[str, bytes] = OrderedDict()

    async def draw(self, images: Sequence[Neighbour], loaded: Work) -> dict[str, bytes]:
        """Returns the pictures of images, WebP by the SHA-256 of their files, as many as can be.

        Parameters
        ----------
        images : sequence of Neighbour
            The images.
        loaded : Loaded
            Of the model that found them.
        """
        wanted = {each.sha256: each.path for each in images if each.sha256 is not None}
        missing = {digest: path for digest, path in wanted.items() if digest not in self._drawn}
        if missing:
            await self._draw(missing, loaded)
        return {digest: self._drawn[digest] for digest in wanted if digest in self._drawn}

    async def _draw(self, missing: dict[str, str], loaded: Work) -> None:
        futures = {}
        try:
            for digest, path in missing.items():
                futures[digest] = asyncio.wrap_future(
                    self._queue.submit((path, digest, None), loaded)
                )
        except queue.Full:  # photographs come first
            pass
        if futures:
            await asyncio.wait(futures.values(), timeout=WAIT_S)
        for digest, future in futures.items():
            if not future.done():
                future.cancel()
            elif isinstance(picture := future.result(), bytes):
                self._drawn[digest] = picture
                if len(self._drawn) > MOST:
                    self._drawn.popitem(last=False)
