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
    """A module-level function, for one item.

    Parameters
    ----------
    item
        What to do; small.
    payload
        What all items share.
    attempt : int
        1 at first, one more after each worker that died of the item.
    """

    __name__: str

    def __call__(self, item: TaskItem, payload: Any, attempt: int, /) -> TaskResult: ...


@dataclass(frozen=True)
class Failure:
    """The result of an item that no attempt could finish.

    Parameters
    ----------
    message : str
        Why.
    error : BaseException, optional
        The exception that the task raised. None: its workers died.
    """

    message: str
    error: BaseException | None = None


class Engine(Protocol):
    """Runs tasks. Use it as a context manager: leaving it ends its workers at once.

    Attributes
    ----------
    name : str
        As users choose it.
    runs_here : bool
        Whether its workers are processes that this one starts. Known before it is entered.
    max_payload_bytes : int or None
        The largest payload that it can send to workers. None: there is no limit.
    """

    name: str
    runs_here: bool
    max_payload_bytes: int | None

    @property
    def workers(self) -> int:
        """How many tasks run at a time. Known once it is entered."""
        ...

    @property
    def threads(self) -> int:
        """How many threads each task may use."""
        ...

    @property
    def remote(self) -> bool:
        """Whether workers may be on other machines, which may not see this one's files."""
        ...

    @property
    def peak_memory_mb(self) -> float:
        """The most memory that a worker has had, in MB (10⁶ bytes)."""
        ...

    def start(self, modules: Sequence[str]) -> None:
        """Starts workers ahead, where that can be done; they import these modules."""
        ...

    def map(
        self, task: Task[Item, Result], items: Iterable[Item], payload: object
    ) -> Iterator[tuple[Item, Result | Failure]]:
        """Yields each item with its result as they complete. A task never raises through it."""
        ...

    @property
    def notice(self) -> str | None:
        """A line that users should read while it runs."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """What a run's entry in the manifest says of it: `retries`, the attempts lost, and more."""
        ...

    def __enter__(self) -> Engine: ...

    def __exit__(self, *exc_info: object) -> None: ...


def usable_cores() -> int:
    """Counts the cores that this process may use, by its affinity and its container's quota."""
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
