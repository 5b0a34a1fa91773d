"""Appends to a journal, for the tests that kill who does so.

With a number of entries, this process appends them and prints the id of each once it is
acknowledged. With a folder, it forks, once for each kill that is to be tried, a process that does
so and dies at an operation.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import recorder

from pomona.feedback import journal as journals
from pomona.feedback.journal import Entry, Journal
from pomona.memory import forgo_pandas

ENTRIES = 8


def append(store: str, name: str, count: int, file: int) -> None:
    """Appends entries, gathers often, and writes to an open file which were acknowledged."""
    journals.LOOK_EVERY, journals.MOST_ENTRIES = 3, 3
    journal = Journal(store)
    for number in range(count):
        own = f"{name}-{number}"
        journal.append(Entry(own, "a" * 64, "Apple", 0.75, "m1", confirmed=True))
        os.write(file, f"{own}\n".encode())


def die(folder: Path, store: Path, at: int | None, when: str) -> None:
    """Appends in a fork of this process that dies before or after an operation on the store."""
    folder.mkdir()
    shutil.copytree(store, folder / "out")
    (folder / "record").mkdir()
    (folder / "record" / "count").touch()
    file = os.open(folder / "acknowledged", os.O_WRONLY | os.O_CREAT)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            planted = recorder.Recorder(str(folder / "record"), str(folder / "out"), at, when)
            recorder.plant(planted)
            append(str(folder / "out"), "one", ENTRIES, file)
            status = 0
        finally:
            os._exit(status)
    os.close(file)
    _, status = os.waitpid(pid, 0)
    (folder / "status").write_text(str(os.waitstatus_to_exitcode(status)))


def main() -> None:
    forgo_pandas()
    store, *more = sys.argv[1:]
    if len(more) == 2:
        append(store, more[0], int(more[1]), sys.stdout.fileno())
        return
    for name, at, when in json.load(sys.stdin):
        die(Path(more[0], name), Path(store), at, when)


if __name__ == "__main__":
    main()
