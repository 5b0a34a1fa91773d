"""The local engine: a pool of processes on this machine.

Not concurrent.futures: there one killed worker fails every pending future, and the spawned
processes import the user's script again, which must then be guarded.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from pomona.engines import Failure
from pomona.engines.worker import Load, Reply
from pomona.errors import EngineError

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_ATTEMPTS = 4
BOOTSTRAP = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from pomona.engines.worker import main; main(int(sys.argv[1]))"
)
# A worker is one thread wide: as many workers as cores share nothing and wait for nothing.
ONE_THREAD = dict.fromkeys(
    [
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "OPENCV_FOR_THREADS_NUM",
    ],
    "1",
)


@dataclass
class Worker:
    """A worker process and what it is at. Ending the connection ends the process."""

    process: subprocess.Popen[bytes]
    connection: Connection[Any, Any]
    loaded: bytes | None = None
    item: Any = None
    attempt: int = 0

    @classmethod
    def start(cls) -> Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = subprocess.Popen(  # noqa: S603 - this interpreter, with fixed code
                    [sys.executable, "-c", BOOTSTRAP, str(theirs.fileno()), *sys.path],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env={**os.environ, **ONE_THREAD},
                    start_new_session=True,  # Ctrl-C is the driver's, which ends its workers
                )
            except OSError as exc:
                raise EngineError(
                    f"cannot start a worker with {sys.executable}: {exc.strerror}; "
                    "check that Python may be run"
                ) from exc
        return cls(process, Connection(ours.detach()))

    def give(self, pickled: bytes, item: Any, attempt: int) -> None:
        """Sends an item, and the task first if it is another one. A dead worker shows later."""
        self.item, self.attempt = item, attempt
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if self.loaded is not pickled:
                self.connection.send(Load(pickled))
                self.loaded = pickled
            self.connection.send(item)

    def end(self) -> str:
        """Ends the process if it still runs; says how it ended."""
        self.connection.close()
        self.process.kill()
        status = self.process.wait()
        if status < 0:
            return f"killed by signal {-status} ({signal.strsignal(-status)})"
        return f"exit status {status}"


@dataclass
class LocalEngine:
    """Processes on this machine, kept from one map to the next."""

    workers: int
    name: str = "local"
    peak_memory_mb: float = 0.0
    _pool: list[Worker] = field(default_factory=list)

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(self, *exc_info: object) -> None:
        while self._pool:
            self._pool.pop().end()

    def map(
        self, task: Callable[[Item, Any], Result], items: Iterable[Item], payload: object
    ) -> Iterator[tuple[Item, Result | Failure]]:
        """Yields each item with its result as they complete.

        An item whose worker dies is given to another one, `MAX_ATTEMPTS` times in all. Leaving
        the iteration early leaves no worker busy.
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
                        reply: Reply = worker.connection.recv()
                    except (EOFError, ConnectionResetError):
                        how = worker.end()
                        if worker.attempt < MAX_ATTEMPTS:
                            again.append((worker.item, worker.attempt + 1))
                        else:
                            message = f"its worker died {worker.attempt} times: {how}"
                            finished.append((worker.item, Failure(message)))
                        continue
                    self._pool.append(worker)
                    self.peak_memory_mb = max(self.peak_memory_mb, reply.peak_memory_mb)
                    failure = reply.error and Failure(str(reply.error), reply.error)
                    finished.append((worker.item, failure or reply.result))
        finally:
            for worker in busy:
                worker.end()
