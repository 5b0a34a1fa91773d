"""Photographs: the files that a server has labelled, kept without their metadata."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from pomona.errors import ImageError, UsageError
from pomona.images.formats import identify
from pomona.images.stripping.strip import strip_decodable

# Feedback may need the same disk: below this, nothing is kept.
LEAST_FREE_BYTES = 1_000_000_000


class Photographs:
    """A folder of photographs, each under the SHA-256 of the file as it was sent.

    Parameters
    ----------
    folder : Path
        The folder; it is made if there is none.
    complain : callable
        Told why photographs cannot be kept, once for each reason.

    Raises
    ------
    UsageError
        If the folder cannot be written.
    """

    def __init__(self, folder: Path, complain: Callable[[str], None]) -> None:
        self._folder, self._complain = folder, complain
        self._said: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            writable = os.access(folder, os.W_OK | os.X_OK)
        except OSError as exc:
            raise UsageError(
                f"`keep_photographs` {folder} cannot be made: {exc.strerror}; choose another folder"
            ) from exc
        if not writable:
            raise UsageError(f"`keep_photographs` {folder} is not writable: choose another folder")

    def keep(self, sha256: str, data: bytes) -> str | None:
        """Keeps a photograph, and returns the name of its file; None if it cannot be kept.

        Parameters
        ----------
        sha256 : str
            Of the file.
        data : bytes
            The file, which `decode` takes.
        """
        image_format = identify(data)
        suffix = image_format.extensions[0] if image_format else ""
        path = self._folder / f"{sha256}{suffix}"
        try:
            if path.exists():
                return path.name
            if shutil.disk_usage(self._folder).free < LEAST_FREE_BYTES:
                self._tell(f"less than {LEAST_FREE_BYTES // 10**9} GB is free on its disk")
                return None
            content = strip_decodable(data)
            temporary = path.with_name(f".{path.name}.{os.getpid()}.{id(data)}.new")
            try:
                temporary.write_bytes(content)
                temporary.replace(path)
            finally:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
        except ImageError as exc:
            self._tell(f"its metadata cannot be removed ({exc})")
            return None
        except OSError as exc:
            self._tell(exc.strerror or type(exc).__name__)
            return None
        return path.name

    def _tell(self, reason: str) -> None:
        """Says once why a photograph is not kept."""
        if reason not in self._said:
            self._said.add(reason)
            self._complain(f"a photograph is not kept in {self._folder}: {reason}")
