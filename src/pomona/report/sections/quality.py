"""Data quality: exact copies, near-duplicates, possible mislabels and outliers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pomona.progress import count
from pomona.report.context import ReportContext
from pomona.report.copies import Copies
from pomona.report.formatting import percent
from pomona.report.neighbours import Comparison, compare
from pomona.report.projected import ImageRef


@dataclass(frozen=True)
class Quality:
    """What may be wrong with the images and their labels.

    Attributes
    ----------
    copies : Copies
        Files that are the same, byte for byte.
    comparison : Comparison or None
        The images compared on the components. None: there are no two different ones.
    """

    copies: Copies
    comparison: Comparison | None


def gather(context: ReportContext) -> Quality:
    """Compares the images."""
    projected = context.projected
    return Quality(context.copies, compare(projected, context.threads) if projected else None)


def sentences(quality: Quality) -> Iterator[str]:
    """Says how many images are repeated, leak between splits or may be mislabelled."""
    repeated = quality.copies.label_contents
    if repeated:
        occur = "occurs" if repeated == 1 else "occur"
        yield f"{count(repeated, 'file')} {occur} under more than one label, byte for byte."
    comparison = quality.comparison
    if comparison is None or not comparison.near_duplicates.images:
        return
    near = comparison.near_duplicates
    yield f"{percent(near.images / comparison.compared, 0)} of the images have a near-duplicate."
    if near.other_split:
        yield (
            f"For {count(near.other_split, 'image')} it is in another split: a classifier's score "
            "there will look better than it is."
        )
    suspects = comparison.mislabels.images
    if suspects:
        yield (
            f"{count(suspects, 'image')} may be mislabelled: most of the nearest images have "
            "another label."
        )


def pictures(quality: Quality) -> Iterator[ImageRef]:
    """Yields the images of pairs, then possible mislabels, then outliers."""
    comparison = quality.comparison
    if comparison is None:
        return
    near = comparison.near_duplicates
    for pair in (*near.label_pairs, *near.pairs):
        yield from pair.images
    for suspect in comparison.mislabels.shown:
        yield suspect.image
    for outlier in comparison.outliers:
        yield outlier.image
