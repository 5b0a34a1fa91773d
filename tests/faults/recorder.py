"""Planted into pomona's processes: numbers what they do to a store's files, and stops at the N-th.

Each operation that changes the store, or makes a change last, has a number, counted over all
processes of a command. At the number that is asked for, before or after the operation, the process
kills itself, or holds up all the others until whoever watches has killed them all.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SETTINGS = "POMONA_FAULTS_RECORD"
EVENTS, REACHED = "events.jsonl", "reached"


class Wrapped:
    """A function that, as those of `os`, does not become a method where a class has it."""

    def __init__(self, function: Callable[..., Any], original: Callable[..., Any]) -> None:
        self._function = function
        for supporting in (os.supports_dir_fd, os.supports_follow_symlinks, os.supports_fd):
            if original in supporting:
                supporting.add(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)


class Recorder:
    """Counts and records in `folder` what becomes of the files in `store`.

    at: the number of the operation to stop at, None: none; when: "before" or "after" it;
    whole: whether all processes are to be killed by who watches, or this one alone by itself.
    """

    def __init__(
        self, folder: str, store: str, at: int | None = None, when: str = "", whole: bool = False
    ) -> None:
        self._folder, self._store = folder, os.path.abspath(store)
        self._at, self._when, self._whole = at, when, whole

    def place(self, path: Any, dir_fd: int | None = None, *, parent: bool = False) -> str | None:
        """The absolute path of something in the store, or of the store; None elsewhere.

        parent: whether the folder that the store lies in counts too.
        """
        if not isinstance(path, (str, bytes, os.PathLike)):
            path = path_of(path if isinstance(path, int) else path.fileno())
        path = os.path.join(path_of(dir_fd) if dir_fd is not None else "", os.fsdecode(path))  # noqa: PTH118
        found: str = os.path.abspath(path)
        if parent and found == os.path.dirname(self._store):  # noqa: PTH120
            return found
        return found if f"{found}/".startswith(f"{self._store}/") else None

    @contextmanager
    def operation(self, kind: str, path: str, target: str | None = None) -> Iterator[None]:
        """Numbers and records one operation."""
        with self._alone() as counter:
            number = int(counter.read() or 0) + 1
            counter.seek(0)
            counter.write(b"%d" % number)
            counter.flush()
            if (number, "before") == (self._at, self._when):
                self._stop()
        yield
        with self._alone():
            event = [os.getpid(), kind, path, target]
            with _open(f"{self._folder}/{EVENTS}", "a") as events:
                events.write(json.dumps(event) + "\n")
            if (number, "after") == (self._at, self._when):
                self._stop()

    @contextmanager
    def _alone(self) -> Iterator[io.BufferedRandom]:
        """No other process passes, until this one leaves here or dies."""
        with _open(f"{self._folder}/count", "r+b") as counter:
            fcntl.flock(counter, fcntl.LOCK_EX)
            yield counter

    def _stop(self) -> None:
        if not self._whole:
            os.kill(os.getpid(), signal.SIGKILL)
        temporary = f"{self._folder}/reached.tmp"
        with _open(temporary, "w") as file:
            file.write(str(os.getpid()))
        _replace(temporary, f"{self._folder}/{REACHED}")
        while True:
            signal.pause()


_open, _replace = io.open, os.replace


def path_of(descriptor: int) -> str:
    """Where an open file or folder lies."""
    if sys.platform == "darwin":
        return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115


class Halves:
    """A file that is written in two operations, so that it can be stopped half-written."""

    recorder: Recorder
    place: str

    def write(self, data: Any) -> int:
        view = memoryview(data)
        for part in (view[: len(view) // 2], view[len(view) // 2 :]):
            with self.recorder.operation("write", self.place):
                super().write(part)  # type: ignore[misc]
                super().flush()  # type: ignore[misc]
        return len(view)

    def truncate(self, size: int | None = None, /) -> int:
        with self.recorder.operation("truncate", self.place):
            return super().truncate(size)  # type: ignore[misc,no-any-return]


class Writer(Halves, io.BufferedWriter):
    pass


class ReaderWriter(Halves, io.BufferedRandom):
    pass


def plant(recorder: Recorder) -> None:
    """Puts the recorder between pomona and its files."""
    for name in ("mkdir", "unlink", "remove", "rmdir"):
        setattr(os, name, _of_one_name(recorder, name, getattr(os, name)))
    for name in ("rename", "replace"):
        setattr(os, name, _of_two_names(recorder, getattr(os, name)))
    fsync = os.fsync

    def synced(file: Any) -> None:
        place = recorder.place(file, parent=True)
        if place is None:
            return fsync(file)
        with recorder.operation("fsync", place):
            return fsync(file)

    os.fsync = Wrapped(synced, fsync)
    io.open = Wrapped(_opening(recorder), io.open)


def _of_one_name(recorder: Recorder, name: str, original: Callable[..., Any]) -> Wrapped:
    kind = "unlink" if name == "remove" else name

    def wrapper(path: Any, *args: Any, dir_fd: int | None = None, **kwargs: Any) -> Any:
        place = recorder.place(path, dir_fd)
        # What cannot succeed changes nothing.
        if place is None or os.path.lexists(place) == (kind == "mkdir"):
            return original(path, *args, dir_fd=dir_fd, **kwargs)
        with recorder.operation(kind, place):
            return original(path, *args, dir_fd=dir_fd, **kwargs)

    return Wrapped(wrapper, original)


def _of_two_names(recorder: Recorder, original: Callable[..., Any]) -> Wrapped:
    def wrapper(source: Any, target: Any, **kwargs: Any) -> Any:
        at, to = recorder.place(source), recorder.place(target)
        if at is None or to is None:
            return original(source, target, **kwargs)
        with recorder.operation("rename", at, to):
            return original(source, target, **kwargs)

    return Wrapped(wrapper, original)


def _opening(recorder: Recorder) -> Callable[..., Any]:
    def wrapper(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        place = None if isinstance(file, int) else recorder.place(file)
        is_new = place is not None and not os.path.lexists(place)
        if place is None or not (set(mode) & set("wx") or ("a" in mode and is_new)):
            return _open(file, mode, *args, **kwargs)
        with recorder.operation("create", place):
            if "a" in mode:
                return _open(file, mode, *args, **kwargs)
            raw = io.FileIO(file, mode.replace("b", ""))
        writer: Any = ReaderWriter(raw) if "+" in mode else Writer(raw)
        writer.recorder, writer.place = recorder, place
        return writer

    return wrapper


if SETTINGS in os.environ:
    plant(Recorder(**json.loads(os.environ[SETTINGS])))
