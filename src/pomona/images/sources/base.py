"""Source: where images come from. What a run needs of it is `Source`; each kind is a class here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from pomona.images.scan import Scan

if TYPE_CHECKING:
    pass


class Source(Protocol):
    """Picklable, without credentials; `str` of it is its name in the manifest.

    expect: tells what will be fetched next, in this order; ahead: how many images are fetched at
    once, ahead of the one that is wanted; 1: none.
    """

    @property
    def ahead(self) -> int: ...

    def absolute(self) -> Source: ...

    def scan(self, include: Sequence[str] = ()) -> Scan: ...

    def expect(self, paths: Iterable[str]) -> None: ...

    def fetch(self, path: str, expected: str | None = None) -> bytes: ...

    def find_problem(self, path: str, expected: str | None) -> str | None: ...
