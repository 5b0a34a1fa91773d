"""Images in a folder on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pomona.images.fetch import fetch, fingerprint
from pomona.images.prefetch import ImageRequest
from pomona.images.scan import Scan, look, scan
from pomona.store.schemas import decode_path


@dataclass(frozen=True)
class LocalSource:
    """A folder on disk. An image's fingerprint is its modification time and size."""

    root: str
    ahead: int = 1

    has_folders: ClassVar[bool] = True

    def __str__(self) -> str:
        return self.root

    def absolute(self) -> LocalSource:
        """This source with an absolute path."""
        return LocalSource(os.path.abspath(self.root))

    def scan(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Scan:
        """Finds the images, as `images.scan.scan`."""
        return scan(Path(self.root), include, exclude)

    def look(
        self, names: Iterable[str], include: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> Scan:
        """Finds the images among some names, as `images.scan.look`."""
        return look(Path(self.root), names, include, exclude)

    def expect(self, wanted: Iterable[ImageRequest]) -> None:
        """Does nothing: there is nothing to prepare."""

    def fetch(self, path: str, expected: str | None = None) -> bytes:
        """Reads an image, as `images.fetch.fetch`."""
        return fetch(self.root, path, expected)

    def find_problem(self, path: str, expected: str | None) -> str | None:
        """Why this machine does not see an image as the scan did, with the remedy."""
        image = Path(self.root, decode_path(path))
        if not os.access(image, os.R_OK):
            return f"cannot read {image}: put SOURCE on a disk that all nodes share"
        if expected not in (None, fingerprint(image.stat())):
            return f"sees another size or time of {image}: let all nodes see SOURCE in the same way"
        return None
