"""What the shell offers for an option's value."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def one_of(names: Iterable[str]) -> Callable[[], list[str]]:
    """Returns a completion that offers these names, and those that join them later."""

    def complete() -> list[str]:
        return list(names)

    return complete
