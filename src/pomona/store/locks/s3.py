"""Lock: who holds a store in a bucket, kept by conditional writes of one object.

Nobody but the server tells the time. A holder renews the object; once it has been silent for
`LEASE_S` anybody may put their own in its place, and at once where its process was on this machine
and is gone, which a file flocked in the folder for temporaries shows.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pomona.errors import ObjectChangedError, ObjectStoreError
from pomona.s3.bucket import Bucket, Got
from pomona.store.locks import lease
from pomona.store.locks.lease import LEASE_S, REFUSALS, HeldError, Holder


def put_settled(
    bucket: Bucket, key: str, data: bytes, *, if_match: str | None, if_absent: bool = False
) -> str:
    """A conditional `put` that may have been repeated: what is there already, as it was to be, is
    its own doing. Returns the ETag; raises ObjectChangedError.
    """
    try:
        return bucket.put(key, data, if_match=if_match, if_absent=if_absent)
    except ObjectChangedError:
        found = find(bucket, key)
        if found is not None and found.data == data:
            return found.etag
        raise


def find(bucket: Bucket, key: str) -> Got | None:
    """What is under a key, if anything."""
    try:
        return bucket.get(key)
    except FileNotFoundError:
        return None


@contextmanager
def hold(bucket: Bucket, key: str, command: str) -> Iterator[tuple[str, Holder | None]]:
    """Takes the lock for this process: its token, and whose lock on another machine had run out.

    Raises HeldError, ObjectStoreError.
    """
    me = Holder(uuid.uuid4().hex, command, os.getpid(), socket.gethostname(), lease.this_machine())
    with _alive(me.token):
        etag, expired = _take(bucket, key, me)
        beat = _Beat(bucket, key, me, etag)
        beat.start()
        try:
            yield me.token, expired
        finally:
            beat.end()


def check_free(found: Got | None) -> None:
    """Raises HeldError where somebody holds the lock that this is the object of."""
    holder = None if found is None else Holder.from_bytes(found.data)
    if found is None or holder is None or _is_gone(holder):
        return
    silent_s = found.now - found.modified
    if silent_s < LEASE_S:
        raise HeldError(
            f"{holder}, last heard of {max(0, silent_s):.0f} s ago, "
            f"whose lock ends {LEASE_S:.0f} s after its last sign of life"
        )


def _take(bucket: Bucket, key: str, me: Holder) -> tuple[str, Holder | None]:
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
                # Other bytes than before have another ETag: who takes it over meanwhile is refused.
                self._put(self._me.to_bytes() + b"\n" * (beats % 2))
            except ObjectChangedError:
                return  # it is somebody else's: the next write says so
            except ObjectStoreError:
                continue  # where the server is away for a while, the next write says so

    def _put(self, data: bytes) -> None:
        self._etag = put_settled(self._bucket, self._key, data, if_match=self._etag)

    def end(self) -> None:
        self._ended.set()
        self.join()
        # Who reads it later without a lock of their own is not to be told of this holder.
        with contextlib.suppress(ObjectStoreError):
            self._put(b"")


@contextmanager
def _alive(token: str) -> Iterator[None]:
    path = _life(token)
    with path.open("x") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _is_gone(holder: Holder) -> bool:
    """Whether the holder was on this machine, as this process sees it, and has ended."""
    if holder.machine != lease.this_machine() or not re.fullmatch(r"[0-9a-f]{32}", holder.token):
        return False
    try:
        with _life(holder.token).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # it lives, or its file is not to be seen from here
        return False
    return True


def _life(token: str) -> Path:
    return Path(tempfile.gettempdir(), f"pomona-{token}.alive")
