"""Leak: test images whose very bytes are among the training images."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from pomona.learning.evaluation.base import Judged, Labelled

SHOWN = 4


def describe(
    copied: Judged, learned: Labelled, right: int, tested: int, copied_right: int
) -> dict[str, Any]:
    """Says what copies of training images would do to the accuracy.

    Parameters
    ----------
    copied : Judged
        The test rows that were left out.
    learned : Labelled
        All training rows.
    right, tested : int
        How many of the honest test rows are right, and how many there are.
    copied_right : int
        How many of `copied` would be.

    Returns
    -------
    dict
        copied, files (all test files), other_label (copies whose own label none of their bytes'
        training labels is), accuracy with the copies, and shown: some pairs of a test image and
        a training image of another label.
    """
    twins = _twins(copied, learned)
    is_other = np.array(
        [
            label not in learned.labels[found].tolist()
            for label, found in zip(copied.labels.tolist(), twins, strict=True)
        ],
        bool,
    )
    files = tested + len(copied)
    return {
        "copied": len(copied),
        "files": files,
        "other_label": int(is_other.sum()),
        "accuracy": (right + copied_right) / files if files else None,
        "shown": [
            {"test": copied.image(row), "training": learned.image(twins[row][0])}
            for row in np.flatnonzero(is_other)[:SHOWN].tolist()
        ],
    }


def _twins(copied: Judged, learned: Labelled) -> list[list[int]]:
    """The training rows that have the bytes of each copy."""
    wanted = set(copied.sha256)
    held: dict[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(learned.sha256):
        if digest in wanted:
            held[digest].append(row)
    return [held[digest] for digest in copied.sha256]
