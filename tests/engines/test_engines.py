"""The same cases on every engine: what a step may rely on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import engine_tasks as tasks
from conftest import wait_for
from pomona.engines.base import Engine, Failure, usable_cores
from pomona.engines.registry import ENGINES, open_engine
from pomona.errors import UsageError


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with open_engine(request.param, workers=2) as opened:
        yield opened


def test_every_item_comes_back_once_with_its_result(engine: Engine) -> None:
    results = list(engine.map(tasks.square, range(20), None))
    assert sorted(results) == [(item, item * item) for item in range(20)]


def test_no_items_no_results(engine: Engine) -> None:
    assert list(engine.map(tasks.square, [], None)) == []


def test_an_engine_serves_one_map_after_another(engine: Engine) -> None:
    assert dict(engine.map(tasks.square, [2, 3], None)) == {2: 4, 3: 9}
    assert dict(engine.map(tasks.raise_on_odd, [2], None)) == {2: 2}


def test_the_payload_reaches_each_worker_once(engine: Engine, tmp_path: Path) -> None:
    list(engine.map(tasks.square, range(20), tasks.Marked(tmp_path)))
    processes = [path.name.split("-")[0] for path in tmp_path.iterdir()]
    assert 1 <= len(processes) <= engine.workers
    assert len(set(processes)) == len(processes)


def test_an_exception_fails_its_item_alone(engine: Engine) -> None:
    results = dict(engine.map(tasks.raise_on_odd, range(6), None))
    failures = {item: result for item, result in results.items() if isinstance(result, Failure)}
    assert set(failures) == {1, 3, 5}
    assert failures[3].message == "3 is odd"
    assert isinstance(failures[3].error, ValueError)
    assert {item: results[item] for item in (0, 2, 4)} == {0: 0, 2: 2, 4: 4}


def test_an_unpicklable_exception_becomes_a_message(engine: Engine) -> None:
    [(_, failure)] = engine.map(tasks.raise_unpicklable, [1], None)
    assert isinstance(failure, Failure)
    assert failure.message == "UnpicklableError: it holds a lock"


def test_the_item_of_a_killed_worker_is_done_again(engine: Engine, tmp_path: Path) -> None:
    results = list(engine.map(tasks.die_once_on_3, range(10), tmp_path))
    assert sorted(results) == [(item, item) for item in range(10)]


def test_an_item_that_kills_every_worker_fails_alone(engine: Engine, tmp_path: Path) -> None:
    results = dict(engine.map(tasks.die_on_3, range(10), tmp_path))
    failure = results.pop(3)
    assert isinstance(failure, Failure)
    assert "its worker died 4 times" in failure.message
    assert results == {item: item for item in range(10) if item != 3}
    assert len(list(tmp_path.iterdir())) == 4


def test_a_worker_that_exits_is_a_failure(engine: Engine) -> None:
    [(_, failure)] = engine.map(tasks.exit_process, [1], None)
    assert isinstance(failure, Failure)
    assert "its worker died 4 times" in failure.message


def test_the_local_engine_says_how_a_worker_died(tmp_path: Path) -> None:
    with open_engine("local", workers=1) as engine:
        [(_, exited)] = engine.map(tasks.exit_process, [1], None)
        [(_, killed)] = engine.map(tasks.die_on_3, [3], tmp_path)
    assert isinstance(exited, Failure)
    assert "exit status 7" in exited.message
    assert isinstance(killed, Failure)
    assert "signal 9" in killed.message


def test_a_task_gets_the_number_of_its_attempt(engine: Engine, tmp_path: Path) -> None:
    assert list(engine.map(tasks.die_at_first, [1], tmp_path)) == [(1, 3)]
    assert engine.facts["retries"] == 2


@pytest.mark.parametrize("name", ENGINES)
def test_leaving_an_engine_ends_its_workers(name: str) -> None:
    with open_engine(name, workers=2) as left:
        processes = {result for _, result in left.map(tasks.process, range(8), None)}
    assert processes
    wait_for(lambda: not any(psutil.pid_exists(process) for process in processes))


def test_leaving_a_map_early_leaves_the_engine_usable(engine: Engine) -> None:
    results = engine.map(tasks.square, range(100), None)
    assert next(results)[0] < 100
    results.close()  # type: ignore[attr-defined]
    assert dict(engine.map(tasks.square, [5], None)) == {5: 25}


def test_a_worker_computes_on_one_thread(engine: Engine) -> None:
    [(_, threads)] = engine.map(tasks.blas_threads, [0], None)
    assert isinstance(threads, list)
    assert threads
    assert set(threads) == {1}


def test_a_task_that_prints_does_not_mix_with_the_result(
    engine: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    assert list(engine.map(tasks.say, [1], None)) == [(1, 1)]
    assert capfd.readouterr().out == ""


def test_the_peak_memory_of_the_workers_is_known(engine: Engine) -> None:
    list(engine.map(tasks.square, range(4), None))
    assert 5 < engine.peak_memory_mb < 500


@pytest.mark.parametrize("workers", [0, -1])
def test_an_engine_needs_a_worker(workers: int) -> None:
    with pytest.raises(UsageError, match="`workers`"):
        open_engine("local", workers)


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(UsageError, match="unknown engine 'cloud': choose local or spark"):
        open_engine("cloud")


def test_settings_of_spark_are_refused_elsewhere() -> None:
    with pytest.raises(UsageError, match="`master` and `spark_conf` are Spark's: add `engine`"):
        open_engine("local", master="local[2]")


def test_the_default_is_one_worker_a_usable_core() -> None:
    assert open_engine("local").workers == usable_cores()
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
