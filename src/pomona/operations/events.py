"""Events: which names of a source may have changed, as somebody tells.

An event carries a name and nothing else that counts: what the source holds under the name is looked
up. So events may come late, twice and in any order, and one that is lost costs time alone, since
the whole source is listed now and then.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

# More names than these are not worth looking up one by one: all of the source is looked at.
MOST_NAMES = 10_000
# A burst has ended when nothing has come for so long; it is not waited for longer than that.
QUIET_S, LONGEST_BURST_S = 0.5, 5.0


class Events(Protocol):
    """Who tells of changes."""

    def wait(self, timeout_s: float) -> None:
        """Waits until there are names and no more are coming, or the time is over."""

    def take(self) -> frozenset[str] | None:
        """Returns the names that may have changed and are not settled; None: look at all."""

    def settle(self) -> None:
        """Forgets the names of the last `take`: what they stand for is in the store."""

    def is_alive(self) -> bool:
        """Whether it still tells; if not, it must be opened anew."""

    def close(self) -> None:
        """Ends it."""


class NoEvents:
    """Nobody tells."""

    def wait(self, timeout_s: float) -> None:
        time.sleep(timeout_s)

    def take(self) -> frozenset[str] | None:
        return frozenset()

    def settle(self) -> None:
        pass

    def is_alive(self) -> bool:
        return True

    def close(self) -> None:
        pass


class Names:
    """Names that have come and are not settled, from any thread; a bounded number of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._coming: set[str] = set()
        self._taken: set[str] = set()
        self._overflowed = self._took_all = False
        self._last = 0.0

    def add(self, name: str) -> None:
        """Adds a name."""
        with self._changed:
            self._last = time.monotonic()
            if len(self._coming) < MOST_NAMES:
                self._coming.add(name)
            else:
                self._overflowed = True
            self._changed.notify()

    def wait(self, timeout_s: float) -> None:
        """Waits as `Events.wait` does."""
        with self._changed:
            self._changed.wait_for(lambda: self._coming or self._overflowed, timeout_s)
            if not self._coming:
                return
            end = time.monotonic() + LONGEST_BURST_S
            while (now := time.monotonic()) < min(end, self._last + QUIET_S):
                self._changed.wait(min(end, self._last + QUIET_S) - now)

    def take(self) -> frozenset[str] | None:
        """Returns names as `Events.take` does."""
        with self._changed:
            self._taken |= self._coming
            self._took_all |= self._overflowed or len(self._taken) > MOST_NAMES
            self._coming.clear()
            self._overflowed = False
            return None if self._took_all else frozenset(self._taken)

    def settle(self) -> None:
        """Forgets names as `Events.settle` does."""
        with self._changed:
            self._taken.clear()
            self._took_all = False
