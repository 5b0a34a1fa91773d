"""A command that changes an account: it shows what it will do, asks once, and can be stopped."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from pomona.commands import exit_status
from pomona.commands.flags import with_flags
from pomona.commands.output import OutputOptions
from pomona.commands.progress import CommandProgress
from pomona.errors import UsageError


@contextmanager
def watched(output: OutputOptions, after_stop: str = "") -> Iterator[CommandProgress]:
    """Gives the display of progress, ends it with the command's status, and bears a Ctrl-C.

    Parameters
    ----------
    output : OutputOptions
        What is printed and logged.
    after_stop : str
        What a user should know when the command is stopped.
    """
    progress = output.progress()
    try:
        yield progress
    except KeyboardInterrupt as exc:
        status = exit_status.of_stop(exc)
        progress.warn(" ".join(f"stopped; {after_stop}".rstrip("; ").split()))
        progress.over(status, "stopped")
        raise typer.Exit(status) from None
    except typer.Exit as exc:
        progress.over(exc.exit_code)
        raise
    except Exception as exc:
        is_usage = isinstance(exc, UsageError)
        progress.over(exit_status.WRONG_USAGE if is_usage else exit_status.FAILED, with_flags(exc))
        raise
    progress.over(exit_status.DONE)


def require_terminal(*, yes: bool) -> None:
    """Refuses a command that must ask where nobody can answer.

    Parameters
    ----------
    yes : bool
        Whether it need not ask.

    Raises
    ------
    UsageError
        If it must, and standard input is no terminal.
    """
    if not yes and not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask on: give `yes` to confirm in advance")


def show(text: str) -> None:
    """Prints on stderr what the question is about."""
    print(text, file=sys.stderr, flush=True)


def is_agreed(question: str) -> bool:
    """Asks once; anything but y and yes is no.

    Parameters
    ----------
    question : str
        What is asked.
    """
    return answer(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def answer(question: str) -> str:
    """Asks on stderr for one line; "" at the end of the input."""
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline()
