"""Absent: modules that others import on the side, and that pomona must not or need not have."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Finder:
    """Says of one module that it is not installed."""

    def __init__(self, absent: str) -> None:
        self._absent = absent

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == self._absent:
            raise ModuleNotFoundError(f"{name} is not imported here", name=name)


@contextmanager
def block_import(module: str) -> Iterator[None]:
    """What is imported within finds no `module`, unless it was imported before."""
    finder = _Finder(module)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
