"""Readers: how a worker gets at an image's bytes and pixels, and what a fault costs.

A codec may crash on a damaged file, or never come back. `Reader` works in the worker itself and
lets either end it; the next attempt takes `CarefulReader`, which works in a process beside it, so
that the culprit is known and costs one error row.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from PIL import Image

from pomona.engines.workers import Worker, ending
from pomona.errors import ImageError
from pomona.images.decode import Decoded, decode, decode_plain_jpeg, in_words
from pomona.images.limits import IMAGE_TIMEOUT_S, MAX_PIXELS
from pomona.images.prefetch import ImageRequest, Prefetcher
from pomona.images.sources.base import Source
from pomona.images.sources.local import LocalSource

STDERR = 2


class ReadsImages(Protocol):
    """A context manager; `fetch` and `decode` raise ImageError.

    expect: tells what will be fetched, in this order; is_ready: whether `fetch` need not wait.
    """

    def expect(self, wanted: Iterable[ImageRequest]) -> None: ...

    def is_ready(self, path: str) -> bool: ...

    def fetch(self, path: str, fingerprint: str | None = None) -> bytes: ...

    def decode(self, data: bytes) -> Decoded: ...

    def __enter__(self) -> ReadsImages: ...

    def __exit__(self, *exc_info: object) -> None: ...


class Reader:
    """Reads in this process, which the kernel ends when fetch or decode take `timeout_s`.

    What comes from afar is fetched ahead, by threads, and only waited for: no codec has part in it.
    side: what the network needs of an image's pixels, as `decode` takes it.
    """

    def __init__(
        self,
        source: Source | str,
        timeout_s: float = IMAGE_TIMEOUT_S,
        max_pixels: int = MAX_PIXELS,
        side: int | None = None,
    ) -> None:
        self.source = LocalSource(source) if isinstance(source, str) else source
        self.timeout_s, self.max_pixels, self.side = timeout_s, max_pixels, side
        self._ahead: Prefetcher | None = None

    def expect(self, wanted: Iterable[ImageRequest]) -> None:
        if self.source.ahead > 1:
            self._ahead = Prefetcher(self.source.fetch, wanted, self.source.ahead)
        else:
            self.source.expect(image.path for image in wanted)

    def is_ready(self, path: str) -> bool:
        return self._ahead is None or self._ahead.is_ready(path)

    def fetch(self, path: str, fingerprint: str | None = None) -> bytes:
        if self._ahead is None:
            with self._limit:
                return self.source.fetch(path, fingerprint)
        try:
            return self._ahead.take(path, fingerprint, self.timeout_s)
        except TimeoutError as exc:
            raise ImageError("fetch", "timed_out", f"more than {self.timeout_s:g} s") from exc

    def decode(self, data: bytes) -> Decoded:
        with self._limit:
            decoded = decode_plain_jpeg(data, self.max_pixels, self.side)
        if decoded is not None:
            return decoded
        with _capture_stderr() as overheard:
            try:
                return self.decode_unsilenced(data)
            except ImageError as exc:
                raise _told(exc, overheard) from exc

    def decode_unsilenced(self, data: bytes) -> Decoded:
        """`decode`, but what a native library says of the image goes to the standard error."""
        own_limit = Image.MAX_IMAGE_PIXELS
        # Pillow raises of twice as many, some before they take memory and decode can know of them.
        Image.MAX_IMAGE_PIXELS = (self.max_pixels + 1) // 2
        try:
            with self._limit:
                return decode(data, self.max_pixels, self.side)
        finally:
            Image.MAX_IMAGE_PIXELS = own_limit

    @property
    def _limit(self) -> _Limit:
        return _Limit(self.timeout_s)

    def __enter__(self) -> Reader:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._ahead:
            self._ahead.close()


class _Limit:
    """The kernel ends this process after so many seconds within.

    A signal without a handler: it needs neither a thread nor the interpreter's attention.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    def __enter__(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, self._timeout_s)

    def __exit__(self, *exc_info: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def _capture_stderr() -> Iterator[int]:
    """The standard error of this process, meanwhile, as a pipe to be read.

    libtiff writes to it what is wrong with a file, which is the image's error and no news for who
    runs pomona.
    """
    reading, writing = _pipe()
    own = os.dup(STDERR)
    os.dup2(writing, STDERR)
    try:
        yield reading
    finally:
        os.dup2(own, STDERR)
        for end in (own, reading, writing):
            os.close(end)


def _pipe() -> tuple[int, int]:
    """Its ends, for reading and for writing; it never blocks, but drops what it has no room for."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


def _told(exc: ImageError, overheard: int) -> ImageError:
    """The error with the first line that was overheard."""
    try:
        lines = os.read(overheard, 2**16).decode("utf-8", "replace").strip().splitlines()
    except BlockingIOError:
        lines = []
    # Pillow gives libtiff no file, but a name.
    details = [exc.detail, *(line.removeprefix("tempfile.tif: ") for line in lines[:1])]
    return ImageError(exc.stage, exc.reason, in_words(": ".join(filter(None, details))))


class CarefulReader:
    """Lets another process read, which may crash or hang: that is the image's error."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._pickled = pickle.dumps((_read, reader), protocol=5)
        self._worker: Worker | None = None
        self._overheard, self._stderr = _pipe()

    def expect(self, wanted: Iterable[ImageRequest]) -> None:
        """One after the other: nothing is fetched ahead."""

    def is_ready(self, path: str) -> bool:
        return True

    def fetch(self, path: str, fingerprint: str | None = None) -> bytes:
        data: bytes = self._in_subprocess("fetch", path, fingerprint)
        return data

    def decode(self, data: bytes) -> Decoded:
        decoded: Decoded = self._in_subprocess("decode", data)
        return decoded

    def _in_subprocess(self, stage: str, *what: str | bytes | None) -> Any:
        worker = self._worker = self._worker or Worker.start(self._stderr)
        with suppress(BlockingIOError):  # what was said of the image before
            os.read(self._overheard, 2**16)
        worker.give(self._pickled, (stage, what))
        try:
            reply = worker.connection.recv()
        except (EOFError, ConnectionResetError) as exc:
            self._worker = None
            status = worker.end()
            if status == -signal.SIGALRM:
                detail = f"more than {self._reader.timeout_s:g} s"
                raise ImageError(stage, "timed_out", detail) from exc
            crash = ImageError(stage, "crashed", ending(status))
            raise _told(crash, self._overheard) from exc
        if isinstance(reply.error, ImageError):
            raise _told(reply.error, self._overheard)
        if reply.error:
            raise reply.error
        return reply.result

    def __enter__(self) -> CarefulReader:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._worker:
            self._worker.end()
        os.close(self._overheard)
        os.close(self._stderr)


def _read(item: tuple[str, Any], reader: Reader, attempt: int) -> bytes | Decoded:
    stage, what = item
    with reader:
        return reader.fetch(*what) if stage == "fetch" else reader.decode_unsilenced(*what)
