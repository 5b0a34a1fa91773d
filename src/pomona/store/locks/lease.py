"""Lease: who holds a store, on this machine or another.

A holder keeps the lock file flocked, which the kernel ends with its process. Other machines do not
always see a flock, or see it for ever when its machine is gone; so the holder also renews the
file's time, and where that is old the lock is free. To take it is to put another file in its place:
who held it finds that out before its next write (`storage.LocalFolder`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

LEASE_S = 120.0
BEAT_S = 20.0
REFUSALS = 20


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as its file says. machine: whose kernel knows whether it lives."""

    token: str
    command: str
    process: int
    host: str
    machine: str

    def __str__(self) -> str:
        return f"{self.command} (process {self.process} on {self.host})"

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Holder | None:
        """None where nobody is named."""
        try:
            return cls(**json.loads(data))
        except (ValueError, TypeError):
            return None


class HeldError(Exception):
    """Somebody else holds the lock; the message says who, and until when if that can be said."""


def find_holder(path: Path) -> Holder | None:
    """Who holds the lock now, or held it when it died."""
    try:
        return Holder.from_bytes(path.read_bytes())
    except FileNotFoundError:
        return None


@contextmanager
def hold(path: Path, temporary: Path, command: str) -> Iterator[tuple[str, Holder | None]]:
    """Takes the lock for this process: its token, and whose lock on another machine had run out.

    temporary: a name in the same file system. Raises HeldError, OSError.
    """
    me = Holder(uuid.uuid4().hex, command, os.getpid(), socket.gethostname(), this_machine())
    file, expired = _take(path, temporary, me)
    with file:
        ended = threading.Event()
        beat = threading.Thread(target=_beat, args=(file, ended), daemon=True)
        beat.start()
        try:
            yield me.token, expired
        finally:
            ended.set()
            beat.join()
            # Who reads it later without a lock of their own is not to be told of this holder.
            with contextlib.suppress(OSError):
                file.truncate(0)


@contextmanager
def shared_lock(path: Path) -> Iterator[None]:
    """Keeps others of this machine from taking the lock, without a write.

    Raises HeldError, OSError.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # never locked yet
            file = stack.enter_context(path.open("rb"))
            is_free = _flock(file, fcntl.LOCK_SH)
            holder = Holder.from_bytes(file.read())
            _check_free(is_free, holder, time.time() - os.fstat(file.fileno()).st_mtime)
        yield


def _take(path: Path, temporary: Path, me: Holder) -> tuple[BinaryIO, Holder | None]:
    refusals = 0
    while True:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        # What is not found was swept by another command, or given back.
        with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as undo:
            found = undo.enter_context(path.open("a+b"))
            is_free = _flock(found, fcntl.LOCK_EX)
            found.seek(0)
            holder = Holder.from_bytes(found.read())
            undo.callback(temporary.unlink, missing_ok=True)
            mine = undo.enter_context(temporary.open("x+b"))
            mine.write(me.to_bytes())
            mine.flush()
            os.fsync(mine.fileno())
            fcntl.flock(mine, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(found.fileno()), path.stat()):
                # Both times are of the disk's clock, which may not be this machine's.
                silent_s = os.fstat(mine.fileno()).st_mtime - os.fstat(found.fileno()).st_mtime
                _check_free(is_free, holder, silent_s)
                if is_free or refusals == REFUSALS:
                    temporary.replace(path)
                    undo.pop_all()
                    found.close()
                    return mine, None if holder is None or holder.machine == me.machine else holder
            refusals += 1
        # Another process here may be about to take it; a machine that is gone may hold it for ever.
        time.sleep(0.05)


def _check_free(is_free: bool, holder: Holder | None, silent_s: float) -> None:
    """is_free: as this machine's kernel says, which alone knows of its own processes."""
    if holder is None or holder.machine == this_machine():
        if not is_free:
            raise HeldError(str(holder or "another command"))
    elif silent_s < LEASE_S:
        raise HeldError(
            f"{holder}, last heard of {max(0, silent_s):.0f} s ago, "
            f"whose lock ends {LEASE_S:.0f} s after its last sign of life"
        )


def _beat(file: BinaryIO, ended: threading.Event) -> None:
    while not ended.wait(BEAT_S):
        # Where the disk is away for a while, the next write says so.
        with contextlib.suppress(OSError):
            os.utime(file.fileno())


def _flock(file: BinaryIO, kind: int) -> bool:
    """False where another process holds it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def this_machine() -> str:
    """What tells one running kernel from another; containers of one kernel share its flocks."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()
