"""Files: the formats and sizes of a store's images."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pomona.progress import count
from pomona.report.formatting import natural_key

KINDS_SHOWN = 10

Counts = list[tuple[str, int]]


@dataclass(frozen=True)
class Files:
    """The formats and sizes of files, each kind with its number of images.

    Attributes
    ----------
    formats, dimensions : list of (str, int)
        The most frequent ones, then the rest together, then those not known.
    sizes : list of (str, int)
        The smallest, the median, the largest and the total size, in bytes.
    most_pixels : int
        Width times height of the largest image, 0 where none is known.
    """

    formats: Counts
    dimensions: Counts
    sizes: Counts
    most_pixels: int


def describe_files(metadata: pa.Table) -> Files:
    """Counts the formats and sizes of files.

    Parameters
    ----------
    metadata : pyarrow.Table
        format, width, height and size_bytes: a row per image.
    """
    return Files(
        _count_kinds(metadata["format"]),
        _count_kinds(_dimensions(metadata)),
        _sizes(metadata),
        _most_pixels(metadata),
    )


def _count_kinds(column: pa.ChunkedArray) -> Counts:
    """The most frequent values with their counts, then the others' and the nulls'."""
    pairs = [(pair["values"], pair["counts"]) for pair in pc.value_counts(column).to_pylist()]
    # Values of the same count stay in the order of their names.
    kinds = Counter(dict(sorted(pairs, key=lambda pair: natural_key(pair[0]))))
    unknown = kinds.pop(None, 0)
    top = kinds.most_common(KINDS_SHOWN)
    rest = {
        count(len(kinds) - len(top), "other"): kinds.total() - sum(number for _, number in top),
        "not known": unknown,
    }
    return [(str(kind), number) for kind, number in [*top, *rest.items()] if number]


def _dimensions(metadata: pa.Table) -> pa.ChunkedArray:
    """string[n]: width × height."""
    texts = [metadata[side].cast(pa.string()) for side in ("width", "height")]
    return pc.binary_join_element_wise(*texts, " × ")


def _sizes(metadata: pa.Table) -> Counts:
    known = pc.drop_null(metadata["size_bytes"])
    if not len(known):
        return []
    ends = pc.min_max(known)
    [median] = pc.quantile(known, 0.5, interpolation="lower").to_pylist()
    return [
        ("smallest", ends["min"].as_py()),
        ("median", median),
        ("largest", ends["max"].as_py()),
        ("total", pc.sum(known).as_py()),
    ]


def _most_pixels(metadata: pa.Table) -> int:
    width, height = (metadata[side].cast(pa.int64()) for side in ("width", "height"))
    return pc.max(pc.multiply(width, height)).as_py() or 0
