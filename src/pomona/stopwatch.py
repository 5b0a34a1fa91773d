"""A stopwatch: where the time goes."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field


@dataclass
class Stopwatch:
    """Seconds by step: `seconds[step]`."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def timed(self, step: str) -> Timed:
        """Adds the time spent in a `with` block to a step."""
        return Timed(self.seconds, step)


class Timed:
    """The context manager of `Stopwatch.timed`, faster than contextlib's: it runs per image."""

    def __init__(self, seconds: defaultdict[str, float], step: str) -> None:
        self._seconds, self._step = seconds, step

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *exc_info: object) -> None:
        self._seconds[self._step] += time.perf_counter() - self._start
