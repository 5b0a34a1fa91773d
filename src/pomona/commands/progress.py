"""Progress on a terminal and in a log file, with settings named as flags."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from pomona.commands.flags import with_flags
from pomona.errors import PomonaError
from pomona.progress import PlainProgress, Progress, count, printable


def open_progress(
    *, quiet: bool, log_file: Path | None, measured: Progress | None = None
) -> CommandProgress:
    """Opens what a command tells its progress to.

    Parameters
    ----------
    quiet : bool
        Whether to show nothing.
    log_file : Path, optional
        The file to append to.
    measured : Progress, optional
        Who keeps figures.

    Raises
    ------
    PomonaError
        If the log file cannot be opened.
    """
    shown = Progress()
    if not quiet:
        console = Console(stderr=True)
        shown = TerminalProgress(console) if console.is_terminal else PlainProgress(sys.stderr)
    try:
        # A name that is not UTF-8 is written in escapes, as JSON knows them.
        log = log_file.open("a", encoding="utf-8", errors="backslashreplace") if log_file else None
    except OSError as exc:
        raise PomonaError(f"--log-file {log_file}: {exc.strerror}; choose another file") from exc
    return CommandProgress(shown, log, measured)


class CommandProgress(Progress):
    """Hands everything on, and writes it to a log: one JSON object per line, times in UTC.

    Parameters
    ----------
    shown : Progress
        What the user sees.
    log : file, optional
        What is appended to.
    measured : Progress, optional
        Who keeps figures.
    """

    def __init__(
        self, shown: Progress, log: TextIO | None, measured: Progress | None = None
    ) -> None:
        super().__init__()
        self._shown, self._log = shown, log
        self._measured = measured or Progress()

    def begin(self, stage: str, total: int) -> None:
        super().begin(stage, total)
        self._shown.begin(stage, total)
        self._measured.begin(stage, total)
        self._write("begin", stage=stage, total=total)

    def advance(self, done: int, errors: int = 0) -> None:
        super().advance(done, errors)
        self._shown.advance(done, errors)
        speed = round(self.per_second, 1)
        self._write(
            "progress", stage=self.stage, done=self.done, errors=self.errors, per_second=speed
        )

    def end(self) -> None:
        self._shown.end()
        self._measured.end()
        self._write("end", stage=self.stage, done=self.done, total=self.total, errors=self.errors)

    def note(self, message: str) -> None:
        message = with_flags(message)
        self._shown.note(message)
        self._write("note", message=message)

    def warn(self, message: str) -> None:
        message = with_flags(message)
        self._shown.warn(message)
        self._write("warning", message=message)

    def tell(self, event: str, **facts: Any) -> None:
        self._measured.tell(event, **facts)
        if event != "beat":
            self._write(event, **facts)

    def over(self, status: int, message: str | None = None) -> None:
        self._shown.over(status, message)
        self._measured.over(status, message)
        self._write("over", status=status, message=message)
        if self._log:
            self._log.close()
            self._log = None  # a step that a signal has cut short may end after this

    def _write(self, event: str, **fields: Any) -> None:
        if self._log:
            now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            line = json.dumps({"time": now, "event": event, **fields}, ensure_ascii=False)
            print(line, file=self._log, flush=True)


class TerminalProgress(Progress):
    """A bar for each stage, with images done, images per second, time left and errors.

    Parameters
    ----------
    console : Console
        The terminal.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._bar: Bar | None = None

    def begin(self, stage: str, total: int) -> None:
        super().begin(stage, total)
        self._bar = Bar(
            TextColumn("[bold]{task.description:<8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("[red]{task.fields[errors]}"),
            console=self._console,
        )
        self._bar.add_task(stage, total=total, speed="", errors="")
        self._bar.start()

    def advance(self, done: int, errors: int = 0) -> None:
        super().advance(done, errors)
        if self._bar:
            errors_so_far = count(self.errors, "error") if self.errors else ""
            speed = f"{self.per_second:,.0f}/s"
            self._bar.update(self._bar.task_ids[0], advance=done, speed=speed, errors=errors_so_far)

    def end(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def note(self, message: str) -> None:
        self._console.print(printable(message), markup=False, highlight=False, soft_wrap=True)

    def warn(self, message: str) -> None:
        text = f"warning: {printable(message)}"
        self._console.print(text, markup=False, style="yellow", soft_wrap=True)
