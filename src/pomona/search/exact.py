"""Exact search: each row is compared with each query, in blocks of bounded memory.

Products in float32 choose the candidates, whose similarities are then computed in float64, row by
row. So a similarity has the same bits whatever it was computed beside.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pomona.pca.blas import one_thread

Rows: TypeAlias = npt.NDArray[np.float32]

# So many numbers of products are held at once: 1 MB, which stays in a core's cache.
BLOCK_NUMBERS = 2**18
# Of more rows that are as similar as the last one, those of the first parts are taken.
MOST_EQUALS = 2**16


def unit_rows(rows: Rows) -> npt.NDArray[np.float64]:
    """Returns rows float32[n, k] with a length of 1, float64[n, k]; one of zeros stays so."""
    unit = rows.astype(np.float64)
    lengths = np.linalg.norm(unit, axis=1, keepdims=True)
    np.divide(unit, lengths, out=unit, where=lengths > 0)
    return unit


def similarities(rows: Rows, query: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns the similarity of each row float32[n, k] to a query float64[k]: float64[n].

    It depends on the row and the query alone, bit by bit.
    """
    products: npt.NDArray[np.float64] = (rows.astype(np.float64) * query).sum(axis=1)
    return np.clip(products, -1, 1, out=products)


class Best:
    """The most similar rows of a query so far, with all that are as similar as the last of them."""

    def __init__(self, top: int) -> None:
        self.rows, self.similarities = np.empty(0, np.int64), np.empty(0)
        self._top = top

    @property
    def bound(self) -> float:
        """What a row must reach to be among them."""
        return float(self.similarities.min()) if len(self.rows) >= self._top else -np.inf

    def add(self, rows: npt.NDArray[np.int64], found: npt.NDArray[np.float64]) -> None:
        """Takes rows int64[m] and their similarities float64[m]."""
        self.rows = np.append(self.rows, rows)
        self.similarities = np.append(self.similarities, found)
        if len(self.rows) > self._top:
            least = np.partition(self.similarities, -self._top)[-self._top]
            keep = self.similarities >= least
            self.rows, self.similarities = self.rows[keep], self.similarities[keep]
        if len(self.rows) > self._top + MOST_EQUALS:
            first = np.lexsort((self.rows, -self.similarities))[: self._top + MOST_EQUALS]
            self.rows, self.similarities = self.rows[first], self.similarities[first]


def find_best(rows: Rows, queries: npt.NDArray[np.float64], top: int) -> list[Best]:
    """Compares each row with each query, on one thread.

    Parameters
    ----------
    rows : float32[n, k]
        Rows of length 1; they may be mapped from a file.
    queries : float64[q, k]
        Rows of length 1.
    top : int
        How many rows are wanted for a query, at least 1.

    Returns
    -------
    list of Best
        One for each query, without an order.
    """
    best = [Best(top) for _ in queries]
    # How far a sum of k products of float32 may be off, twice: once for each row of a comparison.
    slack = 2 * rows.shape[1] * float(np.finfo(np.float32).eps)
    transposed = np.ascontiguousarray(queries.T, np.float32)
    size = max(1, BLOCK_NUMBERS // max(1, len(queries)))
    with one_thread():
        for start in range(0, len(rows), size):
            block = np.asarray(rows[start : start + size])
            products = block @ transposed
            for found, query, column in zip(best, queries, products.T, strict=True):
                least = found.bound
                if len(column) > top:
                    least = max(least, float(np.partition(column, -top)[-top]))
                [candidates] = np.nonzero(column >= least - slack)
                if len(candidates):
                    found.add(candidates + start, similarities(block[candidates], query))
    return best
