"""LocalFolder: a store on a disk."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from pomona.errors import StoreError, StoreWriteError
from pomona.store.folders.base import busy_error, check_holder, takeover_notice
from pomona.store.layout import TEMPORARIES
from pomona.store.locks import lease


class LocalFolder:
    """A folder on disk.

    Parameters
    ----------
    root : str or Path
        The folder's path.
    held : tuple of str, optional
        The name of its lock, and the token of the command that may write while it holds it.
    """

    requests = 1

    def __init__(self, root: str | Path, held: tuple[str, str] | None = None) -> None:
        self.root = Path(root)
        self._held = held

    def __str__(self) -> str:
        return str(self.root)

    def absolute(self) -> LocalFolder:
        """Returns this folder by its absolute path."""
        return type(self)(os.path.abspath(self.root), self._held)

    def path(self, name: str) -> Path:
        """Returns the path of a name."""
        return self.root / name

    def exists(self, name: str) -> bool:
        """Returns whether a name is there."""
        return self.path(name).exists()

    def read(self, name: str) -> bytes:
        """Returns all bytes of a name.

        Raises
        ------
        FileNotFoundError
            If it is not there.
        StoreError
            If it cannot be read.
        """
        with _read_errors(self.path(name)):
            return self.path(name).read_bytes()

    @contextmanager
    def open(self, name: str, *, footer: bool = False) -> Iterator[pa.NativeFile]:
        """Opens a name for reading in pieces; raises as `read` does, also while it is read."""
        with _read_errors(self.path(name)), pa.OSFile(os.fsencode(self.path(name))) as file:
            yield file

    def read_range(self, name: str, start: int, size: int) -> bytes:
        """Returns `size` bytes from `start` on, fewer at the end; raises as `read` does."""
        with self.open(name) as file:
            data: bytes = file.read_at(size, start)
            return data

    def names(self, folder: str) -> list[str]:
        """Returns the sorted names in a folder below this one; none if there is none.

        Raises
        ------
        StoreError
            If it cannot be read.
        """
        try:
            with _read_errors(self.path(folder)):
                return sorted(f"{folder}/{name}" for name in os.listdir(self.path(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def top(self) -> list[str]:
        """Returns the names that lie directly in this folder; none if there is no folder.

        Raises
        ------
        StoreError
            If it is a file or cannot be read.
        """
        try:
            return os.listdir(self.root)
        except FileNotFoundError:
            return []
        except NotADirectoryError as exc:
            raise StoreError(f"{self} is a file: give a folder for the store") from exc
        except OSError as exc:
            raise StoreError(f"cannot read {self}: {exc.strerror}; choose another folder") from exc

    def lock_check_ahead(self) -> AbstractContextManager[None]:
        """Does nothing: to check a lock on disk takes no time."""
        return contextlib.nullcontext()

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Puts bytes under a name in one step, which a power cut leaves done or undone.

        Raises
        ------
        StoreWriteError
            If it cannot be written.
        StoreBusyError
            If another command has taken the lock over.
        """
        with self.create(name) as file:
            file.write(data)

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Opens a file whose bytes are put under a name, as by `write`, when the block succeeds.

        Raises as `write` does. An OSError of the block counts as one of writing.
        """
        target = self.path(name)
        temporary = self.path(f"{TEMPORARIES}/{uuid.uuid4().hex}")
        with _write_errors(target):
            self._check_lock()
            for folder in (temporary.parent, target.parent):
                _make_folder(folder)
            try:
                with temporary.open("wb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                self._check_lock()  # again, for writing and syncing may have taken long
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _sync_folder(target.parent)

    @contextmanager
    def lock(self, name: str, command: str) -> Iterator[tuple[LocalFolder, str | None]]:
        """Holds a name as a lock for this process.

        Another machine may take it over when this one has been silent for too long. Then all
        writes to the folder that this gives out are refused, here and in workers.

        Parameters
        ----------
        name : str
            The lock.
        command : str
            What others are told of its holder.

        Yields
        ------
        tuple
            The folder to write to, and a notice for the user, or None.

        Raises
        ------
        StoreBusyError
            If another process holds it.
        StoreWriteError
            If the folder cannot be written.
        """
        path, temporary = self.path(name), self.path(f"{TEMPORARIES}/{uuid.uuid4().hex}")
        with contextlib.ExitStack() as stack:
            with _write_errors(path):
                for folder in (path.parent, temporary.parent):
                    _make_folder(folder)
                try:
                    token, expired = stack.enter_context(lease.hold(path, temporary, command))
                except lease.HeldError as exc:
                    raise busy_error(self, exc) from exc
            yield type(self)(self.root, (name, token)), takeover_notice(expired)

    @contextmanager
    def shared_lock(self, name: str) -> Iterator[None]:
        """Keeps others from locking a name, without a write; any number of processes may do so.

        Raises
        ------
        StoreBusyError
            If another process holds it.
        StoreError
            If the lock cannot be read.
        """
        path = self.path(name)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(lease.shared_lock(path))
            except lease.HeldError as exc:
                raise busy_error(self, exc) from exc
            except OSError as exc:
                raise StoreError(
                    f"cannot read {path}: {exc.strerror}; ask for permission to read it"
                ) from exc
            yield

    def _check_lock(self) -> None:
        """Raises StoreBusyError if another command has taken the folder's lock over."""
        if self._held is not None:
            name, token = self._held
            check_holder(self, token, lease.find_holder(self.path(name)))

    def sweep(self) -> None:
        """Removes the temporaries of all processes, but not their folder: others may be using it.

        Raises as `delete` does.
        """
        self.delete(*self.names(TEMPORARIES))

    def delete(self, *names: str) -> None:
        """Removes names, and folders with all they hold, if they are there; as durable as `write`.

        Raises
        ------
        StoreWriteError
            If one cannot be removed.
        StoreBusyError
            If another command has taken the lock over.
        """
        # A folder is synced once: of hundreds of files that is nearly all the time that it takes.
        for folder in {self.path(name).parent for name in names if self._delete(name)}:
            with _write_errors(folder), contextlib.suppress(FileNotFoundError):
                _sync_folder(folder)

    def _delete(self, name: str) -> bool:
        """Removes a name; whether it was there."""
        target = self.path(name)
        with _write_errors(target):
            if not os.path.lexists(target):
                return False
            self._check_lock()
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
            return True


def _make_folder(folder: Path) -> None:
    """Makes a folder and those it lies in, where they are missing; as durable as `write`."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable, where its file system can (not by SMB or sshfs)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as exc:
        if exc.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """Raises StoreError for what is there but cannot be read: nothing may be made in its place."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise
    except OSError as exc:
        if exc.errno is None:  # Arrow's own, about what it read
            raise
        raise StoreError(
            f"cannot read {path}: {os.strerror(exc.errno)}; "
            "ask for permission to read it, or check the disk, then run the same command again"
        ) from exc


_NO_FOLDER_SYNC = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF)
_REMEDIES = {
    errno.ENOSPC: "free some space, then run the same command again: what is done is kept",
    errno.EDQUOT: "free some of your quota, then run the same command again: what is done is kept",
    errno.EROFS: "make it writable, or choose another folder",
    errno.EACCES: "choose a folder that you can write to",
    errno.EPERM: "choose a folder that you can write to",
    errno.ENOTDIR: "a file is in the way: choose another folder",
    errno.EEXIST: "a file is in the way: choose another folder",
}


@contextmanager
def _write_errors(target: Path) -> Iterator[None]:
    """Raises StoreWriteError in place of an OSError."""
    try:
        yield
    except OSError as exc:
        remedy = _REMEDIES.get(exc.errno or 0, "check the disk, then run the same command again")
        reason = os.strerror(exc.errno) if exc.errno else str(exc)
        raise StoreWriteError(f"cannot write {target}: {reason}; {remedy}") from exc
