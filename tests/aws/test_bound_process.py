"""What the tests' YARN is started by: nothing outlives the process that started it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from bound_process import BoundProcess

from conftest import wait_for

# A child, and an orphan in a session of its own, as the containers of a node are.
FAMILY = ["sh", "-c", "setsid sleep 600 & setsid sh -c 'sleep 600 & sleep 600' & wait"]
MEMBERS = 5
CALLER = """
import os, sys, time
from pathlib import Path
from bound_process import BoundProcess
bound = BoundProcess(sys.argv[2:], Path(sys.argv[1]), "family", dict(os.environ))
print(bound.pid, flush=True)
time.sleep(600)
"""

pytestmark = pytest.mark.needs("linux")


def family(pid: int) -> list[psutil.Process]:
    found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    return found


def are_gone(processes: list[psutil.Process]) -> bool:
    return not [each for each in processes if each.is_running()]


def test_all_end_with_a_caller_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CALLER, str(tmp_path), *FAMILY]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env) as caller:
        assert caller.stdout is not None
        pid = int(caller.stdout.readline())
        wait_for(lambda: len(family(pid)) == MEMBERS)
        processes = [psutil.Process(pid), *family(pid)]
        caller.kill()
    wait_for(lambda: are_gone(processes))


def test_all_end_with_the_command_or_when_they_are_told_to(tmp_path: Path) -> None:
    told = BoundProcess(FAMILY, tmp_path, "told", dict(os.environ))
    wait_for(lambda: len(family(told.pid)) == MEMBERS)
    processes = family(told.pid)
    assert told.poll() is None
    told.end()
    assert are_gone(processes)
    script = 'setsid sleep 600 & echo "$!"; echo no >&2; exit 3'
    ended = BoundProcess(["sh", "-c", script], tmp_path, "ended", dict(os.environ))
    assert ended.wait(60) == 3
    assert not psutil.pid_exists(int(ended.stdout.read_text()))
    assert ended.stderr.read_text() == "no\n"
    ended.end()
