"""Pictures: the store's images, small, as clients and the page show them beside an answer."""

from __future__ import annotations

import asyncio
import math
import queue
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol, TypeAlias

from pomona.engines.base import Failure
from pomona.engines.queue import BatchQueue, Loaded
from pomona.errors import PomonaError
from pomona.images.limits import MAX_PIXELS
from pomona.images.sources.registry import open_source
from pomona.report.thumbnails import TIMEOUT_S, ThumbnailTask
from pomona.search.index import Index
from pomona.serving.answers import Answer, Item
from pomona.serving.problems import overloaded
from pomona.store.store import Store

Work: TypeAlias = "Loaded[Item, Answer | bytes | None]"

# An answer does not wait longer for pictures; they are there the next time.
WAIT_S = 2.0
# Each has about 700 bytes.
MOST = 10_000


class Shown(Protocol):
    """An image of the store that is to be shown. sha256: of its file, if it is known."""

    @property
    def path(self) -> str: ...

    @property
    def sha256(self) -> str | None: ...


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
        self._paths: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._looking = asyncio.Lock()

    async def find(self, sha256: str, index: Index, loaded: Work) -> bytes | None:
        """Returns the picture of an image of the store.

        Parameters
        ----------
        sha256 : str
            Of the image's file.
        index : Index
            Which images are known.
        loaded : Loaded
            Of the index's model.

        Returns
        -------
        bytes, optional
            A WebP file. None: no image has this SHA-256, or its file is away, has changed or
            cannot be decoded.

        Raises
        ------
        RefusedError
            If too many images wait already.
        """
        path = await self._find_path(sha256, index)
        if path is None:
            return None
        if sha256 not in self._drawn and not await self._draw({sha256: path}, loaded):
            raise overloaded("too many images wait: ask again later")
        return self._drawn.get(sha256)

    async def _find_path(self, sha256: str, index: Index) -> str | None:
        """The path of an image, as the index has it."""
        known = (index.key, sha256)
        async with self._looking:  # a look at millions of images takes one core, not all
            path = self._paths.get(known) or await asyncio.to_thread(index.find_path, sha256)
        if path is not None:
            self._paths[known] = path
            if len(self._paths) > MOST:
                self._paths.popitem(last=False)
        return path

    async def draw(self, images: Sequence[Shown], loaded: Work) -> dict[str, bytes]:
        """Returns the pictures of images, WebP by the SHA-256 of their files, as many as can be.

        Parameters
        ----------
        images : sequence of Shown
            The images.
        loaded : Loaded
            Of the model that they belong to.
        """
        wanted = {each.sha256: each.path for each in images if each.sha256 is not None}
        missing = {digest: path for digest, path in wanted.items() if digest not in self._drawn}
        if missing:
            await self._draw(missing, loaded)
        return {digest: self._drawn[digest] for digest in wanted if digest in self._drawn}

    async def _draw(self, missing: dict[str, str], loaded: Work) -> bool:
        """Draws images, path by SHA-256; returns whether workers had the time for all."""
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
        return len(futures) == len(missing) and not any(map(_is_late, futures.values()))


def _is_late(future: asyncio.Future[Answer | bytes | Failure | None]) -> bool:
    return not future.done() or future.cancelled()
