"""A worker process by itself: what it is given, what it sends back, and how it ends."""

from __future__ import annotations

import pickle
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

import engine_tasks as tasks
from pomona.engines.workers import Reply, Worker, describe_exit, perform
from pomona.errors import EngineError


@pytest.fixture
def worker() -> Iterator[Worker]:
    started = Worker.start(stderr=subprocess.DEVNULL)
    yield started
    started.end()


def answer(worker: Worker, task: Any, item: int) -> Reply:
    worker.give(pickle.dumps((task, None)), item)
    reply: Reply = worker.connection.recv()
    return reply


def test_a_worker_does_one_task_after_another(worker: Worker) -> None:
    assert answer(worker, tasks.square, 3).result == 9
    assert answer(worker, tasks.raise_on_odd, 2).result == 2
    assert str(answer(worker, tasks.raise_on_odd, 3).error) == "3 is odd"
    assert answer(worker, tasks.square, 4).result == 16


def test_a_module_that_cannot_be_imported_ahead_is_no_harm() -> None:
    worker = Worker.start(modules=["not.there", "engine_tasks"])
    try:
        assert answer(worker, tasks.square, 3).result == 9
    finally:
        worker.end()


def test_a_busy_worker_ends_with_its_connection(worker: Worker) -> None:
    worker.give(pickle.dumps((tasks.hang, None)), 3)
    worker.connection.close()
    assert worker.process.wait(timeout=60) == 0


def test_a_dead_worker_shows_where_its_reply_is_read(worker: Worker) -> None:
    worker.process.kill()
    worker.process.wait()
    worker.give(pickle.dumps((tasks.square, None)), 3)
    with pytest.raises((EOFError, ConnectionResetError)):
        worker.connection.recv()
    assert describe_exit(worker.end()) == "killed by signal 9 (Killed)"


def test_an_exit_status_is_told_in_words() -> None:
    assert describe_exit(7) == "exit status 7"
    assert describe_exit(-signal.SIGSEGV) == "killed by signal 11 (Segmentation fault)"


def test_what_a_task_raises_travels_or_is_told_in_words() -> None:
    assert isinstance(perform(tasks.raise_on_odd, 1, None, 1).error, ValueError)
    error = perform(tasks.raise_unpicklable, 1, None, 1).error
    assert str(error) == "UnpicklableError: it holds a lock"
    assert pickle.loads(pickle.dumps(error)).args == error.args  # type: ignore[union-attr]  # noqa: S301


def test_a_python_that_cannot_be_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(EngineError, match="cannot start a worker with /nowhere/python: No such"):
        Worker.start()
