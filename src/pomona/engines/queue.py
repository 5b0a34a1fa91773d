"""A queue of items that arrive one by one, run in batches by worker processes of this machine.

The local engine maps a task over items that are all there; a server's items come while it runs.
The workers are the same.
"""

from __future__ import annotations

import pickle
import queue
import signal
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pomona.engines.base import MAX_ATTEMPTS, Failure, Task
from pomona.engines.workers import Reply, Worker, describe_exit
from pomona.errors import EngineError

Item = TypeVar("Item")
Result = TypeVar("Result")

# An idle worker's death is noticed within so many seconds; one that dies at once is started again
# after as many.
LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Died(Failure):
    """The result of an item that ended its workers.

    Parameters
    ----------
    status : int
        The last worker's exit status, or a signal's −number.
    """

    status: int = 0


@dataclass(frozen=True)
class Loaded(Generic[Item, Result]):
    """A task with its payload, as workers take it: `BatchQueue.load` makes one."""

    pickled: bytes = field(repr=False)


@dataclass
class _Waiting:
    """An item that waits for a worker."""

    item: Any
    loaded: Loaded[Any, Any]
    result: Future[Any]
    deaths: int = 0


class BatchQueue:
    """Runs items in batches; each batch is what waits when a worker is free.

    The task is a module-level function `task(items, payload, attempt)` that returns a list of as
    many results. With no items, it prepares the worker for those to come. The items of a worker
    that dies are tried again, each alone: one that ends its worker then is to blame, and costs no
    other its result. Where something else killed the worker, an item has `MAX_ATTEMPTS` in all.

    Parameters
    ----------
    workers : int
        How many worker processes.
    batch : int
        The most items of a batch.
    waiting : int
        The most items that wait.
    """

    def __init__(self, workers: int, *, batch: int, waiting: int) -> None:
        self.workers, self.batch, self.most_waiting = workers, batch, waiting
        self.deaths = 0
        self.ready = 0
        self._loaded: Loaded[Any, Any] | None = None
        self._waiting: deque[_Waiting] = deque()
        self._idle = 0
        self._change = threading.Condition()
        self._is_closed = False
        self._failure: Failure | None = None
        self._running: list[Worker] = []
        self._threads = [
            threading.Thread(target=self._serve, name=f"worker {number}", daemon=True)
            for number in range(workers)
        ]

    @property
    def waiting(self) -> int:
        """How many items wait."""
        return len(self._waiting)

    @staticmethod
    def load(task: Task[list[Item], list[Result]], payload: object) -> Loaded[Item, Result]:
        """Prepares a task with its payload, to be sent to each worker once."""
        return Loaded(pickle.dumps((task, payload), protocol=5))

    def start(self, loaded: Loaded[Any, Any], modules: Sequence[str] = ()) -> None:
        """Starts the workers, and waits until all are ready for a task.

        Parameters
        ----------
        loaded : Loaded
            What they are made ready for; so are those that take the place of dead ones.
        modules : sequence of str
            What they import first.

        Raises
        ------
        Exception
            What the task raised.
        EngineError
            If a worker cannot be started.
        """
        self._loaded = loaded
        self._running = [Worker.start(modules=modules) for _ in range(self.workers)]
        for thread in self._threads:
            thread.start()
        with self._change:
            self._change.wait_for(lambda: self._failure or self.ready == self.workers)
            failure = self._failure
        if isinstance(failure, Died):
            raise EngineError(f"a worker died at its start: {describe_exit(failure.status)}")
        if failure and failure.error:
            raise failure.error

    def prepare(self, loaded: Loaded[Any, Any]) -> None:
        """Has workers that are started from now on be ready for another task."""
        self._loaded = loaded

    def submit(self, item: Item, loaded: Loaded[Item, Result]) -> Future[Result | Failure]:
        """Puts an item at the end of the queue.

        Returns
        -------
        Future
            Its result, or a `Failure`: `Died` if its workers died. It may be cancelled as long as
            the item waits.

        Raises
        ------
        queue.Full
            If too many items wait.
        """
        result: Future[Result | Failure] = Future()
        with self._change:
            if self._is_closed or len(self._waiting) >= self.most_waiting:
                raise queue.Full
            self._waiting.append(_Waiting(item, loaded, result))
            self._change.notify()
        return result

    def close(self) -> None:
        """Ends the workers; items without a result are cancelled."""
        with self._change:
            self._is_closed = True
            for each in self._waiting:
                each.result.cancel()
            self._waiting.clear()
            self._change.notify_all()
            for worker in self._running:
                worker.process.kill()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _serve(self) -> None:
        """The life of a thread: it gives batches to a worker, and starts another when that dies."""
        with self._change:
            worker = self._running[self._threads.index(threading.current_thread())]
        try:
            while not self._is_closed:
                if self._make_ready(worker):
                    self._work(worker)
                worker = self._replace(worker)
        finally:
            worker.end()

    def _make_ready(self, worker: Worker) -> bool:
        """Whether the worker lives and could be prepared."""
        assert self._loaded is not None  # noqa: S101 - as `start` has set it
        reply = self._ask(worker, self._loaded, [], 1)
        with self._change:
            if isinstance(reply, Failure):
                self._failure = self._failure or reply
            else:
                self.ready += 1
            self._change.notify_all()
        return not isinstance(reply, Failure)

    def _work(self, worker: Worker) -> None:
        """Gives batches to a worker until it dies."""
        while batch := self._next(worker):
            attempt = 1 + batch[0].deaths
            reply = self._ask(worker, batch[0].loaded, [each.item for each in batch], attempt)
            if isinstance(reply, Died):
                self._lost(batch, reply)
                return
            results = [reply] * len(batch) if isinstance(reply, Failure) else reply
            for each, result in zip(batch, results, strict=True):
                each.result.set_result(result)

    def _next(self, worker: Worker) -> list[_Waiting]:
        """The next batch; none once the queue is closed or the worker has died."""
        with self._change:
            self._idle += 1
            while not self._waiting and not self._is_closed:
                self._change.wait(LOOK_EVERY_S)
                if worker.process.poll() is not None:
                    break
            self._idle -= 1
            if self._is_closed or worker.process.poll() is not None:
                self._change.notify()  # another one may have to take what waits
                self.ready -= 1
                return []
            # Fair shares, so that no idle worker finds the queue empty.
            share = min(self.batch, -(-len(self._waiting) // (1 + self._idle)))
            batch: list[_Waiting] = []
            while self._waiting and len(batch) < share:
                first = self._waiting[0]
                if batch and (first.deaths or first.loaded is not batch[0].loaded):
                    break
                self._waiting.popleft()
                if first.deaths or first.result.set_running_or_notify_cancel():
                    batch.append(first)
                if first.deaths:
                    break
        return batch or self._next(worker)

    def _ask(
        self, worker: Worker, loaded: Loaded[Any, Any], items: list[Any], attempt: int
    ) -> list[Any] | Failure:
        worker.give(loaded.pickled, items, attempt)
        try:
            reply: Reply = worker.connection.recv()
        except (EOFError, OSError):
            return Died("its worker died", status=worker.end())
        if reply.error:
            return Failure(str(reply.error), reply.error)
        return list(reply.result)

    def _lost(self, batch: list[_Waiting], death: Died) -> None:
        """Puts the items of a dead worker before all others, to be tried alone."""
        with self._change:
            self.ready -= 1
            # Alone it is to blame, unless somebody else ended the worker: a person, or the system.
            is_blamed = len(batch) == 1 and death.status != -signal.SIGKILL
            for each in reversed(batch):
                each.deaths += MAX_ATTEMPTS if is_blamed else 1
                if each.deaths < MAX_ATTEMPTS and not self._is_closed:
                    self._waiting.appendleft(each)
                else:
                    each.result.set_result(death)
            self._change.notify_all()

    def _replace(self, dead: Worker) -> Worker:
        """Ends a dead worker, and returns another one that was started in its place."""
        dead.end()
        with self._change:
            self.deaths += not self._is_closed
        while not self._is_closed:
            if self._failure is not None:  # it died before it was ready: not again at once
                with self._change:
                    self._change.wait_for(lambda: self._is_closed, LOOK_EVERY_S)
            self._failure = None
            try:
                worker = Worker.start()
            except EngineError as exc:
                self._failure = Failure(str(exc), exc)
                continue
            with self._change:
                self._running = [worker if each is dead else each for each in self._running]
                if self._is_closed:
                    worker.process.kill()
            return worker
        return dead
