"""A worker process of the local engine: takes items from its connection, sends back results."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Load:
    """The task and its payload, pickled: what the items to come are for."""

    pickled: bytes


@dataclass(frozen=True)
class Reply:
    """A result, or what the task raised (a picklable exception), and the worker's peak memory."""

    result: Any
    error: BaseException | None
    peak_memory_mb: float


def peak_memory_mb() -> float:
    """The most memory that this process has had resident, in MB (10⁶ bytes)."""
    try:
        status = Path("/proc/self/status").read_text()
        # Not getrusage's: that one starts with what the parent had when it made this process.
        return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    except OSError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main(descriptor: int) -> None:
    """Works until the other end of the connection closes, then exits at once, busy or not."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(descriptor)
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, inbox), daemon=True).start()
    task: Any = None
    payload: Any = None
    while True:
        message = inbox.get()
        if isinstance(message, Load):
            # From the parent process alone, over a socket pair that nobody else can reach.
            task, payload = pickle.loads(message.pickled)  # noqa: S301
            continue
        result, error = None, None
        try:
            result = task(message, payload)
        except Exception as exc:
            error = _picklable(exc)
        connection.send(Reply(result, error, peak_memory_mb()))


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
