"""Completion of an option's value by the shell."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def one_of(names: Iterable[str]) -> Callable[[], list[str]]:
    """Makes a completion of names.

    Parameters
    ----------
    names : iterable of str
        A registry or a tuple; names that join it later are offered too.

    Returns
    -------
    callable
        For `typer.Option(autocompletion=…)`.
    """

    def complete() -> list[str]:
        return list(names)

    return complete
