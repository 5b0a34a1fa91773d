"""Progress: what the pipeline tells while it works, and the plainest ways to show it."""

from __future__ import annotations

import time
from typing import TextIO

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
        print(message, file=self._stream, flush=True)

    def warn(self, message: str) -> None:
        self.note(f"warning: {message}")


def duration(seconds: float) -> str:
    """Seconds as a person says them: 8.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
