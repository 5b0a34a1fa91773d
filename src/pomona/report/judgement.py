"""Judgement: what the numbers say, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

MANY_ERRORS = 0.05
FEW_IMAGES = 10
LATE = 0.25
WORSE = 0.05


def count(number: int, noun: str) -> str:
    """A number and its noun: 1 image, 2,000 images."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def percent(share: float, digits: int = 1) -> str:
    """A share as percent, with a space that does not break: 90.1 %."""
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def sentences(found: dict[str, Any], is_stopped: bool) -> list[str]:
    """What stands out in the page's numbers."""
    return [
        *_images(found["totals"], is_stopped),
        *_labels(found["labels"]["rows"], found["totals"]["images"]),
        *_components(found["variance"], found["added"], found["totals"]["features"]),
        *_copies(found["copies"]),
        *_neighbours(found["neighbours"]),
    ]


def _images(totals: dict[str, int], is_stopped: bool) -> Iterator[str]:
    images, errors, features = totals["images"], totals["errors"], totals["features"]
    if is_stopped:
        left = images - features - errors
        missing = f", {left:,} of {count(images, 'image')} {'is' if left == 1 else 'are'} missing"
        yield (
            f"A run of this store was stopped{missing if left > 0 else ''}: "
            "give its command again to finish it."
        )
    elif not images:
        yield "The store holds no images."
    elif not errors:
        yield "Every image gave features."
    elif not features:
        yield "No image gave features: see Errors below."
    else:
        many = ", which is many" if errors > MANY_ERRORS * images else ""
        yield f"{errors:,} of {count(images, 'image')} gave no features{many}: see Errors below."


def _labels(rows: list[dict[str, Any]], images: int) -> Iterator[str]:
    counts = [row["total"] for row in rows if row["label"] is not None]
    if not counts:
        if images:
            yield "No image has a label."
        return
    if min(counts) < max(counts):
        yield f"The {len(counts):,} labels' counts range from {min(counts):,} to {max(counts):,}."
    else:
        each = (
            "The only label has" if len(counts) == 1 else f"Each of the {len(counts):,} labels has"
        )
        yield f"{each} {count(counts[0], 'image')}."
    few = sum(number < FEW_IMAGES for number in counts)
    if few and median(counts) >= FEW_IMAGES:
        has = "label has" if few == 1 else "labels have"
        yield f"{few:,} {has} fewer than {FEW_IMAGES} images: little to learn from."


def _components(
    variance: dict[str, Any] | None, added: dict[str, Any] | None, features: int
) -> Iterator[str]:
    if variance is None or variance["is_flat"]:
        return
    needed = dict(variance["needed"])[0.90]
    if needed > LATE * variance["all"] and variance["all"] > FEW_IMAGES:
        yield (
            f"The variance comes late: {percent(0.90, 0)} needs {needed:,} of the "
            f"{variance['all']:,} components, so that few of them say little."
        )
    if variance["fitted_on"] != features:
        yield (
            f"The components were fitted on {count(variance['fitted_on'], 'image')}, "
            f"the store holds features of {features:,} now."
        )
    if added and added["explained"] < variance["explained"] - WORSE:
        yield (
            f"Of the images added since they hold {percent(added['explained'])} of the variance, "
            f"not {percent(variance['explained'])}: the new images differ, --refit takes them in."
        )


def _copies(copies: dict[str, Any]) -> Iterator[str]:
    if copies["label_contents"]:
        yield (
            f"{count(copies['label_contents'], 'file')} "
            f"{'lies' if copies['label_contents'] == 1 else 'lie'} under more than one label, "
            "byte for byte."
        )


def _neighbours(found: dict[str, Any] | None) -> Iterator[str]:
    if not found or not found["alike"]:
        return
    yield f"{percent(found['alike'] / found['compared'], 0)} of the images have a near-duplicate."
    if found["alike_splits"]:
        yield (
            f"For {count(found['alike_splits'], 'image')} it is in another split: a classifier's "
            "score there will look better than it is."
        )
    if found["odd_count"]:
        yield (
            f"{count(found['odd_count'], 'image')} "
            f"{'stands' if found['odd_count'] == 1 else 'stand'} among images of another label."
        )
