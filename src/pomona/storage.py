"""Storage: bytes under names. A name is there whole, or it is not there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from pomona.errors import StoreBusyError, StoreError, StoreWriteError

TEMPORARIES = "_pomona/tmp"


def encode_text(text: str) -> bytes:
    """UTF-8; what cannot be, a byte of a file's name that is no UTF-8, as JSON escapes it."""
    return text.encode("utf-8", "backslashreplace")


class LocalFolder:
    """A folder on disk; names are relative and `/`-separated."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def __str__(self) -> str:
        return str(self.root)

    @property
    def address(self) -> str:
        """What opens this folder in a worker, whatever its working directory."""
        return os.path.abspath(self.root)

    def path(self, name: str) -> Path:
        """Where `name` lies on disk."""
        return self.root / name

    def exists(self, name: str) -> bool:
        return self.path(name).exists()

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError."""
        return self.path(name).read_bytes()

    def open(self, name: str) -> pa.NativeFile:
        """`name` for reading in pieces. Raises FileNotFoundError."""
        return pa.OSFile(os.fsencode(self.path(name)))

    def names(self, folder: str) -> list[str]:
        """The sorted names in `folder`; none when there is no such folder."""
        try:
            return sorted(f"{folder}/{name}" for name in os.listdir(self.path(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Puts `data` under `name` in one step that a power cut leaves done or undone.

        Raises StoreWriteError.
        """
        target = self.path(name)
        temporary = self.path(f"{TEMPORARIES}/{uuid.uuid4().hex}")
        with _write_errors(target):
            for folder in (temporary.parent, target.parent):
                folder.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _sync_folder(target.parent)

    @contextmanager
    def lock(self, name: str, holder: str) -> Iterator[None]:
        """Holds `name` for this process; the kernel frees it when the process dies.

        holder: who holds it, for those who find it held. Raises StoreBusyError when another
        process does, StoreWriteError.
        """
        path = self.path(name)
        with contextlib.ExitStack() as stack:
            with _write_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(path.open("a+b"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as exc:
                    file.seek(0)
                    raise self._busy(file.read()) from exc
                file.truncate(0)
                file.write(encode_text(holder))
                file.flush()
            try:
                yield
            finally:
                # Who reads it later without a lock of their own is not to be told of this holder.
                with contextlib.suppress(OSError):
                    file.truncate(0)

    @contextmanager
    def steady(self, name: str) -> Iterator[None]:
        """Keeps others from locking `name`, without a write; any number of processes may do so.

        Raises StoreBusyError when another process holds it, StoreError where it may not be read.
        """
        path = self.path(name)
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(path.open("rb"))
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                raise self._busy(file.read()) from exc
            except (FileNotFoundError, NotADirectoryError):
                pass  # nobody has locked it yet
            except OSError as exc:
                raise StoreError(
                    f"cannot read {path}: {exc.strerror}; ask for the right to read it"
                ) from exc
            yield

    def _busy(self, holder: bytes) -> StoreBusyError:
        return StoreBusyError(
            f"{self} is in use by {holder.decode() or 'another command'}: "
            "wait until it has ended, or choose another folder"
        )

    def delete(self, name: str) -> None:
        """Removes a file, or a folder with all in it, if it is there. Raises StoreWriteError."""
        target = self.path(name)
        with _write_errors(target):
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_WAYS_OUT = {
    errno.ENOSPC: "free some space, then run the same command again: what is done is kept",
    errno.EDQUOT: "free some of your quota, then run the same command again: what is done is kept",
    errno.EROFS: "make it writable, or choose another folder",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.ENOTDIR: "a file is in the way: choose another folder",
    errno.EEXIST: "a file is in the way: choose another folder",
}


@contextmanager
def _write_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        way_out = _WAYS_OUT.get(exc.errno or 0, "check the disk, then run the same command again")
        reason = os.strerror(exc.errno) if exc.errno else str(exc)
        raise StoreWriteError(f"cannot write {target}: {reason}; {way_out}") from exc
