"""S3Folder: a store in a bucket."""

from __future__ import annotations

import contextlib
import io
import mmap
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
from pomona.store.folders.base import busy_error, check_holder, takeover_notice
from pomona.store.layout import LARGE_FILES, MANIFEST, PLAN, TEMPORARIES
from pomona.store.locks import lease
from pomona.store.locks import s3 as lock

TAIL_BYTES = 64 * 2**10
# How long a check of the lock holds good: short beside `lease.LEASE_S`.
CHECK_S = 1.0
# These are replaced only if they are still what this process read or wrote.
SUCCESSIVE = (MANIFEST, PLAN)


class S3Folder:
    """A prefix of a bucket. One PUT makes a name, whole or not at all: there are no temporaries.

    Parameters
    ----------
    bucket : Bucket
        The bucket.
    address : Address
        The address of the prefix.
    held : tuple of str, optional
        The name of its lock, and the token of the command that may write while it holds it.
    """

    requests = 32

    def __init__(
        self, bucket: Bucket, address: Address, held: tuple[str, str] | None = None
    ) -> None:
        self.bucket, self.root, self._held = bucket, address, held
        self._etags: dict[str, str | None] = {}  # of what was read or written; None: was not there
        self._checked = -CHECK_S
        self._checking = Lock()

    def __reduce__(self) -> tuple[type[S3Folder], tuple[object, ...]]:
        return S3Folder, (self.bucket, self.root, self._held)

    def __str__(self) -> str:
        return str(self.root)

    def absolute(self) -> S3Folder:
        """Returns a folder at the same address: it does not depend on the working directory."""
        return S3Folder(self.bucket, self.root, self._held)

    def path(self, name: str) -> str:
        """Returns the address of a name."""
        return f"{self.root}/{name}"

    def key(self, name: str) -> str:
        """Returns the key of a name."""
        return self.root.key(name)

    def exists(self, name: str) -> bool:
        """Returns whether a name is there."""
        try:
            self.bucket.head(self.key(name))
        except FileNotFoundError:
            return False
        return True

    def read(self, name: str) -> bytes:
        """Returns all bytes of a name.

        Raises
        ------
        FileNotFoundError
            If it is not there.
        ObjectStoreError
            If it cannot be read.
        """
        try:
            got = self.bucket.get(self.key(name))
        except FileNotFoundError:
            self._etags[name] = None
            raise
        self._etags[name] = got.etag
        return got.data

    @contextmanager
    def open(self, name: str, *, footer: bool = False) -> Iterator[pa.NativeFile]:
        """Opens a name for reading; raises as `read` does.

        Parameters
        ----------
        name : str
            What to open.
        footer : bool
            Whether only its end is wanted: the rest is then not asked for.
        """
        if footer:
            yield pa.PythonFile(_Tail(self.bucket, self.key(name)), mode="r")
        else:
            got = self.bucket.get(self.key(name))
            self._etags[name] = got.etag
            yield pa.BufferReader(got.data)

    def read_range(self, name: str, start: int, size: int) -> bytes:
        """Returns `size` bytes from `start` on, fewer at the end; raises as `read` does."""
        return self.bucket.get(self.key(name), start=start, size=size).data

    def names(self, folder: str) -> list[str]:
        """Returns the sorted names in a folder below this one; none if there is none."""
        return self._names(f"{self.key(folder)}/")

    def top(self) -> list[str]:
        """Returns the names that lie directly in this folder; none if there is nothing."""
        return self._names(self.root.folder)

    def _names(self, prefix: str) -> list[str]:
        folders, objects = self.bucket.list_folder(prefix)
        found = [*(each.rstrip("/") for each in folders), *(each.key for each in objects)]
        start = len(self.root.folder)
        # Some tools make an object for a folder, with a key that ends in a slash.
        return sorted({key[start:] for key in found if key[start:] and not key.endswith("/")})

    @contextmanager
    def lock_check_ahead(self) -> Iterator[None]:
        """Checks the lock beside the work of a block, so that a write soon after need not wait."""
        with ThreadPoolExecutor(1) as thread:
            check = thread.submit(self._check_lock)
            yield
            check.result()

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Puts bytes under a name in one step.

        Raises
        ------
        ObjectStoreError
            If it cannot be written.
        StoreBusyError
            If another command has taken the lock over, or replaced a manifest or a plan.
        """
        self._check_lock()
        if name not in SUCCESSIVE:
            self.bucket.put(self.key(name), data)
            return
        if name not in self._etags:
            self._etags[name] = self._etag(name)
        before = self._etags[name]
        try:
            self._etags[name] = lock.put_settled(
                self.bucket, self.key(name), bytes(data), if_match=before, if_absent=before is None
            )
        except ObjectChangedError as exc:
            raise StoreBusyError(
                f"{self.path(name)} was changed by another command in the meantime: "
                "wait until that has ended, then run the same command again"
            ) from exc

    def _etag(self, name: str) -> str | None:
        try:
            return self.bucket.head(self.key(name)).etag
        except FileNotFoundError:
            return None

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Opens a file on this machine's disk, which is put under a name, as by `write`.

        Raises as `write` does.

        Raises
        ------
        StoreWriteError
            If the disk does not take it.
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
        """Holds a name as a lock for this process, as `LocalFolder.lock` does."""
        with contextlib.ExitStack() as stack:
            try:
                token, expired = stack.enter_context(
                    lock.hold(self.bucket, self.key(name), command)
                )
            except lease.HeldError as exc:
                raise busy_error(self, exc) from exc
            yield S3Folder(self.bucket, self.root, (name, token)), takeover_notice(expired)

    @contextmanager
    def shared_lock(self, name: str) -> Iterator[None]:
        """Checks that nobody holds a name; without a write it cannot keep others from locking it.

        Raises
        ------
        StoreBusyError
            If another process holds it.
        """
        try:
            lock.check_free(lock.find(self.bucket, self.key(name)))
        except lease.HeldError as exc:
            raise busy_error(self, exc) from exc
        yield

    def sweep(self) -> None:
        """Removes what commands that died have left: temporaries, and unfinished uploads."""
        self.delete(*self.names(TEMPORARIES))
        self._check_lock()
        with contextlib.suppress(ObjectStoreError):  # not everybody may
            self.bucket.abort_uploads(self.root.folder, self._is_own)

    def _is_own(self, key: str) -> bool:
        """Returns whether pomona uploads this key in pieces."""
        return bool(LARGE_FILES.fullmatch(key[len(self.root.folder) :]))

    def delete(self, *names: str) -> None:
        """Removes names, and folders (names without a suffix) with all they hold, if there.

        Raises
        ------
        ObjectStoreError
            If one cannot be removed.
        StoreBusyError
            If another command has taken the lock over.
        """
        keys = []
        for name in names:
            keys.append(self.key(name))
            if not PurePosixPath(name).suffix:
                keys += [found.key for found in self.bucket.list_all(f"{self.key(name)}/")]
        if keys:
            self._check_lock()
            self.bucket.delete(*keys)

    def _check_lock(self) -> None:
        """Raises StoreBusyError if another command has taken the folder's lock over."""
        if self._held is None:
            return
        with self._checking:  # writes at the same time share one check
            now = _clock()
            if now - self._checked >= CHECK_S:
                name, token = self._held
                found = lock.find(self.bucket, self.key(name))
                holder = None if found is None else lease.Holder.from_bytes(found.data)
                check_holder(self, token, holder)
                self._checked = now


def _clock() -> float:
    """Returns seconds, by a clock that goes on while the machine sleeps, if it has one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class _Tail(io.RawIOBase):
    """An object whose end is read first, and the rest only if it is wanted."""

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
