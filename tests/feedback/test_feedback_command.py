"""`pomona feedback` shows, counts and gives labels; verify and forget know of feedback/."""

from __future__ import annotations

import io
import json
from datetime import datetime, timezone
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from conftest import Here, Pomona
from pomona.api import open as open_store
from pomona.errors import StoreBusyError, UsageError
from pomona.feedback.journal import Entry, Journal
from pomona.feedback.labels import write_labels
from pomona.feedback.tally import parse_since, tally
from pomona.images.label_files import read_columns
from pomona.maintenance.forget import forget
from pomona.maintenance.verify import verify
from pomona.pipeline.context import RunSettings
from pomona.progress import PlainProgress
from pomona.store.layout import FEEDBACK_LOCK
from pomona.store.store import Store


def at(day: int) -> datetime:
    return datetime(2026, 5, day, 12, tzinfo=timezone.utc)


@pytest.fixture
def told(store: Path) -> Path:
    """A store with feedback on two of its images, and on images that it does not have."""
    images = open_store(store).metadata().slice(0, 2).to_pylist()
    journal = Journal(store)
    first, second = (image["sha256"] for image in images)
    journal.append(Entry("p1", first, "Pear", 0.9, "m1", True, time=at(1)))
    journal.append(Entry("p2", second, "Pear", 0.6, "m1", False, "Plum 2", "kept/2.jpg", at(2)))
    journal.append(Entry("p3", second, "Pear", 0.6, "m1", False, "Quince", time=at(3)))
    journal.gather()
    journal.append(Entry("p4", "e" * 64, "Plum 2", 0.5, "m1", False, time=at(4)))
    journal.append(Entry("p5", "f" * 64, "Plum 2", 0.5, "m1", False, "Pear", time=at(5)))
    return store


def test_what_users_say_is_shown_and_counted(told: Path, pomona: Pomona) -> None:
    lines = pomona.done("feedback", told).stdout.splitlines()
    assert lines[:2] == [
        "2026-05-01 12:00  Pear 90.0%  right",
        "2026-05-02 12:00  Pear 60.0%  wrong, it is Plum 2",
    ]
    assert "2026-05-04 12:00  Plum 2 50.0%  wrong, no label given" in lines
    assert "1 of 5 predictions right (20.0%)" in lines
    told_json = json.loads(pomona.done("feedback", told, "--json").stdout)
    assert (told_json["entries"], told_json["right"], told_json["share"]) == (5, 1, 0.2)
    assert [each["id"] for each in told_json["feedback"]] == ["p1", "p2", "p3", "p4", "p5"]
    assert told_json["feedback"][1]["photograph"] == "kept/2.jpg"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--label", "Plum 2"], ["p2", "p4", "p5"]),
        (["--since", "2026-05-03"], ["p3", "p4", "p5"]),
        (["--since", "2026-05-03T12:00:01", "--label", "Pear"], ["p5"]),
        (["--since", "2026-05-03T14:00:00+02:00"], ["p3", "p4", "p5"]),
        (["--label", "nothing"], []),
    ],
)
def test_entries_are_chosen(
    told: Path, pomona: Pomona, flags: list[str], expected: list[str]
) -> None:
    found = json.loads(pomona.done("feedback", told, "--json", *flags).stdout)
    assert [each["id"] for each in found["feedback"]] == expected


def test_labels_are_written_as_train_reads_them(told: Path, pomona: Pomona, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    shown = pomona.done("feedback", told, "--labels-file", file).stdout
    images = open_store(told).metadata().slice(0, 2)
    given = read_columns(file, ("path", "label"))[0]
    assert given["path"].to_pylist() == sorted(images["path"].to_pylist())
    labels = dict(zip(*(given[name].to_pylist() for name in ("path", "label")), strict=True))
    first, second = images["path"].to_pylist()
    assert labels == {first: "Pear", second: "Quince"}
    assert f"{file}: 2 images of the store, " in shown
    assert "1 image with several right labels: the last one counts" in shown
    assert "left out: 1 entry of images that the store does not have" in shown
    assert "left out: 1 entry without a right label" in shown


def test_copies_of_an_image_all_get_its_label(told: Path, tmp_path: Path) -> None:
    store = Store(told)
    [name] = store.part_names("metadata")[:1]
    rows, footer = store.read_with_footer(name)
    digest = rows["sha256"][0].as_py()
    same = [digest] * rows.num_rows
    at_column = rows.schema.get_field_index("sha256")
    field = rows.schema.field("sha256")
    store.write_table(name, rows.set_column(at_column, field, [same]), footer)
    entry = Entry("p1", digest, "Pear", 0.9, "m1", False, "Quince")
    Journal(told).append(entry)
    written = write_labels(store, Journal(told).read(), tmp_path / "labels.csv")
    assert written.images >= rows.num_rows


def test_without_feedback_there_is_a_file_without_lines(
    store: Path, pomona: Pomona, tmp_path: Path
) -> None:
    file = tmp_path / "labels.csv"
    assert "No feedback" in pomona.done("feedback", store, "--labels-file", file).stdout
    assert pyarrow.csv.read_csv(file).column_names == ["path", "label"]


def test_what_cannot_be_is_said_in_a_line(told: Path, pomona: Pomona, tmp_path: Path) -> None:
    ended = pomona("feedback", told, "--since", "yesterday")
    assert ended.status == 2
    assert ended.complaint.startswith("pomona: --since yesterday: give a date or a time in UTC")
    ended = pomona("feedback", told, "--labels-file", tmp_path / "no" / "labels.csv")
    assert ended.status == 2
    assert "No such file or directory; check --labels-file" in ended.complaint
    ended = pomona("feedback", tmp_path)
    assert ended.status == 1
    assert "is not a pomona store" in ended.complaint


def test_a_time_without_a_zone_is_in_utc() -> None:
    assert parse_since("2026-05-01") == datetime(2026, 5, 1, tzinfo=timezone.utc)
    assert parse_since("2026-05-01T12:00Z") == at(1)
    with pytest.raises(UsageError, match="`since` 1 May"):
        parse_since("1 May")


def test_mistakes_are_counted_the_most_frequent_first(told: Path) -> None:
    journal = Journal(told)
    journal.append(Entry("p6", "e" * 64, "Plum 2", 0.5, "m1", False))
    counted = tally(journal.read())
    assert (counted.entries, counted.right) == (6, 1)
    assert counted.mistaken == [
        ("Plum 2", None, 2),
        ("Pear", "Plum 2", 1),
        ("Pear", "Quince", 1),
        ("Plum 2", "Pear", 1),
    ]


def test_labels_of_the_store_are_counted_apart(told: Path, pomona: Pomona) -> None:
    journal = Journal(told)
    for digit, right in (("a", "Pear"), ("b", "Quince")):
        name, digest = f"store-{digit * 64}", digit * 64
        journal.append(Entry(name, digest, "Pear", 1, "store", right == "Pear", right, time=at(6)))
    counted = tally(journal.read())
    assert (counted.entries, counted.right) == (5, 1)
    assert (counted.stored, counted.stored_right) == (2, 1)
    assert ("Pear", "Quince", 1) in counted.mistaken  # of a prediction
    lines = pomona.done("feedback", told).stdout.splitlines()
    assert "2026-05-06 12:00  Pear in the store  wrong, it is Quince" in lines
    assert "1 of 2 labels in the store right" in lines
    assert "1 of 5 predictions right (20.0%)" in lines


def test_a_whole_journal_has_no_faults(told: Path) -> None:
    assert verify(told, RunSettings(Here())).findings == []


def test_faults_of_feedback_are_found(told: Path) -> None:
    part, entry, *_ = sorted((told / "feedback").iterdir(), reverse=True)
    part.write_bytes(part.read_bytes()[:-10])
    rows = pq.read_table(entry)
    column = rows.schema.get_field_index("confirmed")
    wrong = rows.set_column(column, rows.schema.field(column), [[True]])
    Store(told).write_table(f"feedback/{entry.name}", wrong.replace_schema_metadata())
    (told / "feedback" / "notes.txt").write_text("x")
    (told / "feedback" / "_hidden").write_text("x")
    found = sorted(map(str, verify(told, RunSettings(Here())).findings))
    assert found == sorted(
        [
            f"feedback/{part.name}: is damaged; restore it from a copy, or delete it",
            f"feedback/{entry.name}: has 1 row that contradict themselves; restore it from a "
            "copy, or delete it",
            "feedback/notes.txt: is no file of feedback; remove it",
        ]
    )


def forget_some(store: Path, paths: list[str]) -> list[str]:
    said = io.StringIO()
    forget(store, paths, RunSettings(Here(), PlainProgress(said)))
    return said.getvalue().splitlines()


def traces(store: Path, needle: str) -> list[str]:
    """The files of feedback/ and those of pomona's own that hold a text."""
    found = []
    for path in sorted([*(store / "feedback").iterdir(), *(store / "_pomona").iterdir()]):
        if path.suffix == ".parquet":
            data = str(pq.read_table(path).to_pydict())
        else:
            data = path.read_text("utf-8", "replace") if path.is_file() else ""
        found += [path.name] * (needle in data)
    return found


@pytest.mark.parametrize("gathered", [False, True])
def test_what_is_said_of_a_forgotten_image_is_forgotten(told: Path, gathered: bool) -> None:
    if gathered:
        Journal(told).gather()
    second = open_store(told).metadata().slice(1, 1).to_pylist()[0]
    assert traces(told, second["sha256"])
    said = forget_some(told, [second["path"]])
    assert Journal(told).read(revisions=True)["id"].to_pylist() == ["p1", "p4", "p5"]
    assert traces(told, second["sha256"]) == []
    assert any("1 entry of feedback that is forgotten, the photograph was kept" in x for x in said)
    assert verify(told, RunSettings(Here())).findings == []


def test_a_forget_that_finds_feedback_in_use_is_finished_later(told: Path) -> None:
    second = open_store(told).metadata().slice(1, 1).to_pylist()[0]
    with (
        Store(told).files.lock(FEEDBACK_LOCK, "gather feedback"),
        pytest.raises(StoreBusyError, match="is in use by"),
    ):
        forget_some(told, [second["path"]])
    assert second["path"] not in open_store(told).metadata()["path"].to_pylist()
    forget_some(told, [])
    assert Journal(told).read(revisions=True)["id"].to_pylist() == ["p1", "p4", "p5"]
    assert traces(told, second["sha256"]) == []
