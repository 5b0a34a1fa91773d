"""Two samples: whether new rows may be of the distribution of known ones, by permutation.

Photographs come in series. A row says little that its near-duplicates have not said, so rows are no
independent draws, and a test that takes them for such raises false alarms. Of each chain of
near-duplicates among all rows, known and new, one row drawn at random is compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from threadpoolctl import threadpool_limits

from pomona.learning.groups import find_near_duplicates
from pomona.learning.rows import LabelledRows

# The least p-value is 1 / (1 + PERMUTATIONS).
PERMUTATIONS = 999

Rows = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Comparison:
    """What a test of two samples found.

    Attributes
    ----------
    statistic : float
        The energy distance: 0 for equal distributions, without a unit of its own.
    p : float
        How probable such a distance is, or a larger one, where nothing has changed.
    known, new : int
        How many rows were compared.
    """

    statistic: float
    p: float
    known: int
    new: int


def compare(known: Rows, new: Rows, digests: list[str], seed: int = 0) -> Comparison | None:
    """Tests whether new rows may be of the distribution of known ones.

    The energy distance, with its p-value by permutation: Székely & Rizzo, "Energy statistics: a
    class of statistics based on distances", 2013.

    Parameters
    ----------
    known, new : float32[m, k], float32[n, k]
        The rows.
    digests : list of str
        Those of the images of `known`, then of `new`: rows of one image count once.
    seed : int
        Of what is drawn.

    Returns
    -------
    Comparison or None
        None: no new row is left to compare, or fewer than two known ones.
    """
    rows = np.concatenate([known, new])
    is_new = np.arange(len(rows)) >= len(known)
    kept = representatives(rows, digests, seed)
    rows, is_new = rows[kept], is_new[kept]
    if not is_new.any() or (~is_new).sum() < 2:
        return None
    statistic, p = permute(-distances(rows), is_new, seed)
    return Comparison(statistic, p, int((~is_new).sum()), int(is_new.sum()))


def representatives(rows: Rows, digests: list[str], seed: int) -> npt.NDArray[np.int64]:
    """Returns the places of rows of which no two are linked by near-duplicates, int64[r]."""
    images = pa.table({"digest": pa.array(digests, pa.string())})
    groups = find_near_duplicates(LabelledRows(rows, images, [], np.zeros(len(rows), int)), seed)
    order = np.random.default_rng(seed).permutation(len(rows))
    return np.sort(order[np.unique(groups[order], return_index=True)[1]])


def distances(rows: Rows) -> Rows:
    """Returns the Euclidean distance of each pair of rows, float32[n, n]."""
    rows64 = rows.astype(np.float64)
    squares = np.square(rows64).sum(axis=1)
    with threadpool_limits(1, "blas"):
        found = rows64 @ (-2 * rows64.T)
    found += squares
    found += squares[:, None]
    np.fill_diagonal(found, 0)
    return np.sqrt(np.maximum(found, 0, out=found), out=found).astype(np.float32)


def permute(
    similarities: Rows, is_new: npt.NDArray[np.bool_], seed: int, permutations: int = PERMUTATIONS
) -> tuple[float, float]:
    """Tests two samples by the similarities of their rows.

    The statistic is the mean similarity inside each sample, both added, less twice that across: the
    energy distance where similarities are negative distances, and the squared maximum mean
    discrepancy where they are a kernel (Gretton et al., "A kernel two-sample test", 2012).

    Parameters
    ----------
    similarities : float32[n, n]
        Symmetric.
    is_new : bool[n]
        Which rows are of the second sample.
    seed : int
        Of the permutations.
    permutations : int
        How many are drawn.

    Returns
    -------
    tuple of float
        The statistic, and its p-value.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.permuted(np.tile(is_new, (permutations, 1)), axis=1)
    marks = np.concatenate([is_new[None], drawn]).T.astype(np.float32)
    new = float(is_new.sum())
    known = len(is_new) - new
    with threadpool_limits(1, "blas"):
        products = similarities @ marks
    inside = (marks * products).sum(axis=0, dtype=np.float64)
    touching = products.sum(axis=0, dtype=np.float64)
    rest = float(similarities.sum(dtype=np.float64)) - 2 * touching + inside
    statistics = inside / new**2 + rest / known**2 - 2 * (touching - inside) / (new * known)
    # Equal ones differ by rounding.
    reached = statistics[1:] >= statistics[0] - 1e-9 * abs(statistics[0])
    return float(statistics[0]), float((1 + reached.sum()) / (1 + permutations))
