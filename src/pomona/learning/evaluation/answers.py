"""Answers: what a classifier says of rows, read from logits block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pomona.learning.evaluation.base import Judged
from pomona.learning.models.base import Codes
from pomona.learning.temperature import softmax

BLOCK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Answers:
    """What a classifier says of n rows.

    Attributes
    ----------
    predicted : numpy.ndarray
        int64[n]: the class with the greatest logit; of equals, the first.
    probability, own : numpy.ndarray
        float64[n]: the probabilities of `predicted`, and of the row's label.
    rank : numpy.ndarray
        int64[n]: how many classes have a greater logit than the label.
    """

    predicted: Codes
    probability: npt.NDArray[np.float64]
    own: npt.NDArray[np.float64]
    rank: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.predicted)


def ask(judged: Judged, temperature: float) -> Answers:
    """Reads the answers of a classifier from its logits.

    Parameters
    ----------
    judged : Judged
        The rows.
    temperature : float
        What logits are divided by before the softmax.
    """
    n = len(judged)
    predicted, rank = np.empty(n, np.int64), np.empty(n, np.int64)
    probability, own = np.empty(n), np.empty(n)
    for rows, logits in in_blocks(judged):
        at, labels = np.arange(len(logits)), judged.labels[rows]
        probabilities = softmax(logits, temperature)
        predicted[rows] = logits.argmax(axis=1)
        probability[rows] = probabilities[at, predicted[rows]]
        own[rows] = probabilities[at, labels]
        rank[rows] = (logits > logits[at, labels][:, None]).sum(axis=1)
    return Answers(predicted, probability, own, rank)


def in_blocks(judged: Judged) -> Iterator[tuple[slice, npt.NDArray[np.float64]]]:
    """Yields the rows of each block, and their logits as float64."""
    n, classes = judged.logits.shape
    size = max(1, BLOCK_BYTES // (8 * classes))
    for start in range(0, n, size):
        rows = slice(start, min(start + size, n))
        yield rows, judged.logits[rows].astype(np.float64)
