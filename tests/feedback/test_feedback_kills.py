"""Whoever appends may be killed at any moment: what was acknowledged is there, and once."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from appending import ENTRIES
from durability import Event, violations
from killing import LONG, check_whole_files, quick_folder

from pomona.feedback.journal import Entry, Journal
from pomona.store.layout import FEEDBACK_LOCK
from pomona.store.recipe import Recipe
from pomona.store.store import Store

SCRIPT = Path(__file__).with_name("appending.py")
# How many of the kills the short way takes.
KILLS = 60


def python_path() -> dict[str, str]:
    """Where the script finds the recorder."""
    faults = Path(__file__).parents[1] / "faults"
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(faults), *sys.path])}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with quick_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def store(folder: Path) -> Path:
    """A store that has feedback already, not to be changed."""
    store = Store(folder / "store")
    store.begin("photos", Recipe("efficientnet_lite0", "a" * 64, "b" * 64, 224, 5))
    journal = Journal(store)
    for number in range(2):
        journal.append(Entry(f"before-{number}", "b" * 64, "Pear", 0.5, "m1", confirmed=True))
    journal.gather()
    return folder / "store"


def kill(store: Path, folder: Path, kills: Sequence[tuple[str, int | None, str]]) -> None:
    """Has the script die so often."""
    subprocess.run(
        [sys.executable, str(SCRIPT), str(store), str(folder)],
        input=json.dumps(kills),
        env=python_path(),
        text=True,
        check=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def undisturbed(store: Path, folder: Path) -> Path:
    kill(store, folder, [("undisturbed", None, "")])
    assert (folder / "undisturbed" / "status").read_text() == "0"
    return folder / "undisturbed"


def events(run: Path) -> list[Event]:
    lines = (run / "record" / "events.jsonl").read_text().splitlines()
    return [
        Event(int(pid), kind, path, to or "")
        for pid, kind, path, to in map(json.loads, lines)
        if FEEDBACK_LOCK not in f"{path} {to}"  # worth nothing after a power cut
    ]


def test_an_entry_survives_a_power_cut(undisturbed: Path) -> None:
    done = events(undisturbed)
    assert {"rename", "unlink"} <= {event.kind for event in done}
    assert list(violations(done, undisturbed / "out")) == []


def test_no_kill_loses_or_doubles_an_entry(undisturbed: Path, store: Path, folder: Path) -> None:
    operations = int((undisturbed / "record" / "count").read_text())
    kills = [(at, when) for at in range(1, operations + 1) for when in ("before", "after")]
    if not LONG:
        kills = random.Random(0).sample(kills, KILLS)  # noqa: S311
    named = [(f"{when}-{at}", at, when) for at, when in kills]
    kill(store, folder, named)
    for name, *_ in named:
        status = int((folder / name / "status").read_text())
        assert status in (0, -signal.SIGKILL), name
        check_killed(folder / name)


def check_killed(run: Path) -> None:
    """Holds the journal of a store against what was acknowledged, and goes on with it."""
    check_files(run / "out")
    acknowledged = (run / "acknowledged").read_text().splitlines()
    begun = [f"one-{number}" for number in range(len(acknowledged) + 1)][:ENTRIES]
    journal = Journal(run / "out")
    found = journal.read(revisions=True)["id"].to_pylist()
    before = ["before-0", "before-1"]
    # The last one may be there, although nobody was told so any more.
    assert found in (before + acknowledged, before + begun), run
    journal.append(Entry("later", "a" * 64, "Apple", 0.5, "m1", confirmed=True))
    journal.gather()
    assert journal.read(revisions=True)["id"].to_pylist() == [*found, "later"], run
    assert len(Store(run / "out").files.names("feedback")) == 1
    check_files(run / "out")


def check_files(store: Path) -> None:
    """All files are whole, but for the lock."""
    (store / FEEDBACK_LOCK).unlink(missing_ok=True)
    check_whole_files(store)


def test_of_several_processes_one_that_is_killed_costs_nothing(store: Path, folder: Path) -> None:
    store, count = shutil.copytree(store, folder / "several"), 60
    commands = [
        [sys.executable, str(SCRIPT), str(store), name, str(count)] for name in ("a", "b", "c")
    ]
    started = [
        subprocess.Popen(command, env=python_path(), stdout=subprocess.PIPE, text=True)
        for command in commands
    ]
    first, *others = started
    assert first.stdout is not None
    said = [first.stdout.readline() for _ in range(10)]
    first.kill()
    rest, _ = first.communicate()
    acknowledged = {*"".join(said).splitlines(), *rest.splitlines()}
    for process in others:
        told, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert len(told.splitlines()) == count
        acknowledged |= set(told.splitlines())
    found = Journal(store).read(revisions=True)["id"].to_pylist()
    assert len(found) == len(set(found))
    assert acknowledged <= set(found)
    assert len(set(found) - acknowledged - {"before-0", "before-1"}) <= 1
