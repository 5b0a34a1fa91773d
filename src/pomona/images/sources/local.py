"""Images in a folder on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pomona.images.fetch import fetch, fingerprint
from pomona.images.scan import Scan, scan
from pomona.store.schemas import decode_path


@dataclass(frozen=True)
class LocalSource:
    """A folder on disk."""

    root: str
    ahead: int = 1

    def __str__(self) -> str:
        return self.root

    def absolute(self) -> LocalSource:
        """This source for a worker, whatever its working directory."""
        return LocalSource(os.path.abspath(self.root))

    def scan(self, include: Sequence[str] = ()) -> Scan:
        """Finds its images. Raises SourceError."""
        return scan(Path(self.root), include)

    def expect(self, paths: Iterable[str]) -> None:
        """One image is fetched as well as many."""

    def fetch(self, path: str, expected: str | None = None) -> bytes:
        """The bytes of one image, if it has the fingerprint that is expected.

        Raises ImageError (stage "fetch").
        """
        return fetch(self.root, path, expected)

    def find_problem(self, path: str, expected: str | None) -> str | None:
        """Why an image is not seen from here as where it was found, with the way out."""
        image = Path(self.root, decode_path(path))
        if not os.access(image, os.R_OK):
            return f"cannot read {image}: put SOURCE on a disk that all nodes share"
        if expected not in (None, fingerprint(image.stat())):
            return f"sees another size or time of {image}: let all nodes see SOURCE in the same way"
        return None
