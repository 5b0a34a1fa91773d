"""At a glance: the totals of a store, and what stands out on the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pomona.progress import count
from pomona.report.context import ReportContext, Totals

MANY_ERRORS = 0.05


@dataclass(frozen=True)
class Glance:
    """What the tiles at the top of the page show.

    Attributes
    ----------
    totals : Totals
        How many images, labels and errors there are.
    is_stopped : bool
        Whether a run was stopped and has to be finished.
    components : int or None
        How many components were kept. None: there is no PCA.
    explained : float
        The share of the variance that they explain.
    last_run : mapping or None
        The manifest's entry of the last run that extracted features.
    backbone : str
        The name of the network.
    width : int
        How many features an image has.
    """

    totals: Totals
    is_stopped: bool
    components: int | None
    explained: float
    last_run: Mapping[str, Any] | None
    backbone: str
    width: int


def gather(context: ReportContext) -> Glance:
    """Gathers the totals."""
    manifest, totals, projection = context.manifest, context.totals, context.projection
    done = totals.features + totals.errors
    return Glance(
        totals=totals,
        is_stopped=not totals.images == done == manifest["totals"]["images"],
        components=projection.k if projection else None,
        explained=projection.variance_explained if projection else 0.0,
        last_run=next(iter(context.extract_runs), None),
        backbone=manifest["recipe"]["backbone"],
        width=manifest["recipe"]["width"],
    )


def sentences(glance: Glance) -> Iterator[str]:
    """Says whether the store is complete, and how many images failed."""
    totals = glance.totals
    if glance.is_stopped:
        left = totals.images - totals.features - totals.errors
        are = "is" if left == 1 else "are"
        missing = f", {left:,} of {count(totals.images, 'image')} {are} missing"
        yield (
            f"A run of this store was stopped{missing if left > 0 else ''}: "
            "run the same command again to finish it."
        )
    elif not totals.images:
        yield "The store holds no images."
    elif not totals.errors:
        yield "Every image has features."
    elif not totals.features:
        yield "No image has features: see Errors below."
    else:
        many = ", a high error rate" if totals.errors > MANY_ERRORS * totals.images else ""
        failed = f"{totals.errors:,} of {count(totals.images, 'image')}"
        yield f"{failed} failed{many}: see Errors below."
