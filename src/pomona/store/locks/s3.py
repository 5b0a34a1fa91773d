"""Lock: who holds a store in a bucket, by conditional writes of one object.

A holder renews the object. Once it has been silent for `LEASE_S` by the server's clock, another
command may put its own in its place. If the holder's process was on this machine and is gone, it
may do so at once: a flocked file in the machine's folder for temporaries tells.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pomona.errors import ObjectChangedError, ObjectStoreError
from pomona.s3.bucket import Bucket
from pomona.s3.objects import Got
from pomona.store.locks import lease
from pomona.store.locks.lease import REFUSALS, HeldError, Holder, check_silence


def put_settled(
    bucket: Bucket, key: str, data: bytes, *, if_match: str | None, if_absent: bool = False
) -> str:
    """Puts an object on a condition, in a request that the network may repeat.

    A condition that fails because the same bytes are there already was met by an earlier attempt.

    Parameters
    ----------
    bucket : Bucket
        Where to put it.
    key : str
        Its key.
    data : bytes
        Its content.
    if_match : str, optional
        The ETag of the object to replace.
    if_absent : bool
        Whether there must be no object yet.

    Returns
    -------
    str
        The new object's ETag.

    Raises
    ------
    ObjectChangedError
        If the condition does not hold.
    """
    try:
        return bucket.put(key, data, if_match=if_match, if_absent=if_absent)
    except ObjectChangedError:
        found = find(bucket, key)
        if found is not None and found.data == data:
            return found.etag
        raise


def find(bucket: Bucket, key: str) -> Got | None:
    """Returns the object of a key; None if there is none.

    Parameters
    ----------
    bucket : Bucket
        Where to look.
    key : str
        Its key.
    """
    try:
        return bucket.get(key)
    except FileNotFoundError:
        return None


@contextmanager
def hold(bucket: Bucket, key: str, command: str) -> Iterator[tuple[str, Holder | None]]:
    """Holds a lock for this process.

    Parameters
    ----------
    bucket : Bucket
        Where the lock lies.
    key : str
        The lock's key.
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
    ObjectStoreError
        If the bucket cannot be used.
    """
    me = Holder.this_process(command)
    with _alive(me.token):
        etag, expired = _take(bucket, key, me)
        beat = _Beat(bucket, key, me, etag)
        beat.start()
        try:
            yield me.token, expired
        finally:
            beat.end()


def check_free(found: Got | None) -> None:
    """Checks that nobody holds a lock.

    Parameters
    ----------
    found : Got, optional
        The lock's object; None if there is none.

    Raises
    ------
    HeldError
        If another process holds it.
    """
    holder = None if found is None else Holder.from_bytes(found.data)
    if found is None or holder is None or _is_gone(holder):
        return
    check_silence(holder, found.now - found.modified)


def _take(bucket: Bucket, key: str, me: Holder) -> tuple[str, Holder | None]:
    """Returns the ETag of the lock's object, and who held it until it ran out; raises HeldError."""
    for _ in range(REFUSALS):
        found = find(bucket, key)
        check_free(found)
        holder = None if found is None else Holder.from_bytes(found.data)
        with contextlib.suppress(ObjectChangedError):  # another was faster: look again
            etag = put_settled(
                bucket,
                key,
                me.to_bytes(),
                if_match=found.etag if found else None,
                if_absent=found is None,
            )
            if holder and _is_gone(holder):
                with contextlib.suppress(OSError):  # another user's, who may remove it
                    _life(holder.token).unlink()
                holder = None
            return etag, holder
    raise HeldError("other commands that take it again and again")


class _Beat(threading.Thread):
    """Renews the lock until it ends, then gives it back."""

    def __init__(self, bucket: Bucket, key: str, me: Holder, etag: str) -> None:
        super().__init__(daemon=True)
        self._bucket, self._key, self._me, self._etag = bucket, key, me, etag
        self._ended = threading.Event()

    def run(self) -> None:
        beats = 0
        while not self._ended.wait(lease.BEAT_S):
            beats += 1
            try:
                # Other bytes have another ETag, which refuses a command that is taking it over.
                self._put(self._me.to_bytes() + b"\n" * (beats % 2))
            except ObjectChangedError:
                return  # another command has it: the next write reports that
            except ObjectStoreError:
                continue  # if the server stays away, the next write reports it

    def _put(self, data: bytes) -> None:
        self._etag = put_settled(self._bucket, self._key, data, if_match=self._etag)

    def end(self) -> None:
        """Stops renewing the lock, and empties it."""
        self._ended.set()
        self.join()
        # A later reader must not take this holder for a present one.
        with contextlib.suppress(ObjectStoreError):
            self._put(b"")


@contextmanager
def _alive(token: str) -> Iterator[None]:
    """Keeps the file flocked by which other processes of this machine see that this one lives."""
    path = _life(token)
    with path.open("x") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _is_gone(holder: Holder) -> bool:
    """Returns whether the holder was on this machine, as this process sees it, and has ended."""
    if holder.machine != lease.this_machine() or not re.fullmatch(r"[0-9a-f]{32}", holder.token):
        return False
    try:
        with _life(holder.token).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # it lives, or its file cannot be seen from here
        return False
    return True


def _life(token: str) -> Path:
    """Returns the path of a holder's file."""
    return Path(tempfile.gettempdir(), f"pomona-{token}.alive")
