"""Variance: how much the components explain, of the images of the fit and of later ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pomona.pca.projection import Projection
from pomona.progress import count
from pomona.report.context import ReportContext
from pomona.report.formatting import percent
from pomona.store.layout import part_name
from pomona.store.store import Store
from pomona.store.tables import matrix

SHARES = (0.80, 0.90, 0.95, 0.99)
CURVE_POINTS = 200
PARTS_READ = 200
# The variance is spread out where 90 % of it takes more than this share of the components.
SPREAD_OUT, FEW_COMPONENTS = 0.25, 10
# Later images differ where the components explain this much less of their variance.
WORSE = 0.05


@dataclass(frozen=True)
class Added:
    """How well the projection represents the images added after the fit.

    Attributes
    ----------
    images : int
        How many were read.
    explained : float
        1 − residual / total of their features around the projection's mean.
    is_sample : bool
        Whether there are more of them.
    """

    images: int
    explained: float
    is_sample: bool


@dataclass(frozen=True)
class Variance:
    """The cumulative variance, and the components that were kept.

    Attributes
    ----------
    kept, available : int
        The number of components that were kept, and of all there are.
    explained : float
        The share of the variance that those kept explain.
    fitted_on, images : int
        The number of images that the PCA was fitted on, and that have features now.
    is_flat : bool
        Whether there is no variance.
    needed : list of (float, int)
        Shares of the variance, each with the number of components that explain it.
    last : int
        The number of components where the curve ends.
    ticks : range
        The numbers of components on the chart's axis.
    curve : list of (int, float)
        Numbers of components with the share that they explain.
    table : list of (int, float, float)
        The number of each component that was kept, its share, and the cumulative share.
    added : Added or None
        The images that came after the fit. None: there are none.
    """

    kept: int
    available: int
    explained: float
    fitted_on: int
    images: int
    is_flat: bool
    needed: list[tuple[float, int]]
    last: int
    ticks: range
    curve: list[tuple[int, float]]
    table: list[tuple[int, float, float]]
    added: Added | None


def gather(context: ReportContext) -> Variance | None:
    """Gathers the curve as far as 99 %. None: there is no PCA."""
    projection = context.projection
    if projection is None:
        return None
    cumulative = np.cumsum(projection.explained)
    needed = [(share, int(np.searchsorted(cumulative, share)) + 1) for share in SHARES]
    is_flat = bool(cumulative[-1] == 0)
    last = min(len(cumulative), max(projection.k, 2 if is_flat else needed[-1][1]))
    shown = np.unique([*np.linspace(1, last, CURVE_POINTS).astype(int), projection.k])
    step = next(m * 10**e for e in range(9) for m in (1, 2, 5) if last <= 6 * m * 10**e)
    return Variance(
        kept=projection.k,
        available=len(cumulative),
        explained=projection.variance_explained,
        fitted_on=projection.n,
        images=context.totals.features,
        is_flat=is_flat,
        needed=needed,
        last=last,
        ticks=range(0, last + 1, step),
        curve=[(0, 0.0), *((int(i), float(cumulative[i - 1])) for i in shown)],
        table=[
            (i + 1, float(projection.explained[i]), float(cumulative[i]))
            for i in range(projection.k)
        ],
        added=measure_added(context.store, projection),
    )


def measure_added(store: Store, projection: Projection) -> Added | None:
    """Measures how much of the variance of later images the projection explains.

    Of very many parts, some that are spread evenly are read.

    Parameters
    ----------
    store : Store
        The store to read.
    projection : Projection
        Its PCA. Later images are those in parts after the last one that it was fitted on.

    Returns
    -------
    Added or None
        None: there are no such images.

    Raises
    ------
    StoreError
        If a part cannot be read.
    """
    last = projection.last_part
    parts = [] if last is None else [part for part in store.part_numbers("features") if part > last]
    if not parts:
        return None
    read = sorted({parts[at] for at in np.linspace(0, len(parts) - 1, PARTS_READ).astype(int)})
    rows, held, total = 0, 0.0, 0.0
    for part in read:
        features = matrix(store.read_table(part_name("features", part), ["features"]), "features")
        centred = features - projection.mean
        rows += len(features)
        total += float((centred**2).sum())
        held += float((projection.apply(features).astype(np.float64) ** 2).sum())
    if not rows:
        return None
    return Added(rows, held / total if total else 1.0, len(read) < len(parts))


def sentences(variance: Variance) -> Iterator[str]:
    """Says whether few components are enough, and whether the PCA still fits the store."""
    if variance.is_flat:
        return
    needed = dict(variance.needed)[0.90]
    if needed > SPREAD_OUT * variance.available and variance.available > FEW_COMPONENTS:
        yield (
            f"The variance is spread over many components: {percent(0.90, 0)} takes {needed:,} of "
            f"{variance.available:,}, so a few of them explain little."
        )
    if variance.fitted_on != variance.images:
        yield (
            f"The components were fitted on {count(variance.fitted_on, 'image')}, "
            f"the store holds features of {variance.images:,} now."
        )
    added = variance.added
    if added and added.explained < variance.explained - WORSE:
        yield (
            f"Of the variance of the images added since, they explain {percent(added.explained)}, "
            f"not {percent(variance.explained)}: the new images differ. "
            "Refit the PCA to take them in."
        )
