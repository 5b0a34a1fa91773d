"""Source: where images come from, as a run uses it. The other modules hold one kind each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from pomona.images.prefetch import ImageRequest
from pomona.images.scan import Scan


class Source(Protocol):
    """Where images come from. It is picklable, holds no credentials, and its `str` names it."""

    @property
    def ahead(self) -> int:
        """How many images to fetch at once, ahead of the one that is needed; 1: none ahead."""

    def absolute(self) -> Source:
        """This source for a worker, which may have another working directory."""

    def scan(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Scan:
        """Finds the images.

        Parameters
        ----------
        include, exclude : sequence of str
            Glob patterns of the images that are wanted and not wanted, as for `select.NameFilter`.

        Returns
        -------
        Scan
            The catalog, and what was skipped.

        Raises
        ------
        SourceError, ObjectStoreError
            If the source cannot be read.
        """

    def expect(self, wanted: Iterable[ImageRequest]) -> None:
        """Announces the images that `fetch` will be asked for, in this order."""

    def fetch(self, path: str, expected: str | None = None) -> bytes:
        """Reads an image.

        Parameters
        ----------
        path : str
            The path of its catalog row.
        expected : str or None
            The fingerprint that it must have. None: any.

        Returns
        -------
        bytes
            Its file.

        Raises
        ------
        ImageError
            Stage "fetch": for a fault of this image.
        ObjectStoreError
            If no other image could be read, either.
        """

    def find_problem(self, path: str, expected: str | None) -> str | None:
        """Why this machine does not see an image as the scan did, with the remedy; None: it does.

        Parameters
        ----------
        path, expected
            As for `fetch`.
        """


@runtime_checkable
class Lookable(Protocol):
    """A source that can look at some of its images alone."""

    @property
    def has_folders(self) -> bool:
        """Whether a name may be that of a folder, and stand for all in it."""

    def look(
        self, names: Iterable[str], include: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> Scan:
        """Finds the images among some names, with all that is in folders among them.

        Parameters
        ----------
        names : iterable of str
            Relative to the source. Names of nothing are ignored.
        include, exclude
            As for `Source.scan`.

        Returns
        -------
        Scan
            As of `Source.scan`.

        Raises
        ------
        SourceError, ObjectStoreError
            If the source cannot be read.
        """
