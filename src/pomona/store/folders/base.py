"""Folder: what a store needs of the place it lies in.

A folder holds bytes under names. A name is there whole, or it is not there. `LocalFolder` is a
folder on disk, `S3Folder` one in a bucket; `registry` says how another kind is added.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, BinaryIO, Protocol

import pyarrow as pa

from pomona.errors import StoreBusyError
from pomona.store.locks.lease import HeldError, Holder


def encode_text(text: str) -> bytes:
    """Returns text in UTF-8.

    Parameters
    ----------
    text : str
        What to encode. A byte of a file name that is not UTF-8 is escaped as JSON does it.
    """
    return text.encode("utf-8", "backslashreplace")


class Folder(Protocol):
    """Where a store lies.

    It is picklable and carries no credentials. Names are relative to it and `/`-separated.
    """

    @property
    def root(self) -> Any:
        """The place itself: a path, or an address."""

    @property
    def requests(self) -> int:
        """How many requests at once are worthwhile; 1 where none has to wait."""

    def absolute(self) -> Folder:
        """Returns this folder for a worker, which may have another working directory."""

    def path(self, name: str) -> Any:
        """Returns the path or the address of a name."""

    def exists(self, name: str) -> bool:
        """Returns whether a name is there."""

    def read(self, name: str) -> bytes:
        """Returns all bytes of a name.

        Raises
        ------
        FileNotFoundError
            If it is not there.
        StoreError
            If it cannot be read.
        """

    def open(self, name: str, *, footer: bool = False) -> AbstractContextManager[pa.NativeFile]:
        """Opens a name for reading; raises as `read` does, also while it is read.

        Parameters
        ----------
        name : str
            What to open.
        footer : bool
            Whether only its end is wanted.
        """

    def read_range(self, name: str, start: int, size: int) -> bytes:
        """Returns `size` bytes from `start` on, fewer at the end; raises as `read` does."""

    def names(self, folder: str) -> list[str]:
        """Returns the sorted names in a folder below this one; none if there is none."""

    def top(self) -> list[str]:
        """Returns the names that lie directly in this folder; none if there is no folder."""

    def lock_check_ahead(self) -> AbstractContextManager[None]:
        """Checks the lock beside the work of a block, so that a write soon after need not wait."""

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Puts bytes under a name in one step, which is done or not done.

        Raises
        ------
        StoreWriteError
            If it cannot be written.
        StoreBusyError
            If another command has taken the lock over.
        """

    def create(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Opens a file whose bytes are put under a name, as by `write`, when the block succeeds."""

    def delete(self, *names: str) -> None:
        """Removes names, and folders with all they hold, if there; raises as `write` does."""

    def sweep(self) -> None:
        """Removes what commands that died have left half-written."""

    def lock(self, name: str, command: str) -> AbstractContextManager[tuple[Folder, str | None]]:
        """Holds a name as a lock for this process.

        Parameters
        ----------
        name : str
            The lock.
        command : str
            What others are told of its holder.

        Returns
        -------
        context manager
            Gives the folder to write to, whose writes are refused once another command has taken
            the lock over, and a notice for the user, or None.

        Raises
        ------
        StoreBusyError
            If another process holds it.
        """

    def shared_lock(self, name: str) -> AbstractContextManager[None]:
        """Keeps others from locking a name, without a write of its own.

        Raises
        ------
        StoreBusyError
            If another process holds it.
        """


def busy_error(folder: Folder, held: HeldError) -> StoreBusyError:
    """Returns the error for a folder whose lock another process holds.

    Parameters
    ----------
    folder : Folder
        Where the lock lies.
    held : HeldError
        Who holds it.
    """
    return StoreBusyError(
        f"{folder} is in use by {held}: wait until it has ended, or choose another folder"
    )


def check_holder(folder: Folder, token: str, holder: Holder | None) -> None:
    """Checks that this command still holds its folder's lock.

    Parameters
    ----------
    folder : Folder
        Where the lock lies.
    token : str
        The token of this command.
    holder : Holder, optional
        Whom the lock names now.

    Raises
    ------
    StoreBusyError
        If it names another command, or none.
    """
    if holder is None or holder.token != token:
        raise StoreBusyError(
            f"{folder} was taken over by {holder or 'another command'}: this command writes "
            "nothing more; wait until the other has ended, then run the same command again"
        )


def takeover_notice(expired: Holder | None) -> str | None:
    """Returns what to tell a user whose command has taken a lock over.

    Parameters
    ----------
    expired : Holder, optional
        Whose lock had expired; None: nobody's.
    """
    return f"the lock of {expired} had expired and was taken over" if expired else None
