"""Arrivals: results of worker threads reach the event loop, all that come at a time by one call."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


class Arrivals:
    """Turns futures of threads into futures of the event loop.

    As `asyncio.wrap_future`, which wakes the loop for each result: a batch has several.
    """

    def __init__(self) -> None:
        self._arrived: deque[tuple[Future[object], asyncio.Future[object]]] = deque()
        self._is_called = False

    def expect(self, result: Future[Result]) -> asyncio.Future[Result]:
        """Returns a future of the running loop that gets a result; cancelling it cancels `result`.

        Parameters
        ----------
        result : concurrent.futures.Future
            A thread sets its result; it raises nothing.
        """
        loop = asyncio.get_running_loop()
        awaited: asyncio.Future[Result] = loop.create_future()

        def arrive(result: Future[Result]) -> None:
            self._arrived.append((result, awaited))  # type: ignore[arg-type]
            if not self._is_called:
                self._is_called = True
                try:
                    loop.call_soon_threadsafe(self._deliver)
                except RuntimeError:  # the loop has ended
                    self._arrived.clear()

        awaited.add_done_callback(lambda done: done.cancelled() and result.cancel())
        result.add_done_callback(arrive)
        return awaited

    def _deliver(self) -> None:
        self._is_called = False
        while self._arrived:
            result, awaited = self._arrived.popleft()
            if awaited.done():
                continue
            if result.cancelled():
                awaited.cancel()
            else:
                awaited.set_result(result.result())
