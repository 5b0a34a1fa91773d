"""What every command that works on a store needs: its engine, its progress, its lock, its clock."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TypeVar

from pomona.engines.base import Engine, Failure, Task
from pomona.errors import EngineError, PomonaError, StoreError
from pomona.memory import release_memory
from pomona.progress import Progress
from pomona.s3.address import Access
from pomona.stopwatch import Stopwatch
from pomona.store.layout import FORGETTING
from pomona.store.store import Store

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Round:
    """A look at a source, one of many.

    Parameters
    ----------
    names : frozenset of str, optional
        The names of the source that may have changed. None: look at all.
    """

    names: frozenset[str] | None = None


@dataclass(frozen=True)
class RunSettings:
    """How a command runs.

    Parameters
    ----------
    engine : Engine
        Where its tasks run.
    progress : Progress
        Who is told how it goes.
    command : str
        The command line or the call, as the store's history and its lock show it.
    thumbnails : bool, optional
        Whether the report shows pictures. None: as before, and for a new store yes.
    began : float
        When the command began, by `time.perf_counter`, in seconds.
    access : Access
        How buckets are used.
    round : Round, optional
        Which of a watcher's rounds this is. None: a run of its own.
    """

    engine: Engine
    progress: Progress = field(default_factory=Progress)
    command: str = "pomona"
    thumbnails: bool | None = None
    began: float = field(default_factory=time.perf_counter)
    access: Access = field(default_factory=Access)
    round: Round | None = None

    @property
    def looks_at_all(self) -> bool:
        """Whether all of the source is looked at."""
        return self.round is None or self.round.names is None


def run_tasks(
    settings: RunSettings,
    stage: str,
    task: Task[Item, Result],
    items: list[Item],
    payload: object,
    *,
    images: Callable[[Item], int],
    errors: Callable[[Result], int] = lambda result: 0,
) -> Iterator[tuple[Item, Result]]:
    """Runs a task for each item on the engine, and reports its progress.

    Parameters
    ----------
    settings : RunSettings
        Whose engine runs the tasks, and whose progress is told.
    stage : str
        The stage's name, as the user sees it.
    task, items, payload
        As `Engine.map` takes them.
    images : callable
        How many images an item stands for.
    errors : callable
        How many error rows a result stands for.

    Yields
    ------
    tuple
        An item and its result, in the order in which they complete.

    Raises
    ------
    PomonaError
        The error that stopped a task, or EngineError if that was not a PomonaError.
    """
    if not items:
        return
    release_memory()
    settings.progress.begin(stage, sum(map(images, items)))
    try:
        for item, result in settings.engine.map(task, items, payload):
            if isinstance(result, Failure):
                raise _failed(stage, result)
            settings.progress.advance(images(item), errors(result))
            yield item, result
    finally:
        settings.progress.end()


def _failed(stage: str, failure: Failure) -> PomonaError:
    if isinstance(failure.error, PomonaError):
        return failure.error
    kind = f"{type(failure.error).__name__}: " if failure.error else ""
    return EngineError(
        f"{stage} failed: {kind}{failure.message}; what is done is kept: run the same command again"
    )


class RunContext:
    """A command that holds a store's lock.

    Parameters
    ----------
    store : Store
        The store, open for writing.
    settings : RunSettings
        How the command runs.

    Attributes
    ----------
    id : str
        The run's name in the manifest.
    started : datetime
        When the store was locked, in UTC.
    watch : Stopwatch
        The seconds of each stage.
    has_changes : bool
        Whether the command did anything at all.
    """

    def __init__(self, store: Store, settings: RunSettings) -> None:
        self.store, self.settings = store, settings
        self.engine, self.progress = settings.engine, settings.progress
        self.started = datetime.now(timezone.utc)
        self.id = f"{self.started:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"
        self.watch = Stopwatch()
        self.has_changes = False

    def map(
        self,
        stage: str,
        task: Task[Item, Result],
        items: list[Item],
        payload: object,
        *,
        images: Callable[[Item], int],
        errors: Callable[[Result], int] = lambda result: 0,
    ) -> Iterator[tuple[Item, Result]]:
        """Runs a task for each item, as `run_tasks` does."""
        self.has_changes |= bool(items)
        return run_tasks(self.settings, stage, task, items, payload, images=images, errors=errors)


def check_forgotten(store: Store) -> None:
    """Raises StoreError if a `pomona forget` of the store was stopped."""
    if store.files.exists(FORGETTING):
        raise StoreError(
            f"a `pomona forget` of {store.files} was stopped: "
            f"finish it first with `pomona forget {store.files}`"
        )


@contextmanager
def open_run(
    store: Store, settings: RunSettings, *, finishes_forget: bool = False
) -> Iterator[RunContext]:
    """Starts the engine, then takes the store's lock, for one command.

    Parameters
    ----------
    store : Store
        The store to write to.
    settings : RunSettings
        How the command runs.
    finishes_forget : bool
        Whether the command is the one that finishes a stopped `pomona forget`.

    Raises
    ------
    StoreBusyError, StoreWriteError
        If the store cannot be locked.
    StoreError
        If a `pomona forget` of it was stopped.
    """
    with settings.engine, store.lock(settings.command) as (locked, notice):
        if not finishes_forget:
            check_forgotten(locked)
        for message in (notice, settings.engine.notice):
            if message:
                settings.progress.note(message)
        yield RunContext(locked, settings)
