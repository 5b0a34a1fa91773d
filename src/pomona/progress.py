"""Progress: what the pipeline reports while it works, and the plainest ways to show it."""

from __future__ import annotations

import re
import time
from typing import Any, TextIO

PLAIN_EVERY_S = 5.0
# What a terminal would obey instead of showing: controls but for tab and newline, and marks that
# turn the direction of text.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


class Progress:
    """Receives what the pipeline reports; this one keeps count and shows nothing.

    Attributes
    ----------
    stage : str
        The current stage.
    done, total : int
        Its images, or rows.
    errors : int
        Error rows that it made.
    """

    def __init__(self) -> None:
        self.stage, self.done, self.total, self.errors = "", 0, 0, 0
        self._start = time.perf_counter()

    def begin(self, stage: str, total: int) -> None:
        """Starts a stage."""
        self.stage, self.done, self.total, self.errors = stage, 0, total, 0
        self._start = time.perf_counter()

    def advance(self, done: int, errors: int = 0) -> None:
        """Counts images that are done, and the errors among them."""
        self.done += done
        self.errors += errors

    def end(self) -> None:
        """Ends the stage, complete or not."""

    def note(self, message: str) -> None:
        """Shows a message that the user may want to know."""

    def warn(self, message: str) -> None:
        """Shows a message that the user should know."""

    def tell(self, event: str, **facts: Any) -> None:
        """Reports something that happened, for logs and metrics; `facts` are what JSON can hold."""

    def over(self, status: int, message: str | None = None) -> None:
        """Ends the command with an exit status; the caller prints the message."""

    @property
    def per_second(self) -> float:
        """The stage's speed so far, in images per second."""
        return self.done / max(time.perf_counter() - self._start, 1e-9)

    def status(self) -> str:
        """The stage so far in one line."""
        left = (self.total - self.done) / self.per_second if self.done else None
        parts = [f"{self.stage}: {self.done:,} of {self.total:,}", f"{self.per_second:,.0f}/s"]
        if left:
            parts.append(f"{duration(left)} left")
        if self.errors:
            parts.append(count(self.errors, "error"))
        return ", ".join(parts)


class PlainProgress(Progress):
    """A line every few seconds."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._shown_at = time.perf_counter()

    def advance(self, done: int, errors: int = 0) -> None:
        super().advance(done, errors)
        if time.perf_counter() - self._shown_at >= PLAIN_EVERY_S:
            self._shown_at = time.perf_counter()
            self.note(self.status())

    def note(self, message: str) -> None:
        print(printable(message), file=self._stream, flush=True)

    def warn(self, message: str) -> None:
        self.note(f"warning: {message}")


def printable(text: str) -> str:
    """Returns a text with control characters as escapes, which a terminal shows and not obeys."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Formats a number with its noun, in the singular or the plural: 1 image, 2,000 images."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: 8.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
