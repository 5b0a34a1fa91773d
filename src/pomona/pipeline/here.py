"""Tasks on this machine, whichever engine a command has."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from pomona.engines.base import Engine, Failure
from pomona.engines.local import LocalEngine

if TYPE_CHECKING:
    from pomona.report.thumbnails import MapHere

Item = TypeVar("Item")
Payload = TypeVar("Payload")
Result = TypeVar("Result")


@contextlib.contextmanager
def map_here(engine: Engine | None = None) -> Iterator[MapHere]:
    """Gives what runs a task in worker processes on this machine.

    Parameters
    ----------
    engine : Engine, optional
        The command's engine, which runs the tasks if its workers are on this machine. Otherwise a
        worker is started for the first task, and ends with the context.

    Yields
    ------
    MapHere
        A callable that takes a task, items and a payload, and yields results.
    """
    with contextlib.ExitStack() as stack:
        here = engine if engine and engine.runs_here else stack.enter_context(LocalEngine(1))

        def run(
            task: Callable[[Item, Payload, int], Result],
            items: Iterable[Item],
            payload: Payload,
            /,
        ) -> Iterator[Result]:
            for _, result in here.map(task, items, payload):
                if not isinstance(result, Failure):
                    yield result
                elif result.error:
                    raise result.error

        yield run


def threads_here(engine: Engine) -> int:
    """How many threads of this process may compute: as many as workers, if these are here.

    A driver of workers elsewhere may share its machine.
    """
    return 1 if engine.remote else engine.workers
