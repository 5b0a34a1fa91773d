"""Groups: images that must stay together, since one of them gives the others away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from pomona.errors import SourceError
from pomona.images.label_files import read_columns
from pomona.images.labels import match_paths
from pomona.learning.rows import LabelledRows
from pomona.report.neighbours import NEAR_DUPLICATE

# Up to so many rows, each is compared with each.
ALL_PAIRS = 20_000
BLOCK_ROWS = 1_000
# Of more, each row is compared with those that share one of its nearest centres.
CENTRES_OF_ROW = 2


def read_groups(rows: LabelledRows, file: Path) -> npt.NDArray[np.int64]:
    """Returns the group of each row, from a CSV file of path and group: int64[n].

    Raises
    ------
    SourceError
        If the file cannot be read, or does not cover the rows.
    """
    given, _ = read_columns(file, ("path", "group"), setting="groups")
    groups = given["group"].take(match_paths(rows.images["path"], given["path"])[0])
    missing = groups.null_count
    if missing:
        first = rows.images["path"].filter(pc.is_null(groups))[0].as_py()
        raise SourceError(
            f"{file} names no group for {missing:,} of {len(rows):,} labelled images, such as "
            f"{first!r}: add a line for each"
        )
    codes = groups.combine_chunks().dictionary_encode().indices.cast(pa.int64())
    return join(codes.to_numpy(), rows.digests)


def find_near_duplicates(rows: LabelledRows, seed: int) -> npt.NDArray[np.int64]:
    """Groups images that are linked by a chain of near-duplicates: int64[n].

    Two images are near-duplicates as in the report: the cosine of the angle between their centred
    rows is at least `NEAR_DUPLICATE`. Files with the same bytes always are.

    Parameters
    ----------
    rows : LabelledRows
        Rows of the components, or of the features.
    seed : int
        Of the centres, where there are too many rows to compare each with each.
    """
    centred = rows.x - rows.x.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 0)
    pairs = [
        pair
        for members in _neighbourhoods(unit, np.random.default_rng(seed))
        for pair in _near_pairs(unit, members)
    ]
    return join(rows.digests, pairs=np.concatenate([np.empty((0, 2), np.int64), *pairs]))


def _neighbourhoods(unit: npt.NDArray[np.float32], rng: Any) -> list[npt.NDArray[np.int64]]:
    """Sets of rows such that near-duplicates share one: all rows, or those near a centre."""
    n = len(unit)
    if n <= ALL_PAIRS:
        return [np.arange(n)]
    centres = unit[np.sort(rng.choice(n, int(np.sqrt(n)), replace=False))]
    nearest = np.empty((n, CENTRES_OF_ROW), np.int64)
    with threadpool_limits(1, "blas"):
        for start in range(0, n, BLOCK_ROWS):
            cosines = unit[start : start + BLOCK_ROWS] @ centres.T
            nearest[start : start + len(cosines)] = np.argpartition(
                -cosines, CENTRES_OF_ROW, axis=1
            )[:, :CENTRES_OF_ROW]
    order = np.argsort(nearest.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(nearest.ravel(), minlength=len(centres)))
    return np.split(order // CENTRES_OF_ROW, ends[:-1])


def _near_pairs(
    unit: npt.NDArray[np.float32], members: npt.NDArray[np.int64]
) -> list[npt.NDArray[np.int64]]:
    """The pairs of near-duplicates among some rows, int64[m, 2], block by block."""
    found, some = [], unit[members]
    with threadpool_limits(1, "blas"):
        for start in range(0, len(members), BLOCK_ROWS):
            block = some[start : start + BLOCK_ROWS] @ some[start:].T
            first, second = np.nonzero(block >= NEAR_DUPLICATE)
            later = first < second
            found.append(members[np.stack([first[later], second[later]], axis=1) + start])
    return found


def join(
    *linked: npt.NDArray[np.int64], pairs: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.int64]:
    """Returns the groups of rows that any of the given groupings, or a pair, links.

    Parameters
    ----------
    *linked : int64[n]
        Groupings: a number for each row.
    pairs : int64[m, 2], optional
        Rows that belong together.

    Returns
    -------
    int64[n]
        The groups, from 0, in the order of their first rows.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(linked[0])
    edges = [np.empty((0, 2), np.int64) if pairs is None else pairs]
    for grouping in linked:
        order = np.argsort(grouping, kind="stable")
        same = grouping[order][1:] == grouping[order][:-1]
        edges.append(np.stack([order[:-1][same], order[1:][same]], axis=1))
    first, second = np.concatenate(edges).T
    links = coo_array((np.ones(len(first), bool), (first, second)), shape=(n, n))
    labels = connected_components(links, directed=False)[1]
    _, at, groups = np.unique(labels, return_index=True, return_inverse=True)
    numbers: npt.NDArray[np.int64] = np.argsort(np.argsort(at))[groups]
    return numbers
