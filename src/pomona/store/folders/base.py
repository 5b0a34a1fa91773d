"""Storage: bytes under names. A name is there whole, or it is not there.

`Folder` is the seam: what a store needs of the place that it lies in. `LocalFolder` is a folder on
disk, `s3.folder.S3Folder` one in a bucket; another kind of store is another class beside them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, BinaryIO, Protocol

import pyarrow as pa


def encode_text(text: str) -> bytes:
    """UTF-8; what cannot be, a byte of a file's name that is no UTF-8, as JSON escapes it."""
    return text.encode("utf-8", "backslashreplace")


class Folder(Protocol):
    """Where a store lies; picklable, without credentials. Names are relative, `/`-separated.

    root: the place itself, and `path` that of a name, a Path on disk, elsewhere an address;
    requests: how many at once are worth it: 1 where nothing waits; lock_check_ahead: of what
    is done within, a write soon afterwards need not wait for its own look at the lock.
    """

    @property
    def root(self) -> Any: ...

    @property
    def requests(self) -> int: ...

    def absolute(self) -> Folder: ...

    def path(self, name: str) -> Any: ...

    def exists(self, name: str) -> bool: ...

    def read(self, name: str) -> bytes: ...

    def open(self, name: str, *, footer: bool = False) -> AbstractContextManager[pa.NativeFile]: ...

    def read_range(self, name: str, start: int, size: int) -> bytes: ...

    def names(self, folder: str) -> list[str]: ...

    def top(self) -> list[str]: ...

    def lock_check_ahead(self) -> AbstractContextManager[None]: ...

    def write(self, name: str, data: bytes | memoryview) -> None: ...

    def create(self, name: str) -> AbstractContextManager[BinaryIO]: ...

    def delete(self, *names: str) -> None: ...

    def sweep(self) -> None: ...

    def lock(
        self, name: str, command: str
    ) -> AbstractContextManager[tuple[Folder, str | None]]: ...

    def shared_lock(self, name: str) -> AbstractContextManager[None]: ...
