"""Cells: rows that lie together, so that a search among millions looks at a few of them.

An inverted file with the rows in one byte a number (Jégou, Douze and Schmid 2011,
doi:10.1109/TPAMI.2010.57), by faiss. It chooses candidates; their similarities are computed from
the rows themselves. How many cells are looked at is measured on rows of the store.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pomona.search.exact import Best, Rows, find_best, similarities

# Up to so many numbers every row is compared: a core takes some 40 ms for a query.
MOST_NUMBERS = 2**27
# What is measured: for so many rows, this share of so many nearest others must be found. For more
# of them, every row is compared.
ASKED, MEASURED, RECALL = 256, (10, 50), 0.995
MOST_TOP = max(MEASURED)
# Candidates for each image that is wanted, and at least.
CANDIDATES, LEAST_CANDIDATES = 8, 64
# So many cells for the square root of the number of rows; of few rows, each cell has so many.
CELLS_OF_ROOT, LEAST_ROWS, MOST_CELLS = 4, 8, 16_384
# The rows of a cell that decide where it lies, and how often it is moved.
TRAINING_ROWS_OF_CELL, ROUNDS = 32, 8
BLOCK_ROWS = 65_536


def can_be_had() -> bool:
    """Returns whether faiss is installed."""
    return importlib.util.find_spec("faiss") is not None


@dataclass(frozen=True)
class Cells:
    """Rows in cells.

    Parameters
    ----------
    index : faiss.IndexIVF
        The rows in cells, which may be mapped from a file.
    looked_at : int
        How many cells a search looks at.
    """

    index: Any
    looked_at: int

    @classmethod
    def of(cls, rows: Rows) -> Cells:
        """Puts rows into cells, and measures how many of these a search must look at.

        Parameters
        ----------
        rows : float32[n, k]
            Rows of length 1; they may be mapped from a file.
        """
        import faiss

        count, width = rows.shape
        cells = max(1, min(MOST_CELLS, CELLS_OF_ROOT * math.isqrt(count), count // LEAST_ROWS))
        kind, metric = faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        index = faiss.IndexIVFScalarQuantizer(faiss.IndexFlatIP(width), width, cells, kind, metric)
        index.cp.niter, index.cp.max_points_per_centroid = ROUNDS, TRAINING_ROWS_OF_CELL
        index.cp.min_points_per_centroid = 1  # faiss would warn on stderr
        chosen = np.random.default_rng(0).permutation(count)[: cells * TRAINING_ROWS_OF_CELL]
        index.train(np.asarray(rows[np.sort(chosen)]))
        for start in range(0, count, BLOCK_ROWS):
            index.add(np.asarray(rows[start : start + BLOCK_ROWS]))
        asked = chosen[:ASKED]
        queries = np.asarray(rows[asked]).astype(np.float64)
        bounds = {top: _bounds(find_best(rows, queries, top + 1), asked, top) for top in MEASURED}
        looked_at = 1
        while looked_at < cells:
            found = cls(index, looked_at)
            shares = [
                _share(found._look(rows, queries, top + 1), asked, top, bound)
                for top, bound in bounds.items()
            ]
            if min(shares) >= RECALL:
                return found
            looked_at *= 2
        return cls(index, cells)

    def find_best(self, rows: Rows, queries: npt.NDArray[np.float64], top: int) -> list[Best]:
        """Compares each query with the rows of some cells: as `exact.find_best`, but for a few."""
        found = self._look(rows, queries, top)
        for at, best in enumerate(found):
            if len(best.rows) < min(top, len(rows)):  # the cells are small here
                [found[at]] = find_best(rows, queries[at : at + 1], top)
        return found

    def _look(self, rows: Rows, queries: npt.NDArray[np.float64], top: int) -> list[Best]:
        """The best rows of the cells that are looked at."""
        import faiss

        wanted = min(max(LEAST_CANDIDATES, CANDIDATES * top), len(rows))
        how = faiss.SearchParametersIVF(nprobe=self.looked_at)
        _, candidates = self.index.search(queries.astype(np.float32), wanted, params=how)
        found = []
        for query, numbers in zip(queries, candidates, strict=True):
            numbers = numbers[numbers >= 0]
            best = Best(top)
            best.add(numbers, similarities(rows[numbers], query))
            found.append(best)
        return found

    def write(self, write: Callable[[bytes], int]) -> None:
        """Writes the cells, piece by piece."""
        import faiss

        faiss.write_index(self.index, faiss.PyCallbackIOWriter(write))

    @classmethod
    def open(cls, path: Path, looked_at: int) -> Cells:
        """Maps what `write` wrote. Raises ValueError for anything else."""
        import faiss

        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        except RuntimeError as exc:
            raise ValueError("not cells") from exc
        # Threads that read ahead would outlive the search.
        faiss.downcast_InvertedLists(index.invlists).prefetch_nthread = 0
        return cls(index, looked_at)


def _bounds(exact: list[Best], asked: npt.NDArray[np.int64], top: int) -> list[float]:
    """How similar the last of the nearest others is, of each row asked about."""
    return [
        float(np.sort(_others(best, own))[-top:][0]) for best, own in zip(exact, asked, strict=True)
    ]


def _share(found: list[Best], asked: npt.NDArray[np.int64], top: int, bounds: list[float]) -> float:
    """The share of the nearest others that is found; of equals, any will do."""
    hits = [
        min(top, int((_others(best, own) >= bound).sum()))
        for best, own, bound in zip(found, asked, bounds, strict=True)
    ]
    return sum(hits) / (top * len(hits))


def _others(best: Best, own: int) -> npt.NDArray[np.float64]:
    """The similarities of other rows: that a row finds itself proves nothing."""
    others: npt.NDArray[np.float64] = best.similarities[best.rows != own]
    return others
