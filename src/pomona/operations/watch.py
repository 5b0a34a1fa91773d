"""Watch: a store follows its source, round by round, for as long as it is let.

    events ──names──▶ round ──▶ the steps of any run ──▶ store
    every so often ──▶ a round that looks at the whole source

A round is a run that is told where to look. Whatever a round did is in the store, so a watcher may
be killed at any moment, and the next one begins by looking at the whole source.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pomona.errors import (
    CloudError,
    EngineError,
    NoImagesError,
    ObjectStoreError,
    PomonaError,
    SourceError,
    StoreBusyError,
    StoreWriteError,
    UsageError,
)
from pomona.images.select import NameFilter
from pomona.images.sources.base import Source
from pomona.images.sources.bucket import BucketSource
from pomona.images.sources.local import LocalSource
from pomona.operations.events import Events, NoEvents
from pomona.pipeline.context import Round
from pomona.pipeline.finish import Summary
from pomona.progress import Progress, count, duration
from pomona.store.layout import WATCH_LOCK
from pomona.store.store import Store

EVERY_S = 600.0
SHORTEST_EVERY_S = 1.0
# How often a watcher that has nothing to do says that it lives.
BEAT_S = 5.0
# How long one round alone waits for a first message.
ONCE_S = 2.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
# What may pass by itself: a source, a store, a queue or a cluster that is away, full or in use.
PASSING = (
    SourceError,
    ObjectStoreError,
    StoreBusyError,
    StoreWriteError,
    CloudError,
    EngineError,
)


@dataclass(frozen=True)
class WatchSettings:
    """How a source is watched.

    Parameters
    ----------
    every_s : float
        Seconds from one look at the whole source to the next.
    queue : str, optional
        The URL of the queue of SQS that tells of the bucket's changes.
    once : bool
        Whether to end after one round.

    Raises
    ------
    UsageError
        For a value that cannot be.
    """

    every_s: float = EVERY_S
    queue: str | None = None
    once: bool = False

    def __post_init__(self) -> None:
        if not self.every_s >= SHORTEST_EVERY_S:
            raise UsageError(f"`every` {self.every_s:g}s: give 1s or more")


Take = Callable[[Round], Summary]
OpenEvents = Callable[[], Events]


@contextmanager
def hold_watch(store: Store, command: str) -> Iterator[None]:
    """Keeps other watchers from a store, and no other command.

    Parameters
    ----------
    store : Store
        The store, which may be new.
    command : str
        What another watcher is told of this one.

    Raises
    ------
    StoreError
        If the place holds something else, or a store that cannot be used.
    StoreBusyError
        If another watcher is at work on it.
    """
    if not store.is_new():
        _ = store.manifest  # what this pomona cannot read is not locked
    with store.files.lock(WATCH_LOCK, command):
        yield


def open_events(
    source: Source,
    out: Store,
    settings: WatchSettings,
    progress: Progress,
    include: Sequence[str] = (),
) -> Events:
    """Opens what tells of a source's changes; where nothing does, listings alone find them.

    Parameters
    ----------
    source : Source
        What is watched.
    out : Store
        The store, which may lie in it.
    settings : WatchSettings
        Whether there is a queue.
    progress : Progress
        Who is told why there are no events.
    include : sequence of str
        As in `ExtractSettings`: of other files no event counts.

    Raises
    ------
    UsageError
        If there is a queue, and the source is no bucket.
    CloudError
        If the queue cannot be used.
    """
    if settings.queue is not None:
        if not isinstance(source, BucketSource):
            raise UsageError(f"`queue` tells of a bucket, and {source} is none: leave it out")
        from pomona.operations.queue import QueueEvents

        return QueueEvents(settings.queue, source.address, progress)
    if settings.once or not isinstance(source, LocalSource):
        return NoEvents()
    wanted, place = NameFilter(include), out.files.path("")
    apart = str(place) if isinstance(place, Path) else None
    try:
        from pomona.operations.folder import FolderEvents

        return FolderEvents(source.root, lambda name: wanted.why_not(name) is None, apart)
    except FileNotFoundError as exc:
        raise SourceError(f"{source} does not exist: check the path") from exc
    except ModuleNotFoundError as exc:
        reason = f'{exc.name} is not installed (pip install "pomona[watch]")'
    except OSError as exc:
        reason = str(exc.strerror)
    progress.warn(
        f"no events of {source} but a listing every {duration(settings.every_s)}: {reason}"
    )
    return NoEvents()


class Watcher:
    """Runs rounds until it is stopped.

    Parameters
    ----------
    take : callable
        Runs a round.
    open_events : callable
        Opens what tells of changes.
    settings : WatchSettings
        How the source is watched.
    progress : Progress
        Who is told of rounds and of what fails.
    """

    def __init__(
        self, take: Take, open_events: OpenEvents, settings: WatchSettings, progress: Progress
    ) -> None:
        self._take, self._open_events = take, open_events
        self._settings, self._progress = settings, progress
        self._events: Events = NoEvents()
        self._has_begun = False
        self._next_listing = 0.0

    def run(self, *, knows_source: bool) -> None:
        """Runs rounds: one with `once`, else without end.

        Parameters
        ----------
        knows_source : bool
            Whether the store has images, so that a queue need not begin with a listing.
        """
        if self._settings.once and self._settings.queue is not None and knows_source:
            self._next_listing = float("inf")
        is_open = False
        pause_s = FIRST_PAUSE_S
        try:
            while True:
                try:
                    if not is_open or not self._events.is_alive():
                        self._open()
                        is_open = True
                    self._round()
                except PASSING as exc:
                    if self._settings.once or not self._may_pass(exc):
                        raise
                    # A folder that was away may be another one when it is back.
                    is_open = is_open and not isinstance(exc, SourceError)
                    self._wait_out(exc, pause_s)
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                    continue
                pause_s = FIRST_PAUSE_S
                if self._settings.once:
                    return
        finally:
            self._events.close()

    def _open(self) -> None:
        """Opens the events, before a listing that finds what came when nobody told."""
        self._events.close()
        self._events = NoEvents()
        self._events = self._open_events()
        if self._next_listing != float("inf"):
            self._next_listing = 0.0

    def _round(self) -> None:
        """Waits for something to do, and does it."""
        left_s = self._next_listing - time.monotonic()
        if left_s > 0:
            self._progress.tell("beat")
            self._events.wait(ONCE_S if self._settings.once else min(left_s, BEAT_S))
        names = self._events.take()
        if time.monotonic() >= self._next_listing:
            names = None
        if names is not None and not names:
            self._events.settle()
            return
        began = time.monotonic()
        try:
            summary = self._take(Round(names))
        except NoImagesError as exc:
            if self._has_begun or self._settings.once:
                raise
            self._progress.note(f"{exc}; waiting for the first")
        else:
            self._has_begun = True
            self._tell(summary, names)
        self._events.settle()
        if names is None:
            self._next_listing = began + self._settings.every_s

    def _tell(self, summary: Summary, names: frozenset[str] | None) -> None:
        kind = "listing" if names is None else "events"
        self._progress.tell(
            "round", kind=kind, images=summary.ran, seconds=round(summary.seconds, 3)
        )
        if summary.worked:
            looked = "all" if names is None else count(len(names), "name")
            self._progress.note(
                f"{count(summary.ran, 'image')} read in {duration(summary.seconds)}, looking at "
                f"{looked}; the store has {count(summary.images, 'image')}, "
                f"{count(summary.errors, 'error')}"
            )

    def _may_pass(self, exc: PomonaError) -> bool:
        """Whether to wait; before the first round, whoever has mistyped is there to read it."""
        is_unreachable = isinstance(exc, ObjectStoreError) and exc.reason == "unreachable"
        return self._has_begun or is_unreachable or isinstance(exc, StoreBusyError)

    def _wait_out(self, exc: PomonaError, pause_s: float) -> None:
        self._progress.tell("failure", reason=type(exc).__name__)
        self._progress.warn(f"{exc}; next try in {duration(pause_s)}")
        time.sleep(pause_s)
