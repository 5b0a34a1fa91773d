"""Confusion: which labels are taken for which others."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from pomona.learning.models.base import Codes

# A matrix of more labels would be more than a browser shows with ease.
MATRIX_LABELS = 150


def count_cells(labels: Codes, predicted: Codes) -> list[list[int]]:
    """Returns [label, answer, rows] of each pair that occurs, in the order of the codes.

    The entries of `sklearn.metrics.confusion_matrix` that are not 0.
    """
    size = 1 + int(max(labels.max(initial=0), predicted.max(initial=0)))
    pairs, rows = np.unique(labels * size + predicted, return_counts=True)
    return np.stack([pairs // size, pairs % size, rows], axis=1).tolist()  # type: ignore[no-any-return]


def find_pairs(cells: list[list[int]]) -> list[dict[str, Any]]:
    """Finds the labels that are mixed up, either way.

    Parameters
    ----------
    cells : list of [int, int, int]
        Of `count_cells`.

    Returns
    -------
    list of dict
        label and other; taken, how many of the label got the other, and back, how many of the
        other got the label, which are not more. The pair with most mistakes comes first.
    """
    wrong = {(label, answer): rows for label, answer, rows in cells if label != answer}
    sums: Counter[tuple[int, int]] = Counter()
    for (label, answer), rows in wrong.items():
        sums[min(label, answer), max(label, answer)] += rows
    found = []
    for pair, _ in sorted(sums.items(), key=lambda item: (-item[1], item[0])):
        label, other = sorted(pair, key=lambda one: -wrong.get((one, sum(pair) - one), 0))
        found.append(
            {
                "label": label,
                "other": other,
                "taken": wrong[label, other],
                "back": wrong.get((other, label), 0),
            }
        )
    return found


def arrange(cells: list[list[int]], most: int = MATRIX_LABELS) -> list[int]:
    """Orders the labels that are mixed up so that those taken for one another are neighbours.

    Average linkage of the numbers of mistakes, with the leaves in the best order: Bar-Joseph,
    Gifford & Jaakkola, "Fast optimal leaf ordering for hierarchical clustering", 2001.

    Parameters
    ----------
    cells : list of [int, int, int]
        Of `count_cells`.
    most : int
        So many are kept at most, those with most mistakes.

    Returns
    -------
    list of int
        The codes of labels that got another label, or were given in place of one.
    """
    mistakes: Counter[int] = Counter()
    for label, answer, rows in cells:
        if label != answer:
            mistakes[label] += rows
            mistakes[answer] += rows
    codes = sorted(code for code, _ in sorted(mistakes.items(), key=lambda item: -item[1])[:most])
    if len(codes) < 3:
        return codes
    return [codes[leaf] for leaf in _leaves(_closeness(cells, codes))]


def _closeness(cells: list[list[int]], codes: list[int]) -> npt.NDArray[np.float64]:
    """How often two of these labels are mixed up, either way: float64[m, m]."""
    place = {code: at for at, code in enumerate(codes)}
    near = np.zeros((len(codes), len(codes)))
    for label, answer, rows in cells:
        if label != answer and label in place and answer in place:
            near[place[label], place[answer]] += rows
            near[place[answer], place[label]] += rows
    return near


def _leaves(near: npt.NDArray[np.float64]) -> list[int]:
    """An order of labels in which close ones stand side by side."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    apart = 1 / (1 + near)
    np.fill_diagonal(apart, 0)
    tree = linkage(squareform(apart, checks=False), "average", optimal_ordering=True)
    order: list[int] = leaves_list(tree).tolist()
    return order
