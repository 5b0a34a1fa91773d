"""What a power cut leaves: the order of the system calls by which a store is written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from durability import TRACED, Event, named, of_strace, violations
from killing import Recording

from conftest import Pomona, contents, draw_photos
from machine import need

Watch = Callable[[Path, list[object], Path], list[Event]]


def by_record(out: Path, command: list[object], folder: Path) -> list[Event]:
    """Does the command with a recorder planted into its processes."""
    recording = Recording.begin(folder, out)
    Pomona(env=recording.env).done(*command)
    return [Event(int(pid), kind, path, to or "") for pid, kind, path, to in recording.events]


def by_strace(out: Path, command: list[object], folder: Path) -> list[Event]:
    """Does the command under strace, which sees what the kernel is asked."""
    need("strace")
    folder.mkdir()
    trace = folder / "trace"
    strace = ("strace", "-f", "-y", "-s", "0", "-e", f"trace={TRACED}", "-o", str(trace))
    Pomona(python=(*strace, sys.executable)).done(*command)
    return of_strace(trace.read_text().splitlines(), out)


@pytest.mark.parametrize("watch", [by_record, by_strace])
def test_writes_and_deletions_survive_a_power_cut(watch: Watch, tmp_path: Path) -> None:
    photos, out = draw_photos(tmp_path / "photos", 36), tmp_path / "out"
    flags = ["--workers", "2", "--quiet", "--sync"]
    events = watch(out, ["run", photos, out, *flags], tmp_path / "first")
    files = {str(out / name) for name, data in contents(out).items() if data is not None}
    assert files <= named(events)
    assert list(violations(events, out)) == []

    # A part that is changed, one that goes, and the folders of what a projection made.
    for path in sorted(photos.rglob("photo*"))[:20]:
        path.unlink()
    draw_photos(photos, 33, seed=1)
    command = ["run", photos, out, *flags, "--yes", "--refit"]
    events = watch(out, command, tmp_path / "second")
    assert {"unlink", "rmdir"} <= {event.kind for event in events}
    assert list(violations(events, out)) == []


STORE = Path("/store")
TEMPORARY = "/store/_pomona/tmp/1"
GOOD = [
    Event(1, "mkdir", "/store/a"),
    Event(1, "fsync", "/store"),
    Event(1, "create", TEMPORARY),
    Event(1, "write", TEMPORARY),
    Event(1, "fsync", TEMPORARY),
    Event(1, "rename", TEMPORARY, "/store/a/b"),
    Event(1, "fsync", "/store/a"),
    Event(1, "unlink", "/store/c/d"),
    Event(1, "fsync", "/store/c"),
]


def test_the_checker_accepts_the_right_order() -> None:
    assert list(violations(GOOD, STORE)) == []


@pytest.mark.parametrize("left_out", [1, 4, 6, 8])
def test_the_checker_finds_each_missing_sync(left_out: int) -> None:
    assert len(list(violations([*GOOD[:left_out], *GOOD[left_out + 1 :]], STORE))) == 1


def test_the_checker_finds_a_sync_too_late_or_by_another_process() -> None:
    other = replace(GOOD[1], process=2)
    assert len(list(violations([GOOD[0], other, *GOOD[2:]], STORE))) == 1
    late = [*GOOD[:4], GOOD[5], GOOD[4], *GOOD[6:]]
    assert list(violations(late, STORE)) == ["/store/a/b: renamed before its content was synced"]


def test_the_checker_finds_a_file_written_in_place() -> None:
    found = violations([Event(1, "create", "/store/pomona.json")], STORE)
    assert list(found) == ["/store/pomona.json: written in its place"]


STRACE = """\
7 openat(AT_FDCWD</tmp>, "/store/_pomona/tmp/1", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3</store/_x>
7 openat(AT_FDCWD</tmp>, "/store/a/b", O_RDONLY|O_CLOEXEC) = 4</store/a/b>
7 write(3</store/_pomona/tmp/1>, ""..., 5) = 5
7 fsync(3</store/_pomona/tmp/1> <unfinished ...>
8 mkdir("/store/csv", 0777)             = -1 EEXIST (File exists)
8 write(1<socket:[5]>, ""..., 5)        = 5
7 <... fsync resumed>)                  = 0
7 rename("/store/_pomona/tmp/1", "/store/a/b") = 0
8 unlinkat(6</store/pca>, "part", 0)    = 0
8 unlinkat(5</store>, "pca", AT_REMOVEDIR) = 0
8 unlink("/elsewhere/file")             = 0
"""


def test_traces_are_parsed() -> None:
    assert of_strace(STRACE.splitlines(), STORE) == [
        Event(7, "create", TEMPORARY),
        Event(7, "write", TEMPORARY),
        Event(7, "fsync", TEMPORARY),
        Event(7, "rename", TEMPORARY, "/store/a/b"),
        Event(8, "unlink", "/store/pca/part"),
        Event(8, "rmdir", "/store/pca"),
    ]
