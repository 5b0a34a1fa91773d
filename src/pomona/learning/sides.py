"""Sides: which rows train, which test, and which of the test give themselves away."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from pomona.errors import StoreError
from pomona.images.folders import find_test_splits
from pomona.learning.rows import LabelledRows

TEST_SHARE = 0.2


@dataclass(frozen=True)
class Sides:
    """The rows of each side, as their numbers: int64.

    Attributes
    ----------
    train : ndarray
        Those that a classifier learns from.
    test : ndarray
        Those that its figures are of. None has its bytes, or its label alone, on this side.
    copied : ndarray
        Test rows whose bytes are among those of `train`.
    unlearned : ndarray
        Test rows whose label no row of `train` has.
    is_made : bool
        Whether pomona chose the sides, since the store has no test split.
    """

    train: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]
    copied: npt.NDArray[np.int64]
    unlearned: npt.NDArray[np.int64]
    is_made: bool


def find_sides(rows: LabelledRows, groups: npt.NDArray[np.int64], seed: int) -> Sides:
    """Divides rows by the store's splits, or where it has no test split, by their content.

    Parameters
    ----------
    rows : LabelledRows
        All rows with a label.
    groups : int64[n]
        The group of each, which stays on one side if pomona chooses the sides.
    seed : int
        Which choice.

    Raises
    ------
    StoreError
        If nothing is left to learn from.
    """
    splits = rows.images["split"]
    named = find_test_splits(pc.unique(splits).drop_null().to_pylist())
    is_test = np.array([split in named for split in splits.to_pylist()], bool)
    is_made = not is_test.any()
    if is_made:
        is_test = _draw(rows, groups, seed)
    elif is_test.all():
        raise StoreError(
            f"every labelled image is in the split {', '.join(named)}, none is left to learn from: "
            "give other splits with `labels`"
        )
    train = np.flatnonzero(~is_test)
    digests, test = rows.digests, np.flatnonzero(is_test)
    copied = np.isin(digests[test], digests[train])
    unlearned = ~copied & ~np.isin(rows.y[test], rows.y[train])
    if len(np.unique(rows.y[train])) < 2:
        raise StoreError(
            "the training images have one label only, a classifier needs two: "
            "give other labels or splits with `labels`"
        )
    return Sides(train, test[~copied & ~unlearned], test[copied], test[unlearned], is_made)


def _draw(rows: LabelledRows, groups: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.bool_]:
    """About a fifth of each label: an image keeps its side when others are added.

    A group goes where a hash of one of its images says, that with the least other hash. So groups
    that are large leave a label with more or fewer test rows. Of a label that more than half
    would test, groups stay in training, the largest first, until no more than half does.
    """
    digests = rows.images["digest"].to_pylist()
    hashes = np.array([_hash(digest, seed) for digest in digests], np.uint64).reshape(-1, 2)
    order = np.lexsort((hashes[:, 0], groups))
    _, first = np.unique(groups[order], return_index=True)
    numbers = np.unique(groups, return_inverse=True)[1]
    limit = np.uint64(int(TEST_SHARE * 2**64))
    is_test = np.asarray(hashes[order[first], 1] < limit)  # of each group
    labels = np.bincount(rows.y, minlength=len(rows.names))
    tested = np.bincount(rows.y[is_test[numbers]], minlength=len(rows.names))
    for label in np.flatnonzero(2 * tested > labels):
        own = np.bincount(numbers[rows.y == label], minlength=len(is_test))
        excess = int(own[is_test].sum()) - labels[label] // 2
        for group in np.argsort(-own, kind="stable"):
            if excess > 0 and is_test[group]:
                is_test[group] = False
                excess -= int(own[group])
    return is_test[numbers]


def _hash(digest: str, seed: int) -> tuple[int, int]:
    """Two numbers of 64 bits, from an image's digest."""
    data = hashlib.sha256(f"{seed}:{digest}".encode()).digest()
    return int.from_bytes(data[:8], "big"), int.from_bytes(data[8:16], "big")
