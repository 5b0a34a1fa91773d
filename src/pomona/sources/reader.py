"""Readers: how a worker gets at an image's bytes and pixels, and what a fault costs.

A codec may crash on a damaged file, or never come back. `Reader` works in the worker itself and
lets either end it; the next attempt takes `CarefulReader`, which works in a process beside it, so
that the culprit is known and costs one error row.
"""

from __future__ import annotations

import pickle
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from pomona.errors import ImageError
from pomona.sources.decode import Decoded, decode
from pomona.sources.fetch import fetch
from pomona.workers import Worker, ending

IMAGE_TIMEOUT_S = 60.0


class ReadsImages(Protocol):
    """A context manager; `fetch` and `decode` raise ImageError."""

    def fetch(self, path: str, fingerprint: str | None = None) -> bytes: ...

    def decode(self, data: bytes) -> Decoded: ...

    def __enter__(self) -> ReadsImages: ...

    def __exit__(self, *exc_info: object) -> None: ...


@dataclass(frozen=True)
class Reader:
    """Reads in this process, which the kernel ends when fetch or decode take `timeout_s`."""

    source: str
    timeout_s: float = IMAGE_TIMEOUT_S

    def fetch(self, path: str, fingerprint: str | None = None) -> bytes:
        with self._limited():
            return fetch(self.source, path, fingerprint)

    def decode(self, data: bytes) -> Decoded:
        with self._limited():
            return decode(data)

    @contextmanager
    def _limited(self) -> Iterator[None]:
        # A signal without a handler: it needs neither a thread nor the interpreter's attention.
        signal.setitimer(signal.ITIMER_REAL, self.timeout_s)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def __enter__(self) -> Reader:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass


class CarefulReader:
    """Lets another process read, which may crash or hang: that is the image's error."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._pickled = pickle.dumps((_read, reader), protocol=5)
        self._worker: Worker | None = None

    def fetch(self, path: str, fingerprint: str | None = None) -> bytes:
        data: bytes = self._apart("fetch", path, fingerprint)
        return data

    def decode(self, data: bytes) -> Decoded:
        decoded: Decoded = self._apart("decode", data)
        return decoded

    def _apart(self, stage: str, *what: str | bytes | None) -> Any:
        worker = self._worker = self._worker or Worker.start()
        worker.give(self._pickled, (stage, what))
        try:
            reply = worker.connection.recv()
        except (EOFError, ConnectionResetError) as exc:
            self._worker = None
            status = worker.end()
            if status == -signal.SIGALRM:
                detail = f"more than {self._reader.timeout_s:g} s"
                raise ImageError(stage, "timed_out", detail) from exc
            raise ImageError(stage, "crashed", ending(status)) from exc
        if reply.error:
            raise reply.error
        return reply.result

    def __enter__(self) -> CarefulReader:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._worker:
            self._worker.end()


def _read(item: tuple[str, Any], reader: Reader, attempt: int) -> bytes | Decoded:
    stage, what = item
    with reader:
        return reader.fetch(*what) if stage == "fetch" else reader.decode(*what)
