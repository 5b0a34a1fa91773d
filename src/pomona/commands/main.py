"""The command line's entry point: parse, call, print. The only place that exits.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 done but over --max-error-rate, 130 stopped by
Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import Annotated, Any

import typer

from pomona import __version__
from pomona.commands import exit_status
from pomona.commands.flags import with_flags
from pomona.commands.output import complain
from pomona.commands.parser import RegisteredGroup
from pomona.engines.workers import ARROW_MEMORY
from pomona.errors import PomonaError, UsageError

app = typer.Typer(
    name="pomona",
    cls=RegisteredGroup,
    help="Compute features (embeddings) of images with a pretrained network, reduce them by PCA, "
    "and write Parquet files and a report. The output folder is called a store.\n\n"
    "Start with: pomona sample photos && pomona run photos out",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

# What typer raises of arguments that it cannot parse, under a name that its versions share
_Misuse: Any = typer.BadParameter.__base__


def main() -> None:
    """Runs the `pomona` command, and exits."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that is not UTF-8 is printed in escapes, as JSON knows them, and stops nothing.
        sys.stdout.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _terminate)
    os.environ.update(ARROW_MEMORY | os.environ)  # before pyarrow is imported
    try:
        # The exit status of a `typer.Exit`, or None.
        status = app(sys.argv[1:] or ["--help"], prog_name="pomona", standalone_mode=False)
        print(end="", flush=True)
        sys.exit(status)
    except _Misuse as exc:
        command = exc.ctx.command_path if exc.ctx else "pomona"
        message = " ".join(exc.format_message().split()).rstrip(".")
        _fail(f"{message}; see `{command} --help`", exit_status.WRONG_USAGE)
    except UsageError as exc:
        _fail(with_flags(exc), exit_status.WRONG_USAGE)
    except PomonaError as exc:
        _fail(with_flags(exc), exit_status.FAILED)
    except BrokenPipeError:
        # Whoever read the output has left; nothing more can be said to them.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(exit_status.FAILED)
    except Exception as exc:
        if os.environ.get("POMONA_DEBUG"):
            raise
        _fail(
            f"unexpected {type(exc).__name__}: {' '.join(str(exc).split())}; this is a bug: "
            "run the command again with POMONA_DEBUG=1 and report what it prints",
            exit_status.FAILED,
        )


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    if version:
        print(f"pomona {__version__}")
        raise typer.Exit


def _terminate(number: int, frame: object) -> None:
    raise KeyboardInterrupt(exit_status.TERMINATED)


def _fail(message: str, status: int) -> None:
    complain(message)
    sys.exit(status)
