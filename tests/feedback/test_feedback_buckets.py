"""A journal in a bucket: the same promises, by a real S3 server."""

from __future__ import annotations

import subprocess
import sys

import pytest
from test_feedback_kills import SCRIPT, python_path

from pomona.errors import StoreError
from pomona.feedback.journal import Entry, Journal
from pomona.store import feedback
from pomona.store.recipe import Recipe
from pomona.store.store import Store
from s3_server import Place, bucket, s3_server

__all__ = ["bucket", "s3_server"]


def begin(address: str) -> Journal:
    Store(address).begin("photos", Recipe("efficientnet_lite0", "a" * 64, "b" * 64, 224, 5))
    return Journal(address)


def entry(name: str, image: str = "a") -> Entry:
    return Entry(name, image * 64, "Apple", 0.75, "m1", confirmed=True)


def test_entries_are_appended_gathered_and_read(bucket: Place) -> None:
    journal = begin(bucket.at("plain"))
    for number in range(3):
        journal.append(entry(f"p{number}"))
    assert journal.gather() == 3
    journal.append(entry("p3"))
    assert journal.read()["id"].to_pylist() == ["p0", "p1", "p2", "p3"]
    names = sorted(name for name in bucket.contents("plain") if name.startswith("feedback/"))
    assert len(names) == 2
    assert names[1] == "feedback/part-00000.parquet"


def test_images_are_erased(bucket: Place) -> None:
    journal = begin(bucket.at("erased"))
    for number, image in enumerate("abab"):
        journal.append(entry(f"p{number}", image))
        if number == 1:
            journal.gather()
    assert feedback.erase(journal.store, {"a" * 64}) == [None, None]
    assert journal.read()["id"].to_pylist() == ["p1", "p3"]


def test_a_process_that_is_killed_loses_and_doubles_nothing(bucket: Place) -> None:
    address, count = bucket.at("killed"), 40
    journal = begin(address)
    started = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), address, name, str(count)],
            env=python_path(),
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b")
    ]
    killed, other = started
    assert killed.stdout is not None
    said = [killed.stdout.readline() for _ in range(12)]
    killed.kill()
    rest, _ = killed.communicate()
    told, _ = other.communicate(timeout=120)
    assert other.returncode == 0
    acknowledged = {*"".join(said).splitlines(), *rest.splitlines(), *told.splitlines()}
    found = journal.read(revisions=True)["id"].to_pylist()
    assert len(found) == len(set(found))
    assert acknowledged <= set(found)
    assert len(set(found) - acknowledged) <= 1
    assert bucket.unfinished() == 0


def test_a_prefix_without_a_store_has_no_journal(bucket: Place) -> None:
    with pytest.raises(StoreError, match="is not a pomona store"):
        Journal(bucket.at("nowhere"))
    assert bucket.contents("nowhere") == {}
