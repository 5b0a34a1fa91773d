"""A folder on disk."""

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

from pomona.errors import StoreBusyError, StoreError, StoreWriteError
from pomona.store.layout import TEMPORARIES
from pomona.store.locks import lease


class LocalFolder:
    """A folder on disk."""

    requests = 1

    def __init__(self, root: str | Path, held: tuple[str, str] | None = None) -> None:
        """held: the name of its lock and the token of who may write while it is held."""
        self.root = Path(root)
        self._held = held

    def __str__(self) -> str:
        return str(self.root)

    def absolute(self) -> LocalFolder:
        """This folder for a worker, whatever its working directory."""
        return LocalFolder(os.path.abspath(self.root), self._held)

    def path(self, name: str) -> Path:
        """Where `name` lies on disk."""
        return self.root / name

    def exists(self, name: str) -> bool:
        return self.path(name).exists()

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError, or StoreError where it may not or cannot be read."""
        with _read_errors(self.path(name)):
            return self.path(name).read_bytes()

    @contextmanager
    def open(self, name: str, *, footer: bool = False) -> Iterator[pa.NativeFile]:
        """`name` for reading in pieces; errors as of `read`, also while it is read.

        footer: only its end is wanted, which is no matter here.
        """
        with _read_errors(self.path(name)), pa.OSFile(os.fsencode(self.path(name))) as file:
            yield file

    def read_range(self, name: str, start: int, size: int) -> bytes:
        """`size` bytes of `name` from `start` on, fewer where it ends; errors as of `read`."""
        with self.open(name) as file:
            data: bytes = file.read_at(size, start)
            return data

    def names(self, folder: str) -> list[str]:
        """The sorted names in `folder`; none when there is no such folder. Raises StoreError."""
        try:
            with _read_errors(self.path(folder)):
                return sorted(f"{folder}/{name}" for name in os.listdir(self.path(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def top(self) -> list[str]:
        """The names of what lies directly in it; none where there is no such folder.

        Raises StoreError.
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
        """A look at a lock on disk takes no time."""
        return contextlib.nullcontext()

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Puts `data` under `name` in one step that a power cut leaves done or undone.

        Raises StoreWriteError, StoreBusyError once the folder's lock is somebody else's.
        """
        with self.create(name) as file:
            file.write(data)

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """A file to write to, which is put under `name` as by `write` once all went well.

        Raises as `write` does; an OSError of the block is taken for one of writing.
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
        """Holds `name` for this process: the folder to write to, and a notice if there is one.

        What is written to that folder, here or by a worker, is refused once somebody else has
        taken the lock over, as another machine may when this one has been silent for too long.
        Raises StoreBusyError when another process holds it, StoreWriteError.
        """
        path, temporary = self.path(name), self.path(f"{TEMPORARIES}/{uuid.uuid4().hex}")
        with contextlib.ExitStack() as stack:
            with _write_errors(path):
                for folder in (path.parent, temporary.parent):
                    _make_folder(folder)
                try:
                    token, expired = stack.enter_context(lease.hold(path, temporary, command))
                except lease.HeldError as exc:
                    raise self._busy(exc) from exc
            notice = f"the lock of {expired} had run out: it is taken over" if expired else None
            yield LocalFolder(self.root, (name, token)), notice

    @contextmanager
    def shared_lock(self, name: str) -> Iterator[None]:
        """Keeps others from locking `name`, without a write; any number of processes may do so.

        Raises StoreBusyError when another process holds it, StoreError where it may not be read.
        """
        path = self.path(name)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(lease.shared_lock(path))
            except lease.HeldError as exc:
                raise self._busy(exc) from exc
            except OSError as exc:
                raise StoreError(
                    f"cannot read {path}: {exc.strerror}; ask for the right to read it"
                ) from exc
            yield

    def _busy(self, exc: lease.HeldError) -> StoreBusyError:
        return StoreBusyError(
            f"{self} is in use by {exc}: wait until it has ended, or choose another folder"
        )

    def _check_lock(self) -> None:
        """Raises StoreBusyError where the lock of this folder is not ours any more."""
        if self._held is None:
            return
        name, token = self._held
        holder = lease.find_holder(self.path(name))
        if holder is None or holder.token != token:
            raise StoreBusyError(
                f"{self} was taken over by {holder or 'another command'}: this one writes nothing "
                "more; wait until that has ended, then run the same command again"
            )

    def sweep(self) -> None:
        """Removes the temporaries of all processes. Their folder stays: others may be using it.

        Errors as of `delete`.
        """
        self.delete(*self.names(TEMPORARIES))

    def delete(self, *names: str) -> None:
        """Removes files, or folders with all in them, if they are there; for good, as `write` does.

        Raises StoreWriteError, StoreBusyError once the folder's lock is somebody else's.
        """
        for name in names:
            self._delete(name)

    def _delete(self, name: str) -> None:
        target = self.path(name)
        with _write_errors(target):
            if not os.path.lexists(target):
                return
            self._check_lock()
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
            _sync_folder(target.parent)


def _make_folder(folder: Path) -> None:
    """Makes a folder and those it lies in, where they are missing; for good."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """What cannot be read is neither missing nor damaged: nothing may be made in its place."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise
    except OSError as exc:
        if exc.errno is None:  # Arrow's own, of what it read
            raise
        raise StoreError(
            f"cannot read {path}: {os.strerror(exc.errno)}; "
            "ask for the right to read it, or check the disk, then run the same command again"
        ) from exc


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
        remedy = _WAYS_OUT.get(exc.errno or 0, "check the disk, then run the same command again")
        reason = os.strerror(exc.errno) if exc.errno else str(exc)
        raise StoreWriteError(f"cannot write {target}: {reason}; {remedy}") from exc
