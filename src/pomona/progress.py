"""Progress: what a run tells while it works, on a terminal, in a log or not at all."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from pomona.errors import PomonaError

PLAIN_EVERY_S = 5.0


class Progress:
    """What the pipeline tells; this one keeps count and says nothing.

    done, total: images (or rows) of the current stage; errors: error rows that it made.
    """

    def __init__(self) -> None:
        self.stage, self.done, self.total, self.errors = "", 0, 0, 0
        self._start = time.perf_counter()

    def begin(self, stage: str, total: int) -> None:
        """A stage starts."""
        self.stage, self.done, self.total, self.errors = stage, 0, total, 0
        self._start = time.perf_counter()

    def advance(self, done: int, errors: int = 0) -> None:
        """So many more are done, so many of them are errors."""
        self.done += done
        self.errors += errors

    def end(self) -> None:
        """The stage is over, done or not."""

    def note(self, message: str) -> None:
        """Something that the user may want to know."""

    def warn(self, message: str) -> None:
        """Something that the user should know."""

    def over(self, status: int, message: str | None = None) -> None:
        """The command is over, with this exit status; whoever ends it prints the message."""

    @property
    def per_second(self) -> float:
        """The stage's speed so far."""
        return self.done / max(time.perf_counter() - self._start, 1e-9)

    def status(self) -> str:
        """The stage so far in one line."""
        left = (self.total - self.done) / self.per_second if self.done else None
        parts = [f"{self.stage}: {self.done:,} of {self.total:,}", f"{self.per_second:,.0f}/s"]
        if left:
            parts.append(f"{duration(left)} left")
        if self.errors:
            parts.append(f"{self.errors:,} errors")
        return ", ".join(parts)


class TerminalProgress(Progress):
    """A bar for each stage, with images done, images/s, time left and errors."""

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
            told = f"{self.errors:,} errors" if self.errors else ""
            speed = f"{self.per_second:,.0f}/s"
            self._bar.update(self._bar.task_ids[0], advance=done, speed=speed, errors=told)

    def end(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def note(self, message: str) -> None:
        self._console.print(message, markup=False, highlight=False, soft_wrap=True)

    def warn(self, message: str) -> None:
        self._console.print(f"warning: {message}", markup=False, style="yellow", soft_wrap=True)


class PlainProgress(Progress):
    """A line every few seconds."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._told = time.perf_counter()

    def advance(self, done: int, errors: int = 0) -> None:
        super().advance(done, errors)
        if time.perf_counter() - self._told >= PLAIN_EVERY_S:
            self._told = time.perf_counter()
            self.note(self.status())

    def note(self, message: str) -> None:
        print(message, file=self._stream, flush=True)

    def warn(self, message: str) -> None:
        self.note(f"warning: {message}")


class LoggedProgress(Progress):
    """Hands everything on, and writes it to a file: a JSON object a line, times in UTC."""

    def __init__(self, shown: Progress, file: TextIO) -> None:
        super().__init__()
        self._shown, self._file = shown, file

    @classmethod
    def open(cls, shown: Progress, path: Path) -> LoggedProgress:
        """Appends to the file at `path`. Raises PomonaError where that cannot be."""
        try:
            # A name that is no UTF-8 is told in escapes, as JSON knows them.
            return cls(shown, path.open("a", encoding="utf-8", errors="backslashreplace"))
        except OSError as exc:
            raise PomonaError(f"--log-file {path}: {exc.strerror}; choose another file") from exc

    def log(self, event: str, **fields: Any) -> None:
        """One line of the file."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": event, **fields}, ensure_ascii=False)
        print(line, file=self._file, flush=True)

    def begin(self, stage: str, total: int) -> None:
        super().begin(stage, total)
        self._shown.begin(stage, total)
        self.log("begin", stage=stage, total=total)

    def advance(self, done: int, errors: int = 0) -> None:
        super().advance(done, errors)
        self._shown.advance(done, errors)
        speed = round(self.per_second, 1)
        self.log("progress", stage=self.stage, done=self.done, errors=self.errors, per_second=speed)

    def end(self) -> None:
        self._shown.end()
        self.log("end", stage=self.stage, done=self.done, total=self.total, errors=self.errors)

    def note(self, message: str) -> None:
        self._shown.note(message)
        self.log("note", message=message)

    def warn(self, message: str) -> None:
        self._shown.warn(message)
        self.log("warning", message=message)

    def over(self, status: int, message: str | None = None) -> None:
        self._shown.over(status, message)
        self.log("over", status=status, message=message)
        self._file.close()


def duration(seconds: float) -> str:
    """Seconds as a person says them: 8.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
