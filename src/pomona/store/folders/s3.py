"""A folder in a bucket: what `storage.LocalFolder` is on disk."""

from __future__ import annotations

import contextlib
import io
import mmap
import re
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import PurePosixPath
from threading import Lock
from typing import BinaryIO

import pyarrow as pa

from pomona.errors import ObjectChangedError, ObjectStoreError, StoreBusyError, StoreWriteError
from pomona.s3.address import Address
from pomona.s3.bucket import Bucket
from pomona.store.locks import lease
from pomona.store.locks import s3 as lock

TAIL_BYTES = 64 * 2**10
# For so long a look at the lock holds good: it ends after two minutes of silence.
LOOK_S = 1.0
# What may be large enough to be put in parts, of a store and of a pack
_IN_PARTS = re.compile(r"_pomona/[^/]+|[a-z]+/([a-z]+/)?part-[0-9]{5,}[^/]*")
# Written only as the successor of what was read of it
SUCCESSIVE = ("pomona.json", "_pomona/plan.parquet")


class S3Folder:
    """A prefix of a bucket; names are relative and `/`-separated.

    One PUT makes a name, whole or not at all: there are no temporaries.
    """

    requests = 32

    def __init__(
        self, bucket: Bucket, address: Address, held: tuple[str, str] | None = None
    ) -> None:
        """held: the name of its lock and the token of who may write while it is held."""
        self.bucket, self.root, self._held = bucket, address, held
        self._read: dict[str, str | None] = {}
        self._looked = -LOOK_S
        self._looking = Lock()

    def __reduce__(self) -> tuple[type[S3Folder], tuple[object, ...]]:
        return S3Folder, (self.bucket, self.root, self._held)

    def __str__(self) -> str:
        return str(self.root)

    def absolute(self) -> S3Folder:
        """This folder for a worker: the same, since a bucket is nobody's working directory."""
        return S3Folder(self.bucket, self.root, self._held)

    def path(self, name: str) -> str:
        """The address of `name`."""
        return f"{self.root}/{name}"

    def key(self, name: str) -> str:
        return self.root.key(name)

    def exists(self, name: str) -> bool:
        try:
            self.bucket.head(self.key(name))
        except FileNotFoundError:
            return False
        return True

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError, or ObjectStoreError where it may not or cannot be read."""
        try:
            got = self.bucket.get(self.key(name))
        except FileNotFoundError:
            self._read[name] = None
            raise
        self._read[name] = got.etag
        return got.data

    @contextmanager
    def open(self, name: str, *, footer: bool = False) -> Iterator[pa.NativeFile]:
        """`name` for reading; footer: only its end is wanted. Errors as of `read`."""
        if footer:
            yield pa.PythonFile(_Tail(self.bucket, self.key(name)), mode="r")
        else:
            got = self.bucket.get(self.key(name))
            self._read[name] = got.etag
            yield pa.BufferReader(got.data)

    def read_range(self, name: str, start: int, size: int) -> bytes:
        """`size` bytes of `name` from `start` on, fewer where it ends; errors as of `read`."""
        return self.bucket.get(self.key(name), start=start, size=size).data

    def names(self, folder: str) -> list[str]:
        """The sorted names in `folder`; none when there is no such folder."""
        return self._names(f"{self.key(folder)}/")

    def top(self) -> list[str]:
        """The names of what lies directly in it; none where there is nothing."""
        return self._names(self.root.folder)

    def _names(self, prefix: str) -> list[str]:
        folders, objects = self.bucket.list_folder(prefix)
        found = [*(each.rstrip("/") for each in folders), *(each.key for each in objects)]
        start = len(self.root.folder)
        # A key that ends in a slash is what some tools make for a folder.
        return sorted({key[start:] for key in found if key[start:] and not key.endswith("/")})

    @contextmanager
    def lock_check_ahead(self) -> Iterator[None]:
        """Looks at the lock beside what is done within, so that a write soon after need not."""
        with ThreadPoolExecutor(1) as thread:
            look = thread.submit(self._check_lock)
            yield
            look.result()

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Puts `data` under `name` in one step.

        Raises ObjectStoreError, StoreBusyError once the folder's lock is somebody else's.
        """
        self._check_lock()
        if name not in SUCCESSIVE:
            self.bucket.put(self.key(name), data)
            return
        if name not in self._read:
            self._read[name] = self._etag(name)
        before = self._read[name]
        try:
            self._read[name] = lock.put_settled(
                self.bucket, self.key(name), bytes(data), if_match=before, if_absent=before is None
            )
        except ObjectChangedError as exc:
            raise StoreBusyError(
                f"{self.path(name)} was changed by another command meanwhile: "
                "wait until that has ended, then run the same command again"
            ) from exc

    def _etag(self, name: str) -> str | None:
        try:
            return self.bucket.head(self.key(name)).etag
        except FileNotFoundError:
            return None

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """A file to write to, on this machine's disk, which is put under `name` as by `write`.

        Raises as `write` does, StoreWriteError where the disk does not take it.
        """
        try:
            with tempfile.TemporaryFile() as file:
                yield file
                file.flush()
                with (
                    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
                    memoryview(data) as view,
                ):
                    self.write(name, view)
        except OSError as exc:
            raise StoreWriteError(
                f"cannot write a temporary file for {self.path(name)}: {exc.strerror}; free some "
                "space, or set TMPDIR to a folder that has more"
            ) from exc

    @contextmanager
    def lock(self, name: str, command: str) -> Iterator[tuple[S3Folder, str | None]]:
        """As `LocalFolder.lock`. Raises StoreBusyError when another process holds it."""
        with contextlib.ExitStack() as stack:
            try:
                token, expired = stack.enter_context(
                    lock.hold(self.bucket, self.key(name), command)
                )
            except lease.HeldError as exc:
                raise self._busy(exc) from exc
            notice = f"the lock of {expired} had run out: it is taken over" if expired else None
            yield S3Folder(self.bucket, self.root, (name, token)), notice

    @contextmanager
    def shared_lock(self, name: str) -> Iterator[None]:
        """Sees that nobody holds `name`; without a write, none can be kept from locking it later.

        Raises StoreBusyError when another process holds it.
        """
        try:
            lock.check_free(lock.find(self.bucket, self.key(name)))
        except lease.HeldError as exc:
            raise self._busy(exc) from exc
        yield

    def sweep(self) -> None:
        """Removes what dead commands left: temporaries, and uploads that did not become whole."""
        self.delete(*self.names("_pomona/tmp"))
        self._check_lock()
        with contextlib.suppress(ObjectStoreError):  # the right to is not everybody's
            self.bucket.abort_uploads(self.root.folder, self._is_own)

    def _is_own(self, key: str) -> bool:
        return bool(_IN_PARTS.fullmatch(key[len(self.root.folder) :]))

    def delete(self, *names: str) -> None:
        """Removes files, or folders (names without a suffix) with all in them, if they are there.

        Raises ObjectStoreError, StoreBusyError once the folder's lock is somebody else's.
        """
        keys = []
        for name in names:
            keys.append(self.key(name))
            if not PurePosixPath(name).suffix:
                keys += [found.key for found in self.bucket.list_all(f"{self.key(name)}/")]
        if keys:
            self._check_lock()
            self.bucket.delete(*keys)

    def _busy(self, exc: lease.HeldError) -> StoreBusyError:
        return StoreBusyError(
            f"{self} is in use by {exc}: wait until it has ended, or choose another folder"
        )

    def _check_lock(self) -> None:
        """Raises StoreBusyError where the lock of this folder is not ours any more."""
        if self._held is None:
            return
        with self._looking:  # what is written at the same time looks once
            now = _clock()
            if now - self._looked >= LOOK_S:
                self._look(*self._held)
                self._looked = now

    def _look(self, name: str, token: str) -> None:
        found = lock.find(self.bucket, self.key(name))
        holder = None if found is None else lease.Holder.from_bytes(found.data)
        if holder is None or holder.token != token:
            raise StoreBusyError(
                f"{self} was taken over by {holder or 'another command'}: this one writes nothing "
                "more; wait until that has ended, then run the same command again"
            )


def _clock() -> float:
    """Seconds; it does not stand still while the machine sleeps, where that is to be had."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class _Tail(io.RawIOBase):
    """An object of which the end is read first, and the rest only if it is wanted."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket, self._key, self._at = bucket, key, 0
        end = bucket.get(key, last=TAIL_BYTES)
        self._data, self._size, self._etag = end.data, end.size_bytes, end.etag

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        start = self._size - len(self._data)
        if self._at < start:
            self._data, start = self._bucket.get(self._key, if_match=self._etag).data, 0
        end = self._size if size < 0 else min(self._at + size, self._size)
        piece = self._data[self._at - start : end - start]
        self._at += len(piece)
        return piece
