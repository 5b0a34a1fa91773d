"""Keeps libraries from importing modules that pomona does not need, or must not load."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Finder:
    """An import finder to which one module is not installed."""

    def __init__(self, blocked: str) -> None:
        self._blocked = blocked

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == self._blocked:
            raise ModuleNotFoundError(f"{name} is not imported here", name=name)


@contextmanager
def block_import(module: str) -> Iterator[None]:
    """Makes `import module` fail in a `with` block, unless it was imported before."""
    finder = _Finder(module)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
