"""Stopwatch: where the time goes."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field


@dataclass
class Stopwatch:
    """Seconds by what they were spent on."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def timed(self, what: str) -> Timed:
        """Adds the time within to `what`."""
        return Timed(self.seconds, what)


class Timed:
    """Not made by contextlib, which takes longer: this is entered several times for an image."""

    def __init__(self, seconds: defaultdict[str, float], what: str) -> None:
        self._seconds, self._what = seconds, what

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *exc_info: object) -> None:
        self._seconds[self._what] += time.perf_counter() - self._start
