"""Folds: parts of the training rows, each in turn left out to choose among models."""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt

FOLDS = 5


def make_folds(
    y: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    digests: npt.NDArray[np.int64],
    folds: int = FOLDS,
) -> npt.NDArray[np.int64]:
    """Deals groups to folds, such that each fold gets about the same share of each label.

    Parameters
    ----------
    y : int64[n]
        The label of each row.
    groups : int64[n]
        The group of each row, which stays in one fold, unless `loosen` takes it apart.
    digests : int64[n]
        A number for each row, the same for the same bytes.
    folds : int
        How many.

    Returns
    -------
    int64[n]
        The fold of each row. The largest groups of a label are dealt first, each to the fold
        that has the fewest of the label's rows.
    """
    groups = loosen(y, groups, digests)
    numbers, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    labels = _most_frequent(y, inverse, len(numbers))
    dealt = np.empty(len(numbers), np.int64)
    total = np.zeros(folds, np.int64)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        # Of folds that have as many of the label, the one with the fewest rows in all is next.
        heap = [(0, int(total[fold]), fold) for fold in range(folds)]
        heapq.heapify(heap)
        for group in own[np.argsort(-sizes[own], kind="stable")].tolist():
            rows, _, fold = heapq.heappop(heap)
            dealt[group] = fold
            total[fold] += sizes[group]
            heapq.heappush(heap, (rows + int(sizes[group]), int(total[fold]), fold))
    result: npt.NDArray[np.int64] = dealt[inverse]
    return result


def loosen(
    y: npt.NDArray[np.int64], groups: npt.NDArray[np.int64], digests: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Takes apart groups that hold a whole label: without them, nothing could be learned of it.

    Parameters
    ----------
    y, groups, digests : int64[n]
        The label and the group of each row, and a number that is the same for the same bytes.

    Returns
    -------
    int64[n]
        The groups, where those are of the same bytes alone.
    """
    pairs = np.unique(np.stack([y, groups]), axis=1)
    labels, counts = np.unique(pairs[0], return_counts=True)
    whole = np.isin(pairs[0], labels[counts == 1])
    loose = np.isin(groups, pairs[1][whole])
    return np.where(loose, groups.max() + 1 + digests, groups)


def _most_frequent(
    y: npt.NDArray[np.int64], groups: npt.NDArray[np.int64], number: int
) -> npt.NDArray[np.int64]:
    """The most frequent label of each group; of several, the first."""
    pairs, counts = np.unique(np.stack([groups, y]), axis=1, return_counts=True)
    order = np.lexsort((pairs[1], -counts, pairs[0]))
    first = np.unique(pairs[0][order], return_index=True)[1]
    result: npt.NDArray[np.int64] = np.empty(number, np.int64)
    result[pairs[0][order][first]] = pairs[1][order][first]
    return result
