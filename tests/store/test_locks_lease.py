"""Leases: locks of machines that are gone, and runs whose lock was taken over."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Pomona, tables, wait_for
from pomona.errors import StoreBusyError
from pomona.store.layout import LOCK, PLAN, part_name
from pomona.store.locks import lease
from pomona.store.locks.lease import LEASE_S, Holder, find_holder
from pomona.store.store import Store

ELSEWHERE = Holder("1", "pomona run photos out", 42, "node-7", "another kernel")

HOLDER = """
import itertools, sys
from pomona.store.locks import lease
from pomona.store.store import Store

lease.this_machine = lambda: "another kernel"
lease.BEAT_S = float(sys.argv[2])
store = Store(sys.argv[1])
with store.lock("pomona run elsewhere") as (locked, _):
    for _ in itertools.chain(["held"], sys.stdin):
        try:
            locked.write_json("written", {})
            print("written", flush=True)
        except Exception as exc:
            print(f"{type(exc).__name__}: {exc}", flush=True)
"""


@contextlib.contextmanager
def elsewhere(store: Path, beat_s: float = 3600) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a store as one of another machine does; it writes for each line."""
    command = [sys.executable, "-c", HOLDER, str(store), str(beat_s)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "written\n"
            yield holder
        finally:
            holder.kill()


def plant(store: Path, holder: Holder, silent_s: float) -> Path:
    """The lock that a holder leaves when it dies."""
    lock = store / LOCK
    lock.write_bytes(holder.to_bytes())
    then = time.time() - silent_s
    os.utime(lock, (then, then))
    return lock


def test_a_lock_of_another_machine_without_signs_of_life_runs_out(
    pomona: Pomona, photos: Path, store: Path
) -> None:
    lock = plant(store, ELSEWHERE, silent_s=LEASE_S / 2)
    for args in (("run", photos, store), ("verify", store)):
        refused = pomona(*args)
        assert refused.status == 1
        assert "is in use by pomona run photos out (process 42 on node-7), last heard from" in (
            refused.complaint
        )
        assert f"whose lock ends {LEASE_S:.0f} s after its last sign of life" in refused.complaint
        assert find_holder(lock) == ELSEWHERE
    plant(store, ELSEWHERE, silent_s=LEASE_S + 1)
    assert "OK: 40 images" in pomona.done("verify", store).stdout
    ended = pomona.done("run", photos, store)
    assert "the lock of pomona run photos out (process 42 on node-7) had expired" in ended.stderr
    assert find_holder(lock) is None


# Names that come before and after every name that this machine may have.
@pytest.mark.parametrize("machine", ["", "~"])
def test_any_other_machine_is_another(machine: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / LOCK).parent.mkdir()
    holder = dataclasses.replace(ELSEWHERE, machine=machine)
    plant(tmp_path, holder, silent_s=LEASE_S / 2)
    with pytest.raises(StoreBusyError, match="node-7"), store.lock("mine"):
        pass
    with pytest.raises(StoreBusyError, match="node-7"), store.shared_lock():
        pass
    plant(tmp_path, holder, silent_s=LEASE_S + 1)
    with store.shared_lock():
        pass
    with store.lock("mine") as (_, notice):
        assert str(holder) in str(notice)


def test_a_lock_that_another_process_is_about_to_take_over_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / LOCK).parent.mkdir()
    lock = plant(tmp_path, ELSEWHERE, silent_s=LEASE_S * 2)
    waits = 0

    sleep, own = time.sleep, threading.current_thread()

    def wait(seconds: float) -> None:
        nonlocal waits
        if threading.current_thread() is not own:  # what an earlier test has left
            sleep(seconds)
            return
        waits += 1
        if waits == lease.REFUSALS // 2:
            taken = tmp_path / "taken"
            taken.write_bytes(dataclasses.replace(ELSEWHERE, host="node-8").to_bytes())
            taken.replace(lock)

    monkeypatch.setattr(time, "sleep", wait)
    with lock.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreBusyError, match="node-8"), Store(tmp_path).lock("mine"):
            pass
    assert waits == lease.REFUSALS // 2


def test_without_flocks_the_lease_alone_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on some disks of SMB and sshfs."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / LOCK).parent.mkdir()
    with Store(tmp_path).lock("one") as (locked, _):
        locked.write_json("written", {})
        with pytest.raises(StoreBusyError, match="last heard from"), Store(tmp_path).lock("two"):
            pass
        os.utime(tmp_path / LOCK, (1, 1))
        taken_over = pytest.raises(StoreBusyError, match="was taken over by two")
        with Store(tmp_path).lock("two"), taken_over:
            locked.write_json("written", {})
    with Store(tmp_path).lock("three"):
        pass


def test_a_lock_that_was_never_taken_has_no_holder(tmp_path: Path) -> None:
    assert find_holder(tmp_path / "lock") is None


def test_the_lock_of_a_dead_process_of_this_machine_is_free(
    pomona: Pomona, photos: Path, store: Path
) -> None:
    with Store(store).lock("pomona run"):
        holder = find_holder(store / LOCK)
    assert holder
    plant(store, holder, silent_s=0)
    assert "run out" not in pomona.done("run", photos, store).stderr


def test_a_holder_renews_its_lock(store: Path) -> None:
    lock = store / LOCK
    with elsewhere(store, beat_s=0.01):
        os.utime(lock, (1, 1))
        wait_for(lambda: lock.stat().st_mtime > 1)
        with pytest.raises(StoreBusyError, match="last heard from"), Store(store).lock("mine"):
            pass


def test_a_command_that_lost_its_lock_cannot_write(store: Path) -> None:
    with elsewhere(store) as holder:
        assert holder.stdin
        assert holder.stdout
        os.utime(store / LOCK, (1, 1))
        # The flock that its kernel still holds is no reason to wait for ever.
        with Store(store).lock("pomona run here") as (_, notice):
            assert notice
            assert "pomona run elsewhere" in notice
            (store / "written").unlink()
            holder.stdin.write("again\n")
            holder.stdin.flush()
            answer = holder.stdout.readline()
            assert answer.startswith(f"StoreBusyError: {store} was taken over by pomona run here")
            assert not (store / "written").exists()
            holder.communicate("")
            assert holder.returncode == 0
            # What it gives back on leaving is its own lock, not ours.
            assert str(find_holder(store / LOCK)).startswith("pomona run here")


@pytest.mark.parametrize("engine", ["local", "spark"])
def test_a_run_whose_lock_was_taken_over_stops(
    engine: str, pomona: Pomona, photos: Path, finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ("run", photos, out, "--workers", "2", "--engine", engine)
    process = pomona.start(*command)
    wait_for((out / PLAN).exists)
    os.killpg(process.pid, signal.SIGSTOP)
    lock = out / LOCK
    before = tables(out)
    assert part_name("features", 0) not in before
    lock.write_text(json.dumps({**json.loads(lock.read_text()), "machine": "another kernel"}))
    os.utime(lock, (1, 1))
    with Store(out).lock("pomona run of another machine"):
        os.killpg(process.pid, signal.SIGCONT)
        ended = pomona.end(process)
        assert ended.status == 1
        assert f"{out} was taken over by pomona run of another machine" in ended.complaint
        assert tables(out) == before
    pomona.done(*command)
    assert tables(out) == tables(finished)


def test_only_one_of_many_takes_a_lock(store: Path, tmp_path: Path) -> None:
    script = tmp_path / "take.py"
    script.write_text(TAKE)
    for _ in range(3):
        plant(store, ELSEWHERE, silent_s=LEASE_S * 2)
        takers = [
            subprocess.Popen(
                [sys.executable, script, str(store)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        for taker in takers:
            assert taker.stdout
            assert taker.stdout.readline() == "ready\n"
        for taker in takers:
            assert taker.stdin
            taker.stdin.write("go\n")
            taker.stdin.flush()
        answers = [taker.stdout.readline() for taker in takers if taker.stdout]
        assert sorted(answers) == ["busy\n"] * 3 + ["mine\n"]
        for taker in takers:
            taker.communicate("")


TAKE = """
import sys
from pomona.errors import StoreBusyError
from pomona.store.store import Store

print("ready", flush=True)
sys.stdin.readline()
try:
    with Store(sys.argv[1]).lock("taker"):
        print("mine", flush=True)
        sys.stdin.read()
except StoreBusyError:
    print("busy", flush=True)
"""


def test_a_lock_that_names_nobody_is_free(store: Path) -> None:
    lock = store / LOCK
    for garbage in (b"", b"{}", b"[1]", b"\xff", b'"pomona run (process 1 on here)"'):
        lock.write_bytes(garbage)
        with (
            Store(store).lock("mine"),
            Store(shutil.copytree(store, f"{store}-copy")).shared_lock(),
        ):
            pass
        shutil.rmtree(f"{store}-copy")
