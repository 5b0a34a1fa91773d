"""Reading ahead: images are fetched while the ones before them are worked on.

A server far away takes long for each request and any number of them at once: so many are asked for
beforehand that nobody waits, and no more than memory has room for.
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
    """An image that will be asked for."""

    path: str
    fingerprint: str | None
    size_bytes: int


class Prefetcher:
    """Fetches what is wanted, in this order, up to `MAX_BYTES` and `MAX_IMAGES` before it is taken.

    fetch: what gives an image's bytes; at_once: so many run at the same time.
    """

    def __init__(
        self,
        fetch: Callable[[str, str | None], bytes],
        wanted: Iterable[ImageRequest],
        at_once: int,
    ) -> None:
        self._fetch, self._todo = fetch, deque(wanted)
        self._threads = _threads(at_once, os.getpid())
        self._coming: dict[str, tuple[Future[bytes], int]] = {}
        self._bytes = 0
        self._ask()

    def is_ready(self, path: str) -> bool:
        """Whether `take` need not wait for an image that is coming."""
        return path not in self._coming or self._coming[path][0].done()

    def take(self, path: str, fingerprint: str | None, timeout_s: float | None = None) -> bytes:
        """The bytes of an image, or what `fetch` raised. Raises TimeoutError after `timeout_s`."""
        if path not in self._coming:
            return self._fetch(path, fingerprint)
        future, size = self._coming.pop(path)
        try:
            return future.result(timeout_s)
        except concurrent.futures.TimeoutError as exc:  # another than the built-in until 3.11
            raise TimeoutError from exc
        finally:
            self._bytes -= size
            self._ask()

    def close(self) -> None:
        """What is not needed any more is not asked for."""
        self._todo.clear()
        for future, _ in self._coming.values():
            future.cancel()
        self._coming.clear()

    def _ask(self) -> None:
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
    """They stay from one shard to the next, and with them their connections."""
    return ThreadPoolExecutor(at_once, thread_name_prefix="fetch")
