"""Seen: how far an image is from those that a classifier has learned from.

A classifier gives every image one of its labels. How unlike all it has learned from an image is,
the distance to the nearest of these tells better than any probability (Sun et al. 2022,
arXiv:2204.06507).
"""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, TypeAlias
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from pomona.learning.models.base import Codes, Rows
from pomona.pca.blas import one_thread

# So many numbers are kept: 10,000 rows of 100 components. A row costs as many multiplications.
MOST_NUMBERS = 2**20
# So many rows decide the unit, which is the distance within which this share of them lies.
MOST_ASKED, SHARE = 2_048, 0.95
# Rows are asked about in blocks of one shape, so that a row's bits do not depend on its company.
BLOCK_ROWS = 64

# −2 times the transposed rows, float64[width, m], and their squared lengths, float64[m].
Factors: TypeAlias = "tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]"


@dataclass(frozen=True)
class Seen:
    """Rows that a classifier has learned from, and the unit of distances to them.

    Parameters
    ----------
    rows : float32[m, width]
        The rows, at least one.
    unit : float
        The Euclidean distance that counts as 1.
    """

    rows: Rows
    unit: float

    @classmethod
    def of(cls, x: Rows, y: Codes, folds: Codes) -> Seen:
        """Chooses the rows to keep, and measures the unit among those of different folds.

        Parameters
        ----------
        x, y, folds
            The training rows float32[n, width], their classes and their folds, int64[n]. Rows that
            are alike because they show the same thing must be in one fold.

        Returns
        -------
        Seen
            Of all rows, or as many of each class as `MOST_NUMBERS` allows. 1 is the distance from
            the nearest row of the other folds within which 95 % of the rows lie.
        """
        order = np.random.default_rng(0).permutation(len(x))
        kept = _spread(y, order, max(1, MOST_NUMBERS // x.shape[1]))
        asked = order[:MOST_ASKED]
        squares = _nearest(x[asked], _factors(x[kept]), folds[asked, None] != folds[kept])
        squares = squares[np.isfinite(squares)]
        unit = float(np.sqrt(np.quantile(squares, SHARE))) if len(squares) else 0.0
        return cls(x[kept], unit or 1.0)

    def distances(self, x: Rows) -> npt.NDArray[np.float32]:
        """Returns the distance of each row float32[n, width] from the nearest row kept: float32[n].

        A distance depends on its own row alone, bit by bit.
        """
        return (np.sqrt(_nearest(x, self._factors)) / self.unit).astype(np.float32)

    @cached_property
    def _factors(self) -> Factors:
        return _factors(self.rows)

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def to_bytes(self) -> bytes:
        """Returns it as an .npz file."""
        buffer = io.BytesIO()
        np.savez(buffer, rows=self.rows, unit=np.float64(self.unit))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Seen:
        """Returns what `to_bytes` wrote. Raises ValueError for anything else."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                return cls(arrays["rows"], float(arrays["unit"]))
        except (KeyError, EOFError, BadZipFile) as exc:
            raise ValueError("not the rows of a classifier") from exc


def _spread(y: Codes, order: Codes, limit: int) -> Codes:
    """The numbers of `limit` rows, as many of each class as there are, drawn in this order."""
    if len(y) <= limit:
        return np.arange(len(y))
    turn = np.empty(len(y), np.int64)  # of a row among those of its class
    for code in np.unique(y):
        own = order[y[order] == code]
        turn[own] = np.arange(len(own))
    return np.sort(order[np.argsort(turn[order], kind="stable")[:limit]])


def _factors(rows: Rows) -> Factors:
    """What squared distances from rows float32[m, width] need of them."""
    others = rows.astype(np.float64)
    return -2 * others.T, np.square(others).sum(axis=1)


def _nearest(
    x: Rows, others: Factors, counts: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.float64]:
    """The squared distance of each row float32[n, width] from the nearest of others: float64[n].

    counts: bool[n, others], which of the others count; infinity where none does.
    """
    factors, lengths = others
    nearest = np.empty(len(x))
    block = np.zeros((BLOCK_ROWS, x.shape[1]))
    with one_thread():
        for start in range(0, len(x), BLOCK_ROWS):
            some = slice(start, min(start + BLOCK_ROWS, len(x)))
            block[: some.stop - start] = x[some]
            squares = (block @ factors)[: some.stop - start]
            squares += lengths
            if counts is not None:
                squares[~counts[some]] = np.inf
            nearest[some] = squares.min(axis=1)
    nearest += np.square(x.astype(np.float64)).sum(axis=1)
    return np.maximum(nearest, 0, out=nearest)
