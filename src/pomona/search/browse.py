"""Browse: the images of an index by their label, their path and their file.

Each look goes through the images once, some thousands at a time, and keeps little: 10 million take
a second or two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pomona.search.files import Images

Matches: TypeAlias = npt.NDArray[np.int64]
Match: TypeAlias = Callable[[pa.RecordBatch], pa.Array]


def count_labels(images: Images, most: int) -> tuple[dict[str | None, int], int]:
    """Counts the images of each label.

    Parameters
    ----------
    images : Images
        The images.
    most : int
        How many labels are told apart.

    Returns
    -------
    counts : dict
        How many images each label has; None: those without one.
    others : int
        How many images have labels beyond `most`.
    """
    counts: Counter[str | None] = Counter()
    others = 0
    for batch in images.batches():
        for each in pc.value_counts(batch.column("label")).to_pylist():
            if each["values"] in counts or len(counts) < most:
                counts[each["values"]] += each["counts"]
            else:
                others += each["counts"]
    return dict(counts), others


def rows_of_label(images: Images, label: str | None, start: int, count: int) -> list[int]:
    """Returns rows of a label: `count` of them after the first `start`. None: those without one."""

    def is_of(batch: pa.RecordBatch) -> pa.Array:
        column = batch.column("label")
        return pc.is_null(column) if label is None else pc.equal(column, label)

    return _first(_matches(images, is_of), start, count)


def rows_of_file(images: Images, sha256: str, count: int) -> list[int]:
    """Returns the first rows whose file has a SHA-256."""
    return _first(
        _matches(images, lambda batch: pc.equal(batch.column("sha256"), sha256)), 0, count
    )


def row_of_path(images: Images, path: str) -> int | None:
    """Returns the row of a path, if there is one."""
    rows = _first(_matches(images, lambda batch: pc.equal(batch.column("path"), path)), 0, 1)
    return rows[0] if rows else None


def files_of_paths(images: Images, paths: Sequence[str]) -> list[str | None]:
    """Returns the SHA-256 of the file of each path; None where it is not known."""
    wanted, found = pa.array(paths, pa.string()), dict[str, str | None]()
    for batch in images.batches():
        some = batch.filter(pc.is_in(batch.column("path"), value_set=wanted))
        found |= zip(some["path"].to_pylist(), some["sha256"].to_pylist(), strict=True)
    return [found.get(path) for path in paths]


def _matches(images: Images, match: Match) -> Iterator[Matches]:
    """The rows that match, batch by batch."""
    first = 0
    for batch in images.batches():
        found = pc.indices_nonzero(match(batch)).to_numpy().astype(np.int64)
        yield found + first
        first += batch.num_rows


def _first(found: Iterator[Matches], start: int, count: int) -> list[int]:
    """`count` rows after the first `start`."""
    rows: list[int] = []
    for some in found:
        skipped = min(start, len(some))
        start -= skipped
        rows += some[skipped : skipped + count - len(rows)].tolist()
        if len(rows) == count:
            break
    return rows
