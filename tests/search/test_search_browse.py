"""Browse: images of an index by label, path and file, across its batches."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pomona.search.browse import (
    count_labels,
    files_of_paths,
    row_of_path,
    rows_of_file,
    rows_of_label,
)
from pomona.search.files import SCHEMA, Images

LABELS: list[list[str | None]] = [["a", None, "b"], [], ["b", "a", "a"], [None, "c"]]


@pytest.fixture
def images() -> Images:
    rows, batches = iter(range(100)), []
    for labels in LABELS:
        batch = [
            {"path": f"p{(row := next(rows))}", "label": label, "sha256": f"{row % 3}"}
            for label in labels
        ]
        batches.append(pa.RecordBatch.from_pylist(batch, SCHEMA))
    return Images(batches)


def test_labels_are_counted_up_to_a_bound(images: Images) -> None:
    assert count_labels(images, 10) == ({"a": 3, None: 2, "b": 2, "c": 1}, 0)
    counts, others = count_labels(images, 2)
    assert len(counts) == 2
    assert sum(counts.values()) + others == len(images)


@pytest.mark.parametrize(
    ("label", "rows"), [("a", [0, 4, 5]), ("b", [2, 3]), (None, [1, 6]), ("no", [])]
)
def test_pages_of_a_label_are_its_rows_in_order(
    images: Images, label: str | None, rows: list[int]
) -> None:
    for start in range(4):
        for count in range(1, 5):
            assert rows_of_label(images, label, start, count) == rows[start : start + count]


def test_a_file_and_a_path_are_found(images: Images) -> None:
    assert rows_of_file(images, "1", 10) == [1, 4, 7]
    assert rows_of_file(images, "1", 2) == [1, 4]
    assert [row_of_path(images, f"p{row}") for row in range(8)] == list(range(8))
    assert row_of_path(images, "p8") is None
    assert files_of_paths(images, ["p7", "p8", "p0", "p7"]) == ["1", None, "0", "1"]
    assert files_of_paths(images, []) == []
    assert [images.batch_of(row) for row in range(8)] == [0, 0, 0, 2, 2, 2, 3, 3]
