"""The queue: items that come one by one, in batches, whatever becomes of the workers."""

from __future__ import annotations

import os
import queue
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import TIMEOUT_S, wait_for
from engine_tasks import square_all
from pomona.engines.base import Failure
from pomona.engines.queue import BatchQueue, Died, Loaded


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded[Any, int]:
    return BatchQueue.load(square_all, tmp_path)


@pytest.fixture
def batches(loaded: Loaded[Any, int]) -> Iterator[BatchQueue]:
    running = BatchQueue(1, batch=4, waiting=6)
    running.start(loaded)
    yield running
    running.close()


def given(folder: Path) -> list[str]:
    """The items of each batch that a worker was given, in their order."""
    return [path.read_text() for path in sorted(folder.glob("*-*"))]


def test_what_waits_is_the_next_batch(
    batches: BatchQueue, loaded: Loaded[Any, int], tmp_path: Path
) -> None:
    first = batches.submit("wait", loaded)
    wait_for(lambda: "wait" in given(tmp_path))
    later = [batches.submit(number, loaded) for number in range(6)]
    with pytest.raises(queue.Full):
        batches.submit(7, loaded)
    assert later[1].cancel()
    (tmp_path / "go").touch()
    assert first.result(TIMEOUT_S) == 0
    assert [each.result(TIMEOUT_S) for each in (later[0], *later[2:])] == [0, 4, 9, 16, 25]
    assert given(tmp_path) == ["", "wait", "0 2 3 4", "5"]


def test_a_batch_has_one_payload(
    batches: BatchQueue, loaded: Loaded[Any, int], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    first = batches.submit("wait", loaded)
    wait_for(lambda: "wait" in given(tmp_path))
    another = BatchQueue.load(square_all, other)
    results = [batches.submit(2, each) for each in (loaded, another, another, loaded)]
    (tmp_path / "go").touch()
    assert [each.result(TIMEOUT_S) for each in (first, *results)] == [0, 4, 4, 4, 4]
    assert given(tmp_path) == ["", "wait", "2", "2"]
    assert given(other) == ["2 2"]


def test_an_item_that_ends_its_worker_costs_no_other(
    batches: BatchQueue, loaded: Loaded[Any, int], tmp_path: Path
) -> None:
    first = batches.submit("wait", loaded)
    wait_for(lambda: "wait" in given(tmp_path))
    results = [batches.submit(item, loaded) for item in (2, "crash", 3)]
    (tmp_path / "go").touch()
    assert first.result(TIMEOUT_S) == 0
    two, crashed, three = (each.result(TIMEOUT_S) for each in results)
    assert (two, three) == (4, 9)
    assert isinstance(crashed, Died)
    assert crashed.status == -signal.SIGSEGV
    assert batches.deaths == 2
    # Alone it is to blame at once.
    assert isinstance(batches.submit("crash", loaded).result(TIMEOUT_S), Died)
    assert batches.deaths == 3
    assert batches.submit(4, loaded).result(TIMEOUT_S) == 16
    assert batches.ready == 1


def test_a_worker_that_is_killed_costs_nothing(
    batches: BatchQueue, loaded: Loaded[Any, int], tmp_path: Path
) -> None:
    result = batches.submit("wait", loaded)
    wait_for(lambda: "wait" in given(tmp_path))
    [worker] = [int(path.name.split("-")[1]) for path in sorted(tmp_path.glob("*-*"))[-1:]]
    os.kill(worker, signal.SIGKILL)
    (tmp_path / "go").touch()
    assert result.result(TIMEOUT_S) == 0
    # An idle one is replaced before anybody asks.
    idle = int(sorted(tmp_path.glob("*-*"))[-1].name.split("-")[1])
    os.kill(idle, signal.SIGKILL)
    wait_for(lambda: batches.deaths == 2 and batches.ready == 1)


def test_what_the_task_raises_is_the_result(batches: BatchQueue, loaded: Loaded[Any, int]) -> None:
    result = batches.submit("raise", loaded).result(TIMEOUT_S)
    assert isinstance(result, Failure)
    assert isinstance(result.error, ValueError)
    assert batches.deaths == 0


def test_a_worker_that_cannot_be_prepared_stops_the_start(tmp_path: Path) -> None:
    broken = BatchQueue(2, batch=4, waiting=6)
    try:
        with pytest.raises(FileNotFoundError):
            broken.start(BatchQueue.load(square_all, tmp_path / "nowhere"))
    finally:
        broken.close()


def test_closing_cancels_what_waits(loaded: Loaded[Any, int], tmp_path: Path) -> None:
    closing = BatchQueue(1, batch=1, waiting=6)
    closing.start(loaded)
    has_begun = closing.submit("wait", loaded)
    wait_for(lambda: "wait" in given(tmp_path))
    waits = closing.submit(2, loaded)
    closing.close()
    assert waits.cancelled()
    assert isinstance(has_begun.result(TIMEOUT_S), Died)
    with pytest.raises(queue.Full):
        closing.submit(3, loaded)
