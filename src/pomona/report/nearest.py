"""The nearest others of each row, exactly, without comparing all rows with all.

Rows are put into clusters. A cluster whose rows must all be farther away than the nearest others
that are known already is passed over, by the triangle inequality for angles (for distances: Elkan,
"Using the triangle inequality to accelerate k-means", 2003). Where rows form no clusters, none is.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pomona.pca.blas import one_thread

Rows: TypeAlias = npt.NDArray[np.float32]
Numbers: TypeAlias = npt.NDArray[np.int64]

# Up to so many rows make one cluster: to make more takes longer than to compare all with all.
FEW_ROWS = 16_384
# There are CLUSTERS·√n clusters: more of them take longer to make, and more are passed over.
CLUSTERS = 3
# So many rows are asked about together, and compared with so many at a time: a product takes 4 MB.
ASKED_ROWS, SLICE_ROWS = 256, 4_096
# After so many rows of the clusters around, others are passed over.
FIRST_ROWS = 512


@dataclass(frozen=True)
class Nearest:
    """The nearest others of each row, the nearest first.

    Attributes
    ----------
    rows : numpy.ndarray
        int64[n, m]: their rows.
    cosines : numpy.ndarray
        float32[n, m]: how similar they are, −1 to 1.
    """

    rows: Numbers
    cosines: Rows


@dataclass(frozen=True)
class Clusters:
    """Clusters of rows of length 1.

    Attributes
    ----------
    centres : numpy.ndarray
        float32[c, k]: rows of length 1, or of 0 for an empty cluster.
    members : list of numpy.ndarray
        The rows of each cluster, int64, rising.
    cosines : numpy.ndarray
        float32[c]: that of the widest angle between a cluster's centre and its rows, or less.
    """

    centres: Rows
    members: list[Numbers]
    cosines: Rows


def find_nearest(array: Rows, count: int, threads: int = 1) -> Nearest:
    """Finds the nearest others of each row, whatever the number of threads.

    Parameters
    ----------
    array : numpy.ndarray
        float32[n, k]. A row of zeros has a cosine of 0 with any other.
    count : int
        How many others are wanted of each row. There are m = min(count, n − 1).
    threads : int
        How many threads compare.
    """
    n, m = len(array), max(0, min(count, len(array) - 1))
    found = Nearest(np.zeros((n, m), np.int64), np.full((n, m), -np.inf, np.float32))
    if m == 0:
        return found
    unit = _unit_rows(array)
    # The limit is the process's: it is set once, around all threads.
    with one_thread(), ThreadPoolExecutor(threads) as pool:
        clusters = _make_clusters(unit, pool)
        asked = [
            (number, members[start : start + ASKED_ROWS])
            for number, members in enumerate(clusters.members)
            for start in range(0, len(members), ASKED_ROWS)
        ]

        def find(some: tuple[int, Numbers]) -> Nearest:
            own, rows = some
            return _find(unit, clusters, own, rows, m)

        for (_, rows), best in zip(asked, pool.map(find, asked), strict=True):
            found.rows[rows], found.cosines[rows] = best.rows, best.cosines
    return Nearest(found.rows, np.clip(found.cosines, -1, 1))


def _unit_rows(array: Rows) -> Rows:
    """The rows with a length of 1; one of zeros stays so."""
    lengths = np.linalg.norm(array, axis=1, keepdims=True)
    unit: Rows = np.divide(array, lengths, out=np.zeros_like(array), where=lengths > 0)
    return unit


def _make_clusters(unit: Rows, pool: ThreadPoolExecutor) -> Clusters:
    """One round of spherical k-means, from seeded rows."""
    n = len(unit)
    count = 1 if n <= FEW_ROWS else round(CLUSTERS * np.sqrt(n))
    centres = unit[np.random.default_rng(0).choice(n, count, replace=False)]
    members, _ = _assign(unit, centres, pool)
    centres = _unit_rows(np.array([unit[rows].sum(axis=0) for rows in members]))
    members, cosines = _assign(unit, centres, pool)
    widest = [cosines[rows].min(initial=1) for rows in members]
    return Clusters(centres, members, np.array(widest, np.float32) - _slack(unit))


def _assign(unit: Rows, centres: Rows, pool: ThreadPoolExecutor) -> tuple[list[Numbers], Rows]:
    """The rows that are nearest to each centre, and float32[n]: the cosine of each row to its."""

    def choose(start: int) -> tuple[Numbers, Rows]:
        products = unit[start : start + SLICE_ROWS] @ centres.T
        return products.argmax(axis=1), products.max(axis=1)

    chosen = pool.map(choose, range(0, len(unit), SLICE_ROWS))
    own, cosines = map(np.concatenate, zip(*chosen, strict=True))
    order = np.argsort(own, kind="stable")
    edges = np.searchsorted(own[order], np.arange(1, len(centres)))
    return np.split(order, edges), cosines


def _slack(unit: Rows) -> float:
    """How far the product of two rows, a sum in float32, may be off."""
    width: int = unit.shape[1]
    return width * float(np.finfo(np.float32).eps)


def _find(unit: Rows, clusters: Clusters, own: int, rows: Numbers, count: int) -> Nearest:
    """The nearest others of some rows of a cluster: of those around it, then of all that may be."""
    shape = len(rows), count
    best = Nearest(np.zeros(shape, np.int64), np.full(shape, -np.inf, np.float32))
    similar = clusters.centres @ clusters.centres[own]
    similar[own] = np.inf
    around = np.argsort(-similar, kind="stable")
    sizes = np.cumsum([len(clusters.members[number]) for number in around])
    is_first = np.zeros(len(around), bool)
    is_first[around[: np.searchsorted(sizes, FIRST_ROWS) + 1]] = True
    _compare(unit, rows, clusters, is_first, best)
    if not is_first.all():
        _compare(unit, rows, clusters, _may_have(clusters, unit, rows, best) & ~is_first, best)
    return best


def _may_have(
    clusters: Clusters, unit: Rows, rows: Numbers, best: Nearest
) -> npt.NDArray[np.bool_]:
    """bool[c]: which clusters may have a row that is nearer than the last of the best is.

    At an angle of a to its centre, a cluster as wide as w has nothing within an angle of b if
    a > w + b, that is, cos a < cos w · cos b − sin w · sin b. Angles over 90° pass over nothing.
    """
    slack = _slack(unit)
    last = best.cosines[:, -1] - slack
    sines, widths = (np.sqrt(np.maximum(0, 1 - each**2)) for each in (last, clusters.cosines))
    bound = np.outer(last, clusters.cosines) - np.outer(sines, widths)
    is_wide = (last <= 0)[:, None] | (clusters.cosines <= 0)
    nearer = is_wide | (unit[rows] @ clusters.centres.T >= bound - slack)
    return np.asarray(nearer.any(axis=0))


def _compare(
    unit: Rows, rows: Numbers, clusters: Clusters, chosen: npt.NDArray[np.bool_], best: Nearest
) -> None:
    """Compares some rows with those of the chosen clusters, and updates the best."""
    members = [clusters.members[number] for number in np.flatnonzero(chosen)]
    others = np.sort(np.concatenate([np.empty(0, np.int64), *members]))
    asked = unit[rows]
    for start in range(0, len(others), SLICE_ROWS):
        some = others[start : start + SLICE_ROWS]
        products = asked @ unit[some].T
        at = np.minimum(np.searchsorted(some, rows), len(some) - 1)
        itself = np.flatnonzero(some[at] == rows)
        products[itself, at[itself]] = -np.inf
        _update(best, products, some)


def _update(best: Nearest, products: Rows, others: Numbers) -> None:
    """Puts those of some others among the best that are nearer; of equals, the first rows."""
    better = np.flatnonzero(products.max(axis=1) >= best.cosines[:, -1])
    if len(better) == 0:
        return
    rows, cosines, products = best.rows[better], best.cosines[better], products[better]
    each, count = np.arange(len(better)), best.rows.shape[1]
    for _ in range(min(count, len(others))):
        # Taking the largest a few times is faster than sorting.
        at = products.argmax(axis=1)
        rows = np.column_stack([rows, others[at]])
        cosines = np.column_stack([cosines, products[each, at]])
        products[each, at] = -np.inf
    order = np.lexsort((rows, -cosines), axis=1)[:, :count]
    best.rows[better] = np.take_along_axis(rows, order, axis=1)
    best.cosines[better] = np.take_along_axis(cosines, order, axis=1)
