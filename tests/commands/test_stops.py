"""Runs that are stopped, killed, or lose a worker, as real processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from conftest import Ended, Pomona, draw_photos, tables, wait_for
from log_events import log_events
from pomona.commands.progress import open_progress


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many images that a run of them can be caught at work."""
    return draw_photos(tmp_path_factory.mktemp("many"), 160)


@pytest.fixture(scope="module")
def undisturbed(
    pomona: Pomona, many: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes | None]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    pomona.done("run", many, out, "--workers", "2")
    return tables(out)


class Caught:
    """A run that is at work, in a process group of its own."""

    def __init__(self, pomona: Pomona, many: Path, folder: Path) -> None:
        self.command = ["run", many, folder / "out", "--workers", "2"]
        self.out = folder / "out"
        self.log = folder / "log"
        self._mark = str(folder)
        self._pomona = replace(pomona, env={"POMONA_TEST": self._mark})
        self.process = self._pomona.start(*self.command, "--log-file", self.log)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Waits for the condition, which must come before the run's end."""
        wait_for(lambda: condition() or self.process.poll() is not None)
        assert self.process.poll() is None

    def has_progress(self) -> bool:
        return any(line["event"] == "progress" for line in log_events(self.log))

    def is_importing(self) -> bool:
        """It has started its workers, and imports what it needs itself."""
        return bool(psutil.Process(self.process.pid).children())

    def has_lock(self) -> bool:
        return (self.out / "_pomona" / "lock").exists()

    def processes(self) -> list[psutil.Process]:
        """All processes that the run started, itself included."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("POMONA_TEST") == self._mark:
                    found.append(process)
        return found

    def end(self) -> Ended:
        return self._pomona.end(self.process)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_stopped_before_it_began(
    pomona: Pomona, many: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    caught = Caught(pomona, many, tmp_path)
    caught.wait_until(caught.is_importing)
    caught.process.send_signal(number)
    ended = caught.end()
    assert (ended.status, ended.stdout) == (status, "")
    assert "Traceback" not in ended.stderr
    assert f"continue with: pomona run {many} {caught.out} --workers 2" in ended.stderr
    wait_for(lambda: caught.processes() == [])


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("moment", [Caught.has_lock, Caught.has_progress])
def test_a_stopped_run(
    pomona: Pomona,
    many: Path,
    undisturbed: dict[str, bytes | None],
    tmp_path: Path,
    moment: Callable[[Caught], bool],
    number: signal.Signals,
    status: int,
) -> None:
    caught = Caught(pomona, many, tmp_path)
    caught.wait_until(lambda: moment(caught))
    os.killpg(caught.process.pid, number)
    ended = caught.end()
    assert (ended.status, ended.stdout) == (status, "")
    assert "Traceback" not in ended.stderr
    assert f"continue with: pomona run {many} {caught.out} --workers 2" in ended.stderr
    assert caught.processes() == []
    last = log_events(caught.log)[-1]
    assert (last["event"], last["status"]) == ("over", status)

    pomona.done(*caught.command)
    assert tables(caught.out) == undisturbed


def test_a_killed_run(
    pomona: Pomona, many: Path, undisturbed: dict[str, bytes | None], tmp_path: Path
) -> None:
    caught = Caught(pomona, many, tmp_path)
    caught.wait_until(caught.has_progress)
    workers = [process for process in caught.processes() if process.pid != caught.process.pid]
    assert len(workers) == 2
    caught.process.kill()
    assert caught.end().status == -signal.SIGKILL
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert alive == []

    pomona.done(*caught.command)
    assert tables(caught.out) == undisturbed
    assert list((caught.out / "_pomona" / "tmp").iterdir()) == []


def test_a_killed_worker_does_not_end_the_run(
    pomona: Pomona, many: Path, undisturbed: dict[str, bytes | None], tmp_path: Path
) -> None:
    caught = Caught(pomona, many, tmp_path)
    caught.wait_until(caught.has_progress)
    victim = psutil.Process(caught.process.pid).children()[0]
    victim.kill()
    ended = caught.end()
    assert ended.status == 0, ended
    assert tables(caught.out) == undisturbed


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_no_byte(
    pomona: Pomona,
    many: Path,
    undisturbed: dict[str, bytes | None],
    tmp_path: Path,
    workers: int,
) -> None:
    pomona.done("run", many, tmp_path / "out", "--workers", workers)
    assert tables(tmp_path / "out") == undisturbed


def test_a_step_may_end_after_the_command_is_over(tmp_path: Path) -> None:
    """As a generator does that a signal has cut short, when it is collected."""
    log = tmp_path / "log"
    progress = open_progress(quiet=True, log_file=log)
    progress.begin("extract", 1)
    progress.over(143)
    progress.end()
    assert [json.loads(line)["event"] for line in log.read_text().splitlines()] == ["begin", "over"]
