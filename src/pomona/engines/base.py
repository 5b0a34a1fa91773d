"""Engines: where tasks run. An engine knows no step, and a step knows no engine.

A task is a module-level function `task(item, payload, attempt) -> result`. Its payload reaches
each worker process once; items and results are small. Tasks may run twice and on any machine: what
they write goes into the store, whole and under a name that is always the same. A task whose worker
died is given to another one with the next `attempt`, so that it can be more careful.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
TaskItem = TypeVar("TaskItem", contravariant=True)
TaskResult = TypeVar("TaskResult", covariant=True)

MAX_ATTEMPTS = 4


class Task(Protocol[TaskItem, TaskResult]):
    """attempt: 1 at first, one more after each worker that died of the item."""

    __name__: str

    def __call__(self, item: TaskItem, payload: Any, attempt: int, /) -> TaskResult: ...


@dataclass(frozen=True)
class Failure:
    """What became of an item that no attempt could finish.

    error: the exception that the task raised, or None where its worker died.
    """

    message: str
    error: BaseException | None = None


class Engine(Protocol):
    """Runs tasks. Use it as a context manager: leaving it ends its workers at once.

    workers: how many tasks run at a time, known once it is entered; threads: how many each may use;
    remote: whether workers may be on other machines, which may not see this one's files;
    max_payload_bytes: what it can send to them, None where there is no limit.
    """

    name: str
    runs_here: bool
    max_payload_bytes: int | None

    @property
    def workers(self) -> int: ...

    @property
    def threads(self) -> int: ...

    @property
    def remote(self) -> bool: ...

    @property
    def peak_memory_mb(self) -> float: ...

    def start(self, modules: Sequence[str]) -> None:
        """Gets workers ready ahead where that can be done: they import these modules, no more."""
        ...

    def map(
        self, task: Task[Item, Result], items: Iterable[Item], payload: object
    ) -> Iterator[tuple[Item, Result | Failure]]:
        """Yields each item with its result as they complete. A task never raises through it."""
        ...

    @property
    def notice(self) -> str | None:
        """What a user may want to know of it while it runs."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest tells of its work: `retries`, how many attempts were lost, and more."""
        ...

    def __enter__(self) -> Engine: ...

    def __exit__(self, *exc_info: object) -> None: ...


def usable_cores() -> int:
    """The cores that this process may use: its affinity, and its container's quota on Linux."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        cores = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup v2, or no quota ("max")
        pass
    return cores
