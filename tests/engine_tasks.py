"""Tasks for the engines' tests: module-level, so that workers find them by name."""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import threadpoolctl


@dataclass(frozen=True)
class Marked:
    """A payload that leaves a file in `folder` each time a process unpickles it."""

    folder: Path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return _mark, (self.folder,)


def _mark(folder: Path) -> Marked:
    (folder / f"{os.getpid()}-{uuid.uuid4().hex}").touch()
    return Marked(folder)


class UnpicklableError(Exception):
    """An exception that holds what no pickle can."""

    def __init__(self) -> None:
        super().__init__("it holds a lock")
        self.lock = threading.Lock()


def square(item: int, payload: object, attempt: int) -> int:
    return item * item


def process(item: int, payload: object, attempt: int) -> int:
    return os.getpid()


def raise_on_odd(item: int, payload: object, attempt: int) -> int:
    if item % 2:
        raise ValueError(f"{item} is odd")
    return item


def raise_unpicklable(item: int, payload: object, attempt: int) -> int:
    raise UnpicklableError


def die_once_on_3(item: int, folder: Path, attempt: int) -> int:
    """Is killed, as by the kernel when memory runs out, the first time that it meets 3."""
    if item == 3 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def die_on_3(item: int, folder: Path, attempt: int) -> int:
    if item == 3:
        (folder / uuid.uuid4().hex).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def exit_process(item: int, payload: object, attempt: int) -> int:
    os._exit(7)


def blas_threads(item: int, payload: object, attempt: int) -> list[int]:
    import numpy as np

    np.ones((2, 2)) @ np.ones((2, 2))
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]


def say(item: int, payload: object, attempt: int) -> int:
    print("a task's own words")
    return item


def die_at_first(item: int, payload: object, attempt: int) -> int:
    """Is killed until the third attempt, and says which one it is."""
    if attempt < 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return attempt


def hang(item: int, payload: object, attempt: int) -> int:
    signal.pause()
    return item


def square_all(numbers: list[int | str], payload: Path, attempt: int) -> list[int]:
    """The squares of some numbers; words do what they say. payload: a folder of what was given."""
    name = f"{time.monotonic_ns()}-{os.getpid()}"
    (payload / name).write_text(" ".join(map(str, numbers)))
    for number in numbers:
        if number == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif number == "raise":
            raise ValueError("as it was told")
        elif number == "wait":
            while not (payload / "go").exists():
                time.sleep(0.005)
    return [number**2 if isinstance(number, int) else 0 for number in numbers]
