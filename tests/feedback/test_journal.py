"""The journal of feedback: durable, append only, one answer for a prediction."""

from __future__ import annotations

import os
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pomona.errors import StoreDamagedError, StoreError, UsageError
from pomona.feedback import journal as journals
from pomona.feedback.journal import Entry, Journal
from pomona.store import feedback, schemas
from pomona.store.folders.local import LocalFolder
from pomona.store.recipe import Recipe
from pomona.store.store import Store

NOON = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)


def entry(name: str, *, label: str | None = "Apple", minutes: int = 0, image: str = "a") -> Entry:
    """What somebody says of a prediction of "Apple"."""
    time = NOON + timedelta(minutes=minutes)
    return Entry(name, image * 64, "Apple", 0.75, "m1", label == "Apple", label, time=time)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    store.begin("photos", Recipe("efficientnet_lite0", "a" * 64, "b" * 64, 224, 5))
    return store


@pytest.fixture
def journal(store: Store) -> Journal:
    return Journal(store)


def files(store: Store) -> list[str]:
    return [name.partition("/")[2] for name in store.files.names("feedback")]


def test_an_entry_is_read_as_it_was_written(journal: Journal) -> None:
    kept = Entry("p1", "0f" * 32, "Apple", 0.75, "m1", False, "Pear", "kept/é.jpg", NOON)
    journal.append(kept)
    table = journal.read()
    assert table.schema.equals(schemas.FEEDBACK)
    assert [Entry(**row) for row in table.to_pylist()] == [kept]


def test_an_empty_journal_has_no_rows(journal: Journal) -> None:
    assert journal.read().num_rows == 0
    assert journal.gather() == 0


def test_the_last_answer_for_a_prediction_counts_and_the_others_stay(journal: Journal) -> None:
    for minutes, label in enumerate(["Apple", "Pear", None, "Plum"]):
        journal.append(entry("p1", label=label, minutes=minutes))
    journal.append(entry("p2", minutes=4))
    for _ in range(2):
        assert [(row["id"], row["label"]) for row in journal.read().to_pylist()] == [
            ("p1", "Plum"),
            ("p2", "Apple"),
        ]
        assert journal.read(revisions=True)["label"].to_pylist() == [
            *("Apple", "Pear", None, "Plum", "Apple"),
        ]
        journal.gather()


def test_entries_come_in_the_order_of_their_time(journal: Journal) -> None:
    for minutes in (3, 1, 2):
        journal.append(entry(f"p{minutes}", minutes=minutes))
    assert journal.read()["id"].to_pylist() == ["p1", "p2", "p3"]


def test_appending_gathers_entries_by_itself(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "LOOK_EVERY", 5)
    monkeypatch.setattr(journals, "MOST_ENTRIES", 4)
    for number in range(23):
        journal.append(entry(f"p{number}", minutes=number))
    assert len(files(journal.store)) < 10
    assert journal.read()["id"].to_pylist() == [f"p{number}" for number in range(23)]


def test_a_full_part_is_left_alone(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback, "PART_ROWS", 3)
    parts = []
    for number in range(7):
        journal.append(entry(f"p{number}", minutes=number))
        assert journal.gather() == 1
        parts.append(files(journal.store))
    names = [f"part-{part:05d}.parquet" for part in range(3)]
    assert parts == [names[:1]] * 3 + [names[:2]] * 3 + [names]
    assert journal.read().num_rows == 7


def test_threads_append_at_once_while_another_gathers(journal: Journal) -> None:
    def append(who: int) -> None:
        for number in range(15):
            journal.append(entry(f"{who}-{number}"))

    threads = [threading.Thread(target=append, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        journal.gather()
        table = journal.read(revisions=True)
        assert len(set(table["id"].to_pylist())) == table.num_rows
    for thread in threads:
        thread.join()
    assert sorted(journal.read()["id"].to_pylist()) == sorted(
        f"{who}-{number}" for who in range(4) for number in range(15)
    )


def test_a_command_that_begins_meanwhile_costs_no_entry(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It removes what dead ones left half-written, and cannot know who is alive."""
    synced = os.fsync
    swept: list[int] = []

    def sweep_first(file: int) -> None:
        synced(file)
        if len(swept) < 3:
            swept.append(file)
            LocalFolder(journal.store.files.root).sweep()

    monkeypatch.setattr(os, "fsync", sweep_first)
    journal.append(entry("p1"))
    assert len(swept) == 3
    assert journal.read()["id"].to_pylist() == ["p1"]


def test_appending_needs_no_lock(journal: Journal) -> None:
    with journal.store.lock("pomona run"):
        journal.append(entry("p1"))
        assert journal.gather() == 1
    assert journal.read().num_rows == 1


@pytest.mark.parametrize("gathered", [False, True])
def test_a_damaged_file_is_named_and_keeps_no_entry_from_being_added(
    journal: Journal, gathered: bool
) -> None:
    journal.append(entry("p1"))
    if gathered:
        journal.gather()
    [name] = journal.store.files.names("feedback")
    path = Path(journal.store.files.path(name))
    path.write_bytes(path.read_bytes()[:-20])
    journal.append(entry("p2"))
    assert journal.gather() == 1
    with pytest.raises(StoreDamagedError, match=f"{name} is damaged: restore it from a copy"):
        journal.read()
    path.unlink()
    assert journal.read()["id"].to_pylist() == ["p2"]


def test_a_file_of_other_columns_is_damaged(journal: Journal) -> None:
    journal.store.write_table("feedback/part-00000.parquet", pa.table({"id": ["p1"]}))
    with pytest.raises(StoreDamagedError, match="is damaged"):
        journal.read()


def test_plain_readers_read_the_folder(journal: Journal) -> None:
    journal.append(entry("p1"))
    journal.gather()
    journal.append(entry("p2"))
    table = pq.read_table(journal.store.files.path("feedback"))
    assert sorted(table["id"].to_pylist()) == ["p1", "p2"]


def test_a_folder_that_is_no_store_has_no_journal(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a pomona store"):
        Journal(tmp_path)


def test_a_confirmed_label_is_the_right_one() -> None:
    assert Entry("p1", "a" * 64, "Apple", 0.5, "m1", confirmed=True).label == "Apple"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"id": ""}, "`id`: give a text of 1 to 4,096 characters"),
        ({"model": "m" * 5000}, "`model`: give a text"),
        ({"id": "\udc80"}, "leave out control characters and half characters"),
        ({"label": "Apple\x1b[2J", "confirmed": False}, "leave out control characters"),
        ({"sha256": "a" * 63}, "`sha256` 'a+': give 64 hexadecimal digits"),
        ({"sha256": "A" * 64}, "give 64 hexadecimal digits"),
        ({"probability": float("nan")}, "`probability` nan: give a number between 0 and 1"),
        ({"probability": 1.5}, "`probability` 1.5"),
        ({"time": datetime(2026, 5, 1)}, "with a time zone"),
        ({"label": "Pear"}, "'Pear' and `confirmed` True contradict each other: 'Apple' was"),
        ({"confirmed": False, "label": "Apple"}, "contradict each other"),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, object], message: str) -> None:
    right = {
        "id": "p1",
        "sha256": "a" * 64,
        "predicted": "Apple",
        "probability": 0.5,
        "model": "m1",
        "confirmed": True,
    }
    with pytest.raises(UsageError, match=message):
        Entry(**{**right, **wrong})  # type: ignore[arg-type]
