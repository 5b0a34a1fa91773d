"""The lock of a store in a bucket: conditional writes, by the server's clock."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from conftest import Pomona, wait_for
from machine import need
from pomona.errors import StoreBusyError
from pomona.store.folders.registry import open_folder
from pomona.store.folders.s3 import S3Folder
from pomona.store.layout import LOCK
from pomona.store.locks import lease
from pomona.store.locks.lease import LEASE_S, Holder
from pomona.store.store import Store
from s3_server import Place, bucket, fresh_connections, proxy, s3_server

__all__ = ["bucket", "s3_server"]

ELSEWHERE = Holder("1", "pomona run photos out", 42, "node-7", "another kernel")
HOLDER = """
import sys
from pomona import Store
with Store(sys.argv[1]).lock("pomona run here"):
    print("held", flush=True)
    sys.stdin.read()
"""


def folder(bucket: Place, name: str) -> S3Folder:
    opened = open_folder(bucket.at(name))
    assert isinstance(opened, S3Folder)
    return opened


def put(bucket: Place, key: str, data: bytes, age_s: float = 0.0) -> None:
    """age_s: how long ago that was, for a server that can be told so."""
    bucket.server.client().put_object(Bucket=bucket.name, Key=key, Body=data)
    if age_s:
        need("s3 files")
        assert bucket.server.folder is not None
        then = time.time() - age_s
        os.utime(bucket.server.folder / bucket.name / key, (then, then))


def test_only_one_command_holds_a_store(bucket: Place, photos: Path, pomona: Pomona) -> None:
    out = bucket.at("held")
    with Store(out).lock("pomona run elsewhere"):
        for args in (("run", photos, out), ("verify", out)):
            refused = pomona(*args)
            assert refused.status == 1
            assert f"{out} is in use by pomona run elsewhere (process {os.getpid()}" in (
                refused.complaint
            )
    pomona.done("run", photos, out, "--quiet")


def test_one_of_many_at_once_takes_the_lock(bucket: Place) -> None:
    files, got, start = folder(bucket, "many"), [], threading.Barrier(6)
    over = threading.Event()

    def ask(number: int) -> None:
        start.wait()
        try:
            with files.lock(LOCK, f"command {number}"):
                got.append(number)
                over.wait(60)
        except StoreBusyError:
            got.append(None)  # type: ignore[arg-type]
        finally:
            if len(got) == 6:
                over.set()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(got) == 6)
    over.set()
    for thread in threads:
        thread.join()
    assert got.count(None) == 5  # type: ignore[arg-type]


def test_a_lock_without_signs_of_life_runs_out(bucket: Place, photos: Path, pomona: Pomona) -> None:
    out, key = bucket.at("stale"), f"stale/{LOCK}"
    put(bucket, key, ELSEWHERE.to_bytes(), age_s=LEASE_S / 2)
    for args in (("run", photos, out), ("verify", out)):
        refused = pomona(*args)
        assert refused.status == 1
        assert "pomona run photos out (process 42 on node-7), last heard from" in refused.complaint
    put(bucket, key, ELSEWHERE.to_bytes(), age_s=LEASE_S + 2)
    ended = pomona.done("run", photos, out)
    assert "the lock of pomona run photos out (process 42 on node-7) had expired" in ended.stderr
    assert bucket.contents("stale")[LOCK] == b""


def test_a_command_that_lost_its_lock_cannot_write(bucket: Place) -> None:
    files = folder(bucket, "lost")
    with files.lock(LOCK, "pomona run slow") as (mine, _):
        mine.write("before", b"1")
        put(bucket, f"lost/{LOCK}", ELSEWHERE.to_bytes())
        mine._checked -= 60.0  # as a minute later
        with pytest.raises(StoreBusyError, match="was taken over by pomona run photos out"):
            mine.write("after", b"2")
        with pytest.raises(StoreBusyError, match="was taken over"):
            mine.delete("before")
    assert bucket.contents("lost") == {"before": b"1", LOCK: ELSEWHERE.to_bytes()}


def test_the_lock_of_a_dead_process_of_this_machine_is_free(bucket: Place) -> None:
    out = bucket.at("died")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, out], stdin=pipe, stdout=pipe, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreBusyError, match="is in use by pomona run here"):
            Store(out).lock("pomona run").__enter__()
        holder.kill()
    with Store(out).lock("pomona run") as (_, notice):
        assert notice is None


def test_a_holder_renews_its_lock(bucket: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.01)
    with proxy(bucket.server) as before, fresh_connections():
        monkeypatch.setenv("AWS_ENDPOINT_URL", before.endpoint)
        with Store(bucket.at("beating")).lock("pomona run") as (_, notice):
            assert notice is None
            wait_for(lambda: before.counts["Methods"].get("PUT", 0) >= 5)
            assert Holder.from_bytes(bucket.contents("beating")[LOCK]) is not None
    assert bucket.contents("beating")[LOCK] == b""
