"""Fetch: a path of the catalog → its bytes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from pomona.errors import ImageError, ObjectChangedError, ObjectStoreError
from pomona.store.schemas import decode_path

MAX_BYTES = 256 * 2**20
# Reason of an ObjectStoreError → reason of one image's error. All others end a run.
OBJECT_REASONS = {
    "archived": "archived",
    "denied": "permission_denied",
    "too_large": "too_large",
    "unreachable": "unreachable",
    "refused": "unreachable",
}


@contextmanager
def object_errors() -> Iterator[None]:
    """Raises ImageError (stage "fetch") for errors of an object that cost one image alone."""
    try:
        yield
    except FileNotFoundError:
        raise ImageError("fetch", "not_found") from None
    except ObjectChangedError:
        raise ImageError("fetch", "changed") from None
    except ObjectStoreError as exc:
        if exc.reason not in OBJECT_REASONS:
            raise
        raise ImageError("fetch", OBJECT_REASONS[exc.reason]) from None


def fingerprint(status: os.stat_result) -> str:
    """A file's modification time and size as text, which differs when the file may have changed."""
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"


def fetch(source: str, path: str, expected: str | None = None) -> bytes:
    """Reads an image file from a folder.

    Parameters
    ----------
    source : str
        The folder.
    path : str
        The path of a catalog row (`schemas.encode_path`).
    expected : str or None
        The fingerprint that the file must have. None: any.

    Returns
    -------
    bytes
        The file.

    Raises
    ------
    ImageError
        Stage "fetch".
    """
    try:
        # Once for each image, so by the fewest calls. A named pipe would block until it is written.
        file = os.open(f"{source}/{decode_path(path)}", os.O_RDONLY | os.O_NONBLOCK)
        try:
            status = os.fstat(file)
            kind = stat.S_IFMT(status.st_mode)
            if kind not in (stat.S_IFREG, stat.S_IFDIR):  # put there since the scan
                raise ImageError("fetch", "changed", "a pipe, a device or a socket now")
            if status.st_size > MAX_BYTES:
                raise ImageError("fetch", "too_large", f"more than {MAX_BYTES >> 20} MiB")
            data = _read(file, status.st_size)  # raises for a folder
            if fingerprint(os.fstat(file)) != (expected or fingerprint(status)):
                raise ImageError("fetch", "changed")
            return data
        finally:
            os.close(file)
    except FileNotFoundError as exc:
        raise ImageError("fetch", "not_found") from exc
    except PermissionError as exc:
        raise ImageError("fetch", "permission_denied") from exc
    except OSError as exc:
        raise ImageError("fetch", "io_error", os.strerror(exc.errno) if exc.errno else "") from exc


def _read(file: int, size: int) -> bytes:
    """The first `size` bytes of a file, or all it has; some file systems return a part at once."""
    data = os.read(file, size)
    while 0 < len(data) < size and (more := os.read(file, size - len(data))):
        data += more
    return data
