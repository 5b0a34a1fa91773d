"""Worker processes: each takes tasks and items from its connection and sends back results."""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from pomona.errors import EngineError
from pomona.memory import forgo_pandas, peak_memory_mb

BOOTSTRAP = (
    "import sys; modules = sys.argv[2].split(); sys.path[:] = sys.argv[3:]; "
    "from pomona.engines.workers import main; main(int(sys.argv[1]), modules)"
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
# Arrow's own allocators keep what was freed: 20 MB in a worker, in the driver 1 kB an image.
ARROW_MEMORY = {"ARROW_DEFAULT_MEMORY_POOL": "system"}
ENVIRONMENT = {**ONE_THREAD, **ARROW_MEMORY}


@dataclass(frozen=True)
class Load:
    """A message: the task and the payload of the items to come, pickled."""

    pickled: bytes


@dataclass(frozen=True)
class Reply:
    """The outcome of an item.

    Parameters
    ----------
    result
        What the task returned.
    error : BaseException, optional
        What it raised, picklable.
    peak_memory_mb : float
        The most memory that the worker has had so far, in MB (10⁶ bytes).
    """

    result: Any
    error: BaseException | None
    peak_memory_mb: float


@dataclass
class Worker:
    """A worker process, and the item that it has. Ending the connection ends the process."""

    process: subprocess.Popen[bytes]
    connection: Connection[Any, Any]
    loaded: bytes | None = None
    item: Any = None
    attempt: int = 0

    @classmethod
    def start(cls, stderr: int | None = None, modules: Sequence[str] = ()) -> Worker:
        """Starts a worker.

        Parameters
        ----------
        stderr : int, optional
            A descriptor for its standard error. None: this process's, if it has one.
        modules : sequence of str
            What it imports before its first item comes.

        Raises
        ------
        EngineError
            If it cannot be started.
        """
        if stderr is None and sys.stderr is None:
            stderr = subprocess.DEVNULL
        ours, theirs = socket.socketpair()
        with theirs:
            number = str(theirs.fileno())
            try:
                process = subprocess.Popen(  # noqa: S603 - this interpreter, with fixed code
                    [sys.executable, "-c", BOOTSTRAP, number, " ".join(modules), *sys.path],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    env={**os.environ, **ENVIRONMENT},
                    start_new_session=True,  # Ctrl-C is the driver's, which ends its workers
                )
            except OSError as exc:
                ours.close()
                raise EngineError(
                    f"cannot start a worker with {sys.executable}: {exc.strerror}; "
                    "check that Python may be run"
                ) from exc
        return cls(process, Connection(ours.detach()))

    def give(self, pickled: bytes, item: Any, attempt: int = 1) -> None:
        """Sends an item, after the task if that is another one. A dead worker shows later.

        Parameters
        ----------
        pickled : bytes
            `(task, payload)`, with which the worker calls `task(item, payload, attempt)`.
        item
            The item.
        attempt : int
            Its attempt.
        """
        self.item, self.attempt = item, attempt
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if self.loaded is not pickled:
                self.connection.send(Load(pickled))
                self.loaded = pickled
            self.connection.send((item, attempt))

    def end(self) -> int:
        """Ends the process if it still runs; returns its exit status, or a signal's −number."""
        self.connection.close()
        self.process.kill()
        return self.process.wait()


def describe_exit(status: int) -> str:
    """Returns in words what `Worker.end` returned."""
    if status < 0:
        return f"killed by signal {-status} ({signal.strsignal(-status)})"
    return f"exit status {status}"


def main(descriptor: int, modules: Sequence[str]) -> None:
    """Works until the other end of the connection closes, then exits at once, busy or not."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(descriptor)
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, inbox), daemon=True).start()
    forgo_pandas()
    for module in modules:
        # A module that fails says so where it is needed, in the task.
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    task: Any = None
    payload: Any = None
    while True:
        message = inbox.get()
        if isinstance(message, Load):
            # From the parent process alone, over a socket pair that nobody else can reach.
            task, payload = pickle.loads(message.pickled)  # noqa: S301
            continue
        item, attempt = message
        connection.send(perform(task, item, payload, attempt))


def perform(task: Any, item: Any, payload: Any, attempt: int) -> Reply:
    """Calls `task(item, payload, attempt)`, and returns what it returned or raised."""
    result, error = None, None
    try:
        result = task(item, payload, attempt)
    except Exception as exc:
        error = _picklable(exc)
    return Reply(result, error, peak_memory_mb())


def _receive(connection: Connection[Any, Any], inbox: queue.SimpleQueue[Any]) -> None:
    try:
        while True:
            inbox.put(connection.recv())
    finally:
        os._exit(0)


def _picklable(exc: Exception) -> BaseException:
    try:
        pickle.loads(pickle.dumps(exc))  # noqa: S301
    except Exception:
        return RuntimeError(f"{type(exc).__name__}: {exc}")
    return exc
