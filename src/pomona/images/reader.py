"""Readers: how a worker fetches and decodes images, and how a crash or a hang costs one alone.

On a damaged file, a codec may crash or never return. `Reader` works in the worker's own process,
which either ends. The next attempt takes `CarefulReader`, which works in a subprocess: it knows
which image is at fault, and that image becomes one error row.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from PIL import Image

from pomona.engines.workers import Worker, describe_exit
from pomona.errors import ImageError
from pomona.images.decode import Decoded, decode, decode_plain_jpeg, to_detail
from pomona.images.limits import IMAGE_TIMEOUT_S, MAX_PIXELS
from pomona.images.prefetch import ImageRequest, Prefetcher
from pomona.images.sources.base import Source
from pomona.images.sources.local import LocalSource

STDERR = 2
# The capacity of a pipe.
_PIPE_BYTES = 2**16


class ReadsImages(Protocol):
    """Fetches and decodes images; a context manager."""

    def expect(self, wanted: Iterable[ImageRequest]) -> None:
        """Announces the images that `fetch` will be asked for, in this order."""

    def is_ready(self, path: str) -> bool:
        """Whether `fetch` of an image need not wait for the network."""

    def fetch(self, path: str, fingerprint: str | None = None) -> bytes:
        """The bytes of an image. Raises ImageError (stage "fetch")."""

    def decode(self, data: bytes) -> Decoded:
        """The pixels of an image file. Raises ImageError (stage "decode")."""

    def __enter__(self) -> ReadsImages: ...

    def __exit__(self, *exc_info: object) -> None: ...


class Reader:
    """Reads in this process, which the kernel ends when an image takes longer than `timeout_s`.

    Images of a remote source are fetched ahead by threads. A wait for one of these is no hang: it
    ends with an `ImageError`.

    Parameters
    ----------
    source : Source or str
        Where the images are; a str is a folder.
    timeout_s : float
        How long one image may take to be fetched, and again to be decoded, in seconds.
    max_pixels, side, allow_damaged
        As for `decode`.
    """

    def __init__(
        self,
        source: Source | str,
        timeout_s: float = IMAGE_TIMEOUT_S,
        max_pixels: int = MAX_PIXELS,
        side: int | None = None,
        *,
        allow_damaged: bool = False,
    ) -> None:
        self.source = LocalSource(source) if isinstance(source, str) else source
        self.timeout_s, self.max_pixels, self.side = timeout_s, max_pixels, side
        self.allow_damaged = allow_damaged
        self._ahead: Prefetcher | None = None

    def expect(self, wanted: Iterable[ImageRequest]) -> None:
        """Announces the images that `fetch` will be asked for, in this order."""
        if self.source.ahead > 1:
            self._ahead = Prefetcher(self.source.fetch, wanted, self.source.ahead)
        else:
            self.source.expect(wanted)

    def is_ready(self, path: str) -> bool:
        """Whether `fetch` of an image need not wait for the network."""
        return self._ahead is None or self._ahead.is_ready(path)

    def fetch(self, path: str, fingerprint: str | None = None) -> bytes:
        """The bytes of an image. Raises ImageError (stage "fetch")."""
        if self._ahead is None:
            with self._limit:
                return self.source.fetch(path, fingerprint)
        try:
            return self._ahead.take(path, fingerprint, self.timeout_s)
        except TimeoutError as exc:
            raise ImageError("fetch", "timed_out", f"more than {self.timeout_s:g} s") from exc

    def decode(self, data: bytes) -> Decoded:
        """The pixels of an image file. Raises ImageError (stage "decode")."""
        with self._limit:
            decoded = decode_plain_jpeg(data, self.max_pixels, self.side)
        if decoded is not None:
            return decoded
        with _capture_stderr() as captured:
            try:
                return self.decode_unsilenced(data)
            except ImageError as exc:
                raise _with_output(exc, captured) from exc

    def decode_unsilenced(self, data: bytes) -> Decoded:
        """As `decode`, but native libraries print to this process's standard error."""
        own_limit = Image.MAX_IMAGE_PIXELS
        # Pillow refuses twice as many pixels, for some formats before `decode` knows their number.
        Image.MAX_IMAGE_PIXELS = (self.max_pixels + 1) // 2
        try:
            with self._limit:
                return decode(data, self.max_pixels, self.side, allow_damaged=self.allow_damaged)
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
    """A context in which the kernel ends this process after `timeout_s`.

    By a signal without a handler, which needs neither a thread nor the interpreter.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    def __enter__(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, self._timeout_s)

    def __exit__(self, *exc_info: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def _capture_stderr() -> Iterator[int]:
    """Redirects this process's standard error into a pipe, and yields its end for reading.

    libtiff prints there what is wrong with a file: that belongs into the image's error.
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
    """The ends of a pipe, to read and to write; it never blocks, but drops what it cannot hold."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


def _with_output(exc: ImageError, captured: int) -> ImageError:
    """The error, with the first line of the captured output in its detail."""
    try:
        lines = os.read(captured, _PIPE_BYTES).decode("utf-8", "replace").strip().splitlines()
    except BlockingIOError:
        lines = []
    # The name that Pillow gives libtiff in place of a file's.
    details = [exc.detail, *(line.removeprefix("tempfile.tif: ") for line in lines[:1])]
    return ImageError(exc.stage, exc.reason, to_detail(": ".join(filter(None, details))))


class CarefulReader:
    """Reads in a subprocess, whose crash or hang becomes the image's error.

    Parameters
    ----------
    reader : Reader
        The reader that works in the subprocess.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._pickled = pickle.dumps((_read, reader), protocol=5)
        self._worker: Worker | None = None
        self._captured, self._stderr = _pipe()

    def expect(self, wanted: Iterable[ImageRequest]) -> None:
        """Fetches nothing ahead."""

    def is_ready(self, path: str) -> bool:
        """True: nothing is on its way."""
        return True

    def fetch(self, path: str, fingerprint: str | None = None) -> bytes:
        """The bytes of an image. Raises ImageError (stage "fetch")."""
        data: bytes = self._in_subprocess("fetch", path, fingerprint)
        return data

    def decode(self, data: bytes) -> Decoded:
        """The pixels of an image file. Raises ImageError (stage "decode")."""
        decoded: Decoded = self._in_subprocess("decode", data)
        return decoded

    def _in_subprocess(self, stage: str, *args: str | bytes | None) -> Any:
        """The result of the reader's method for a stage; its error, its crash or its hang raise."""
        worker = self._worker = self._worker or Worker.start(self._stderr)
        with suppress(BlockingIOError):  # output about the image before this one
            os.read(self._captured, _PIPE_BYTES)
        worker.give(self._pickled, (stage, args))
        try:
            reply = worker.connection.recv()
        except (EOFError, ConnectionResetError) as exc:
            self._worker = None
            status = worker.end()
            if status == -signal.SIGALRM:
                detail = f"more than {self._reader.timeout_s:g} s"
                raise ImageError(stage, "timed_out", detail) from exc
            crash = ImageError(stage, "crashed", describe_exit(status))
            raise _with_output(crash, self._captured) from exc
        if isinstance(reply.error, ImageError):
            raise _with_output(reply.error, self._captured)
        if reply.error:
            raise reply.error
        return reply.result

    def __enter__(self) -> CarefulReader:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._worker:
            self._worker.end()
        os.close(self._captured)
        os.close(self._stderr)


def _read(item: tuple[str, Any], reader: Reader, attempt: int) -> bytes | Decoded:
    """The task of the subprocess: item is a stage and the arguments of the reader's method."""
    stage, args = item
    with reader:
        return reader.fetch(*args) if stage == "fetch" else reader.decode_unsilenced(*args)
