"""The local engine: a pool of processes on this machine.

Not concurrent.futures: there one killed worker fails every pending future, and the spawned
processes import the user's script again, which must then be guarded.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Any, TypeVar

from pomona.engines.base import MAX_ATTEMPTS, Failure, Task
from pomona.engines.workers import Reply, Worker, describe_exit

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class LocalEngine:
    """Processes on this machine, kept from one map to the next.

    Parameters
    ----------
    workers : int
        How many.
    """

    workers: int
    name: str = "local"
    runs_here: bool = True
    threads: int = 1
    remote: bool = False
    max_payload_bytes: int | None = None
    peak_memory_mb: float = 0.0
    notice: str | None = None
    _retries: int = 0
    _pool: list[Worker] = field(default_factory=list)

    @property
    def facts(self) -> dict[str, Any]:
        return {"retries": self._retries}

    def start(self, modules: Sequence[str]) -> None:
        while len(self._pool) < self.workers:
            self._pool.append(Worker.start(modules=modules))

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(self, *exc_info: object) -> None:
        while self._pool:
            self._pool.pop().end()

    def map(
        self, task: Task[Item, Result], items: Iterable[Item], payload: object
    ) -> Iterator[tuple[Item, Result | Failure]]:
        """Yields each item with its result as they complete.

        An item whose worker dies goes to another one, `MAX_ATTEMPTS` times in all. Leaving the
        iteration early leaves no worker busy.
        """
        pickled = pickle.dumps((task, payload), protocol=5)
        waiting: Iterator[Item] = iter(items)
        again: deque[tuple[Item, int]] = deque()
        busy: list[Worker] = []
        finished: list[tuple[Item, Result | Failure]] = []
        try:
            while True:
                while len(busy) < self.workers:
                    try:
                        item, attempt = again.popleft() if again else (next(waiting), 1)
                    except StopIteration:
                        break
                    worker = self._pool.pop() if self._pool else Worker.start()
                    busy.append(worker)
                    worker.give(pickled, item, attempt)
                yield from finished
                finished.clear()
                if not busy:
                    return
                ready = wait([worker.connection for worker in busy])
                for worker in [worker for worker in busy if worker.connection in ready]:
                    busy.remove(worker)
                    try:
                        result = self._receive(worker)
                    except (EOFError, ConnectionResetError):
                        death = describe_exit(worker.end())
                        if worker.attempt < MAX_ATTEMPTS:
                            self._retries += 1
                            again.append((worker.item, worker.attempt + 1))
                            continue
                        result = Failure(f"its worker died {worker.attempt} times: {death}")
                    finished.append((worker.item, result))
        finally:
            for worker in busy:
                worker.end()

    def _receive(self, worker: Worker) -> Any:
        """Returns a worker's result, and puts the worker back; raises if it has died."""
        reply: Reply = worker.connection.recv()
        self._pool.append(worker)
        self.peak_memory_mb = max(self.peak_memory_mb, reply.peak_memory_mb)
        return Failure(str(reply.error), reply.error) if reply.error else reply.result
