"""Lease: who holds a store on a disk, on this machine or another.

A holder keeps the lock file flocked, which the kernel ends with its process. Other machines do not
always see a flock, or see it for ever when its machine is gone. So the holder also renews the
file's time: once that is `LEASE_S` old, the lock is free. A command takes it by putting another
file in its place, and the former holder learns of that before its next write. Where a file system
knows no flock, as some of SMB and sshfs, the file's time alone decides.
"""

from __future__ import annotations

import contextlib
import errno
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

# A lock is free once its holder has given no sign of life for so long; it gives one each `BEAT_S`.
LEASE_S = 120.0
BEAT_S = 20.0
# What a file system says that knows no flock.
_NO_FLOCK = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOLCK)
# How often a command tries to take a lock that others take at the same time.
REFUSALS = 20


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as its file says.

    Parameters
    ----------
    token : str
        Unique to this holder.
    command : str
        What it is at work on, for people.
    process : int
        Its process number.
    host : str
        The name of its machine, for people.
    machine : str
        The identity of its running kernel, which alone knows whether the process lives.
    """

    token: str
    command: str
    process: int
    host: str
    machine: str

    def __str__(self) -> str:
        return f"{self.command} (process {self.process} on {self.host})"

    @classmethod
    def this_process(cls, command: str) -> Holder:
        """Returns a new holder: this process, at work on a command."""
        return cls(uuid.uuid4().hex, command, os.getpid(), socket.gethostname(), this_machine())

    def to_bytes(self) -> bytes:
        """Returns the holder as a lock's file holds it."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Holder | None:
        """Returns the holder that a lock's file names; None if it names nobody."""
        try:
            return cls(**json.loads(data))
        except (ValueError, TypeError):
            return None


class HeldError(Exception):
    """Another process holds the lock; the message says who, and until when if that is known."""


def find_holder(path: Path) -> Holder | None:
    """Returns who holds a lock, or held it when it died; None if nobody does.

    Parameters
    ----------
    path : Path
        The lock's file.
    """
    try:
        return Holder.from_bytes(path.read_bytes())
    except FileNotFoundError:
        return None


@contextmanager
def hold(path: Path, temporary: Path, command: str) -> Iterator[tuple[str, Holder | None]]:
    """Holds a lock for this process.

    Parameters
    ----------
    path : Path
        The lock's file.
    temporary : Path
        A free name in the same file system.
    command : str
        What others are told of the holder.

    Yields
    ------
    tuple
        This holder's token, and who on another machine held the lock until it ran out, or None.

    Raises
    ------
    HeldError
        If another process holds it.
    OSError
        If the file cannot be written.
    """
    me = Holder.this_process(command)
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
            # A later reader must not take this holder for a present one.
            with contextlib.suppress(OSError):
                file.truncate(0)


@contextmanager
def shared_lock(path: Path) -> Iterator[None]:
    """Keeps other processes of this machine from taking a lock, without a write.

    Parameters
    ----------
    path : Path
        The lock's file.

    Raises
    ------
    HeldError
        If another process holds it.
    OSError
        If the file cannot be read.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # never locked yet
            file = stack.enter_context(path.open("rb"))
            is_free = _flock(file, fcntl.LOCK_SH)
            holder = Holder.from_bytes(file.read())
            _check_free(is_free, holder, time.time() - os.fstat(file.fileno()).st_mtime)
        yield


def check_silence(holder: Holder, silent_s: float) -> None:
    """Checks that a holder on another machine has been silent for so long that its lock is free.

    Parameters
    ----------
    holder : Holder
        Who holds the lock.
    silent_s : float
        Seconds since its last sign of life.

    Raises
    ------
    HeldError
        If it has not.
    """
    if silent_s < LEASE_S:
        raise HeldError(
            f"{holder}, last heard from {max(0, silent_s):.0f} s ago, "
            f"whose lock ends {LEASE_S:.0f} s after its last sign of life"
        )


def _take(path: Path, temporary: Path, me: Holder) -> tuple[BinaryIO, Holder | None]:
    """Returns the lock's file, and who held it until it ran out; raises HeldError."""
    refusals = 0
    while True:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        # A file that is not found was swept by another command, or given back.
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
            _flock(mine, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(found.fileno()), path.stat()):
                # Both times are by the disk's clock, which may differ from this machine's.
                silent_s = os.fstat(mine.fileno()).st_mtime - os.fstat(found.fileno()).st_mtime
                _check_free(is_free, holder, silent_s)
                if is_free is not False or refusals == REFUSALS:
                    temporary.replace(path)
                    undo.pop_all()
                    found.close()
                    return mine, None if holder is None or holder.machine == me.machine else holder
            refusals += 1
        # Another process here may be about to take it; a machine that is gone may hold it for ever.
        time.sleep(0.05)


def _check_free(is_free: bool | None, holder: Holder | None, silent_s: float) -> None:
    """Raises HeldError unless the lock is free; is_free: as the kernel says, None: it cannot."""
    if is_free is None:
        if holder is not None:
            check_silence(holder, silent_s)
    elif holder is None or holder.machine == this_machine():
        if not is_free:
            raise HeldError(str(holder or "another command"))
    else:
        check_silence(holder, silent_s)


def _beat(file: BinaryIO, ended: threading.Event) -> None:
    """Gives signs of life until the lock is given back."""
    while not ended.wait(BEAT_S):
        # If the disk is away for a while, the next write reports it.
        with contextlib.suppress(OSError):
            os.utime(file.fileno())


def _flock(file: BinaryIO, kind: int) -> bool | None:
    """Returns whether the flock was taken: no other process holds it; None: there is none here."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as exc:
        if exc.errno not in _NO_FLOCK:
            raise
        return None
    return True


def this_machine() -> str:
    """Returns the identity of the running kernel; containers of one kernel share its flocks."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()
