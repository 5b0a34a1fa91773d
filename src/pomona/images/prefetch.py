"""Prefetching: images are fetched while the ones before them are decoded.

A remote server takes long to answer a request, but answers many at once. So requests go out ahead,
enough that no worker waits and no more than memory holds.
"""

from __future__ import annotations

import concurrent.futures
import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

MAX_BYTES = 64 * 2**20
MAX_IMAGES = 512


@dataclass(frozen=True)
class ImageRequest:
    """An image that will be fetched.

    Attributes
    ----------
    path : str
        The path of its catalog row.
    fingerprint : str or None
        The fingerprint that it must have. None: any.
    size_bytes : int
        The size of its file, which counts towards `MAX_BYTES`.
    """

    path: str
    fingerprint: str | None
    size_bytes: int


class Prefetcher:
    """Fetches images in threads, up to `MAX_BYTES` and `MAX_IMAGES` before they are taken.

    Parameters
    ----------
    fetch : callable
        Returns the bytes of an image, from its path and its fingerprint.
    wanted : iterable of ImageRequest
        The images, in the order in which they will be taken.
    at_once : int
        The number of threads.
    """

    def __init__(
        self,
        fetch: Callable[[str, str | None], bytes],
        wanted: Iterable[ImageRequest],
        at_once: int,
    ) -> None:
        self._fetch, self._todo = fetch, deque(wanted)
        self._threads = _threads(at_once, os.getpid())
        # Path → the result to come, and its size in bytes.
        self._coming: dict[str, tuple[Future[bytes], int]] = {}
        self._bytes = 0
        self._ask()

    def is_ready(self, path: str) -> bool:
        """Whether `take` would return an image without a wait, or has to fetch it itself."""
        return path not in self._coming or self._coming[path][0].done()

    def take(self, path: str, fingerprint: str | None, timeout_s: float | None = None) -> bytes:
        """Returns an image, once it is there.

        Parameters
        ----------
        path, fingerprint
            As in its `ImageRequest`. An image that was not announced is fetched here and now.
        timeout_s : float or None
            How long to wait, in seconds. None: without limit.

        Returns
        -------
        bytes
            What `fetch` returned.

        Raises
        ------
        TimeoutError
            If it has not come after `timeout_s`.
        Exception
            Whatever `fetch` raised.
        """
        if path not in self._coming:
            return self._fetch(path, fingerprint)
        future, size = self._coming.pop(path)
        try:
            return future.result(timeout_s)
        except concurrent.futures.TimeoutError as exc:  # not the built-in one before Python 3.11
            raise TimeoutError from exc
        finally:
            self._bytes -= size
            self._ask()

    def close(self) -> None:
        """Cancels the requests that have not begun."""
        self._todo.clear()
        for future, _ in self._coming.values():
            future.cancel()
        self._coming.clear()

    def _ask(self) -> None:
        """Sends out requests as long as there is room for what they return."""
        while self._todo and len(self._coming) < MAX_IMAGES:
            size = self._todo[0].size_bytes
            if self._coming and self._bytes + size > MAX_BYTES:
                return
            image = self._todo.popleft()
            self._bytes += size
            future = self._threads.submit(self._fetch, image.path, image.fingerprint)
            self._coming[image.path] = future, size


@lru_cache(maxsize=4)
def _threads(at_once: int, process: int) -> ThreadPoolExecutor:
    """The threads, which keep their connections from one shard to the next."""
    return ThreadPoolExecutor(at_once, thread_name_prefix="fetch")
