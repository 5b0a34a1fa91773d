"""Searching: what is to be found at a time is found together, for little more than one costs."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pomona.search.index import TOGETHER, Index, Neighbour

Row = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Wanted:
    """A row whose nearest images are wanted."""

    index: Index
    row: Row
    found: asyncio.Future[list[Neighbour]]


class Searching:
    """Searches an index for all rows that wait, while others come.

    Parameters
    ----------
    top : int
        How many images are wanted for each row.
    """

    def __init__(self, top: int) -> None:
        self._top = top
        self._waiting: deque[_Wanted] = deque()
        self._task: asyncio.Task[None] | None = None

    async def find(self, index: Index, row: Row) -> list[Neighbour]:
        """Returns the nearest images of a row, float32[k]. They depend on no other row."""
        wanted = _Wanted(index, row, asyncio.get_running_loop().create_future())
        self._waiting.append(wanted)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await wanted.found

    async def _work(self) -> None:
        """Searches until nothing waits."""
        while self._waiting:
            batch = [self._waiting.popleft()]
            index = batch[0].index
            while self._waiting and self._waiting[0].index is index and len(batch) < TOGETHER:
                batch.append(self._waiting.popleft())
            batch = [each for each in batch if not each.found.done()]  # whose client has left
            if not batch:
                continue
            try:
                rows = np.stack([each.row for each in batch])
                answers = await asyncio.to_thread(index.search, rows, self._top)
            except Exception as exc:  # each request says so itself
                for each in batch:
                    if not each.found.done():
                        each.found.set_exception(exc)
                continue
            for each, answer in zip(batch, answers, strict=True):
                if not each.found.done():
                    each.found.set_result(answer)
