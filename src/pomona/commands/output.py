"""Output of a command: its result on stdout; progress on stderr and in a log."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer
from rich.console import Console

from pomona.commands.flags import with_flags
from pomona.progress import printable
from pomona.store.folders.registry import is_address

if TYPE_CHECKING:
    from pomona.commands.progress import CommandProgress

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
AsJsonArray = Annotated[bool, typer.Option("--json", help="Print the list as a JSON array.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done; write nothing.")]
Thumbnails = Annotated[
    bool | None,
    typer.Option(
        "--thumbnails/--no-thumbnails",
        help="Show thumbnails in the report. (default: as in the previous run, else yes)",
    ),
]


@dataclass(frozen=True)
class OutputOptions:
    """How much a command prints, and where it logs."""

    panel: ClassVar[str] = "Output"
    quiet: Quiet = False
    as_json: AsJson = False
    log_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Append progress and messages to FILE, one JSON object per line.",
        ),
    ] = None

    def progress(self, store: str | Path | None = None) -> CommandProgress:
        """Opens the display of progress; it is on stderr, so that stdout holds the result alone.

        Parameters
        ----------
        store : str or Path, optional
            The store that the command works on.

        Raises
        ------
        PomonaError
            If the log file cannot be opened.
        """
        from pomona.commands import progress

        return progress.open_progress(quiet=self.quiet, log_file=self.log_file)

    def result(self, content: dict[str, Any], text: str) -> None:
        """Prints the command's result on stdout: `content` as JSON, or `text`.

        Parameters
        ----------
        content : dict
            The result, for --json.
        text : str
            The result as a person reads it.
        """
        if self.as_json:
            print(json.dumps(content, ensure_ascii=False))
        elif not self.quiet:
            shown = printable(with_flags(text))
            Console(soft_wrap=True, highlight=False).print(shown, markup=False)


@dataclass(frozen=True)
class MeasuredOutputOptions(OutputOptions):
    """How much a command prints, and where it logs and measures."""

    metrics_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep metrics of the run in FILE, in Prometheus's text format: name it *.prom in "
            "the folder of the node exporter's textfile collector.",
        ),
    ] = None

    def progress(self, store: str | Path | None = None) -> CommandProgress:
        if self.metrics_file is None or store is None:
            return super().progress(store)
        from pomona.commands import progress
        from pomona.operations.metrics import MetricsFile

        command = next(arg for arg in sys.argv[1:] if not arg.startswith("-"))
        where = str(store if is_address(store) else Path(store).absolute())
        measured = MetricsFile(self.metrics_file, command, where)
        return progress.open_progress(quiet=self.quiet, log_file=self.log_file, measured=measured)


def complain(message: str) -> None:
    """Prints a line on stderr.

    Parameters
    ----------
    message : str
        What is wrong, where, and the way out.
    """
    print(f"pomona: {printable(message)}", file=sys.stderr)
