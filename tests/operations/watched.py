"""A watcher as a process, and what its store holds."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pomona as library
from conftest import Ended, Pomona, wait_for
from log_events import log_events


@dataclass
class Watching:
    """A watcher at work."""

    pomona: Pomona
    process: subprocess.Popen[str]
    log: Path

    def told(self, event: str, **facts: Any) -> list[dict[str, Any]]:
        """The lines of the log of an event with these facts."""
        return [
            line
            for line in log_events(self.log)
            if line["event"] == event and all(line.get(key) == facts[key] for key in facts)
        ]

    def notes(self) -> list[str]:
        """What it said so far, warnings included."""
        return [line["message"] for kind in ("note", "warning") for line in self.told(kind)]

    def wait_for(self, condition: Callable[[], bool]) -> None:
        wait_for(lambda: condition() or self.process.poll() is not None)
        if self.process.poll() is not None:
            raise AssertionError(self.pomona.end(self.process))

    def wait_for_listings(self, more: int) -> None:
        """Waits until so many have ended that had not begun before."""
        enough = len(self.told("round", kind="listing")) + more
        self.wait_for(lambda: len(self.told("round", kind="listing")) >= enough)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> Ended:
        os.killpg(self.process.pid, number)
        return self.pomona.end(self.process)


@contextmanager
def watching(
    pomona: Pomona, log: Path, *args: object, env: dict[str, str] | None = None
) -> Iterator[Watching]:
    """`pomona watch` with these arguments; killed at the end if it still lives."""
    own = replace(pomona, env={**pomona.env, **(env or {})})
    process = own.start("watch", *args, "--workers", "1", "--log-file", log)
    try:
        yield Watching(own, process, log)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            own.end(process)


def rows(place: Path | str) -> dict[str, tuple[Any, ...]]:
    """What a store says of each image: content, label, split, and features or what is wrong."""
    store = library.open(place)
    features = store.features()
    found = dict(zip(features.paths, map(bytes, features.array), strict=True))
    wrong = {row["path"]: row["reason"] for row in store.errors().to_pylist()}
    table = store.metadata(["path", "label", "split", "sha256"]).to_pylist()
    assert len({row["path"] for row in table}) == len(table) == len(found) + len(wrong)
    return {
        row["path"]: (row["sha256"], row["label"], row["split"], found.get(row["path"]),
                      wrong.get(row["path"]))
        for row in table
    }  # fmt: skip
