"""Fetch: a path of the catalog → its bytes."""

from __future__ import annotations

import os
import stat

from pomona.errors import ImageError
from pomona.schemas import decode_path

MAX_BYTES = 256 * 2**20
# What does not pass by itself, and is no single image's fault, ends a run.
OBJECT_REASONS = {
    "denied": "permission_denied",
    "too_large": "too_large",
    "unreachable": "unreachable",
    "refused": "unreachable",
}


def fingerprint(status: os.stat_result) -> str:
    """What changes when a file may have: its modification time and its size."""
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"


def fetch(source: str, path: str, expected: str | None = None) -> bytes:
    """The bytes of one image; expected: its fingerprint, if it is to be what it was.

    Raises ImageError (stage "fetch").
    """
    try:
        # The shortest way: this is done once for each image.
        with open(f"{source}/{decode_path(path)}", "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):  # put there since the scan, which takes none
                raise ImageError("fetch", "changed", "a pipe, a device or a socket now")
            if status.st_size > MAX_BYTES:
                raise ImageError("fetch", "too_large", f"more than {MAX_BYTES >> 20} MiB")
            data = file.read(status.st_size)  # MAX_BYTES would take memory for as many first
            if fingerprint(os.fstat(file.fileno())) != (expected or fingerprint(status)):
                raise ImageError("fetch", "changed")
            return data
    except FileNotFoundError as exc:
        raise ImageError("fetch", "not_found") from exc
    except PermissionError as exc:
        raise ImageError("fetch", "permission_denied") from exc
    except OSError as exc:
        raise ImageError("fetch", "io_error", os.strerror(exc.errno) if exc.errno else "") from exc


def _open_at_once(path: str, flags: int) -> int:
    """Waits for nobody, as opening a named pipe would, for one who writes into it."""
    return os.open(path, flags | os.O_NONBLOCK)
