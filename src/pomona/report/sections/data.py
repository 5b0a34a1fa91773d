"""Data: the images of a store by label, split, format and size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import pyarrow as pa

from pomona.progress import count
from pomona.report.context import ReportContext
from pomona.report.files import Files
from pomona.report.formatting import natural_key

LABELS_SHOWN, LABELS_LISTED = 30, 2_000
SPLITS_SHOWN = 5
FEW_IMAGES = 10


@dataclass(frozen=True)
class LabelRow:
    """A label and its images: in each split that has a column, and in all."""

    label: str | None
    counts: list[int]
    total: int


@dataclass(frozen=True)
class Labels:
    """Images per label and split.

    Attributes
    ----------
    splits : list of (str or None)
        The splits with a column, the largest first.
    has_others : bool
        Whether a last column counts the images of further splits.
    is_split : bool
        Whether any image has a split.
    rows : list of LabelRow
        The labels in their natural order, no label last.
    most : int
        The images of the largest label.
    shown, listed : int
        How many labels the page shows, and how many more it lists.
    """

    splits: list[str | None]
    has_others: bool
    is_split: bool
    rows: list[LabelRow]
    most: int
    shown: int = LABELS_SHOWN
    listed: int = LABELS_LISTED


@dataclass(frozen=True)
class Data:
    """The images by label, and what their files are. images: their number."""

    images: int
    labels: Labels
    files: Files


def gather(context: ReportContext) -> Data:
    """Gathers the counts."""
    return Data(context.totals.images, _labels(context.label_counts), context.files)


def _labels(label_counts: pa.Table) -> Labels:
    pairs = label_counts.to_pylist()
    sizes: Counter[str | None] = Counter()
    for pair in sorted(pairs, key=lambda pair: natural_key(pair["split"])):
        sizes[pair["split"]] += pair["count_all"]
    shown = [split for split, _ in sizes.most_common(SPLITS_SHOWN)]
    has_others = len(sizes) > len(shown)
    counts: dict[str | None, list[int]] = {}
    for pair in pairs:
        row = counts.setdefault(pair["label"], [0] * (len(shown) + has_others))
        row[shown.index(pair["split"]) if pair["split"] in shown else -1] += pair["count_all"]
    rows = [
        LabelRow(label, counts[label], sum(counts[label]))
        for label in sorted(counts, key=natural_key)
    ]
    return Labels(
        splits=shown,
        has_others=has_others,
        is_split=set(sizes) - {None} != set(),
        rows=rows,
        most=max((row.total for row in rows), default=0),
    )


def sentences(data: Data) -> Iterator[str]:
    """Says how evenly the images are spread over the labels."""
    counts = [row.total for row in data.labels.rows if row.label is not None]
    if not counts:
        if data.images:
            yield "No image has a label."
        return
    if min(counts) < max(counts):
        yield (
            f"The {len(counts):,} labels have between {min(counts):,} and {max(counts):,} "
            "images each."
        )
    elif len(counts) == 1:
        yield f"The only label has {count(counts[0], 'image')}."
    else:
        yield f"Each of the {len(counts):,} labels has {count(counts[0], 'image')}."
    few = sum(number < FEW_IMAGES for number in counts)
    if few and median(counts) >= FEW_IMAGES:
        have = "label has" if few == 1 else "labels have"
        yield f"{few:,} {have} fewer than {FEW_IMAGES} images: too few to learn much from."
