"""Blob: a file on disk or an object in a bucket, read in ranges."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from pomona.errors import ImageError
from pomona.images.fetch import fingerprint, object_errors
from pomona.s3.bucket import Bucket

# The most that one read may ask for, whatever a damaged file says.
MAX_READ_BYTES = 2**30


class Blob(Protocol):
    """Bytes in one place. It is picklable, and its `str` names it."""

    @property
    def stamp(self) -> str:
        """What differs when the bytes may have changed."""

    @property
    def size(self) -> int:
        """How many bytes there are."""

    @property
    def window_bytes(self) -> int:
        """How many bytes to read at least where others are likely to be wanted next."""

    def read(self, start: int, size: int, stamp: str | None = None) -> bytes:
        """Returns `size` bytes from `start` on, fewer at the end.

        Parameters
        ----------
        start, size : int
            The range.
        stamp : str, optional
            The stamp that the bytes must have.

        Raises
        ------
        ImageError
            Stage "fetch": if they are gone, changed or cannot be read.
        ObjectStoreError
            If the bucket cannot be used.
        """

    def absolute(self) -> Blob:
        """Returns these bytes for a worker, which may have another working directory."""


@dataclass(frozen=True)
class FileBlob:
    """A file on disk; its stamp is its modification time and size."""

    path: str
    window_bytes: int = 2**16

    def __str__(self) -> str:
        return self.path

    def absolute(self) -> FileBlob:
        """Returns the file by its absolute path."""
        return FileBlob(os.path.abspath(self.path))

    @property
    def stamp(self) -> str:
        """The modification time and the size."""
        return fingerprint(Path(self.path).stat())

    @property
    def size(self) -> int:
        """The size in bytes."""
        return Path(self.path).stat().st_size

    def read(self, start: int, size: int, stamp: str | None = None) -> bytes:
        """Reads a range, as `Blob.read`."""
        try:
            with Path(self.path).open("rb") as file:
                file.seek(start)
                data = file.read(size)
                if stamp not in (None, fingerprint(os.fstat(file.fileno()))):
                    raise ImageError("fetch", "changed")
                return data
        except FileNotFoundError as exc:
            raise ImageError("fetch", "not_found") from exc
        except PermissionError as exc:
            raise ImageError("fetch", "permission_denied") from exc
        except OSError as exc:
            detail = os.strerror(exc.errno) if exc.errno else ""
            raise ImageError("fetch", "io_error", detail) from exc


@dataclass(frozen=True)
class ObjectBlob:
    """An object in a bucket; its stamp is its ETag and size."""

    bucket: Bucket
    key: str
    etag: str
    size: int
    window_bytes: int = 8 * 2**20

    def __str__(self) -> str:
        return f"{self.bucket}/{self.key}"

    def absolute(self) -> ObjectBlob:
        """Returns this object: an address is the same everywhere."""
        return self

    @property
    def stamp(self) -> str:
        """The ETag and the size, as they were found."""
        return f"{self.etag}-{self.size:x}"

    def read(self, start: int, size: int, stamp: str | None = None) -> bytes:
        """Reads a range, as `Blob.read`."""
        if start >= self.size or size <= 0:  # a server refuses an empty range
            return b""
        etag = None if stamp is None else stamp.rpartition("-")[0]
        with object_errors():
            got = self.bucket.get(
                self.key, if_match=etag, start=start, size=size, limit=MAX_READ_BYTES
            )
        return got.data


class BlobFile(io.RawIOBase):
    """A blob as a file that is read from front to back, a window at a time.

    Parameters
    ----------
    blob : Blob
        The bytes.
    """

    def __init__(self, blob: Blob) -> None:
        super().__init__()
        self._blob, self._at, self._window = blob, 0, (0, b"")

    @cached_property
    def size(self) -> int:
        """How many bytes there are."""
        return self._blob.size

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def seekable(self) -> bool:
        """Whether it can be read from any place: yes."""
        return True

    def tell(self) -> int:
        """The place of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to a place; a negative one is an OSError, as in a file."""
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if at < 0:
            raise OSError("before the beginning")
        self._at = at
        return at

    def read(self, size: int = -1) -> bytes:
        """Reads up to `size` bytes; OSError beyond `MAX_READ_BYTES`."""
        left = max(0, self.size - self._at)
        size = left if size < 0 else min(size, left)
        if size > MAX_READ_BYTES:
            raise OSError("more than can be read at once")
        start, held = self._window
        if not start <= self._at <= self._at + size <= start + len(held):
            # What follows is wanted next, but near the end what lies before it, too.
            start = min(self._at, max(0, self.size - 2**16))
            wanted = max(self._blob.window_bytes, self._at - start + size)
            held = self._blob.read(start, min(wanted, self.size - start))
            self._window = start, held
        data = held[self._at - start : self._at - start + size]
        self._at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        """Reads into a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class RangeFile(io.RawIOBase):
    """A file of which only a range of bytes is in memory; Arrow asks for no others.

    Parameters
    ----------
    data : bytes
        The range.
    start, size : int
        Where it begins, and how many bytes the file has.
    """

    def __init__(self, data: bytes, start: int, size: int) -> None:
        super().__init__()
        self._data, self._start, self._size, self._at = memoryview(data), start, size, 0

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def seekable(self) -> bool:
        """Whether it can be read from any place: yes."""
        return True

    def tell(self) -> int:
        """The place of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to a place."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Reads into a buffer; OSError outside the range."""
        begin = self._at - self._start
        if not 0 <= begin <= len(self._data):
            raise OSError("outside the range that was read")
        piece = self._data[begin : begin + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
