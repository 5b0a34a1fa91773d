"""Suspects: images whose label is probably wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pomona.learning.evaluation.answers import ask
from pomona.learning.evaluation.base import Judged
from pomona.learning.models.base import Codes
from pomona.learning.temperature import softmax

# Rows are listed from this probability on; likely is what is more likely wrong than right.
LISTED, LIKELY = 0.1, 0.5
# The temperature is looked for below that which wrong labels have raised.
FACTORS = np.geomspace(0.1, 1.25, 32)
MOST_WRONG = 0.5
FITTED_ROWS = 10_000
# The 98 % quantile of chi-squared with one degree of freedom.
MOST_BY_CHANCE = 5.41
SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("suggested", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Suspects:
    """Images whose label is probably wrong, the most suspect first.

    Attributes
    ----------
    rows, suggested : numpy.ndarray
        int64[m]: their rows, and the label that fits better.
    scores : numpy.ndarray
        float64[m]: the probability that the label is wrong.
    is_conflict : numpy.ndarray
        bool[m]: whether a file with the same bytes stands under another label.
    wrong_share : float
        The estimated share of wrong labels among all rows.
    """

    rows: Codes
    suggested: Codes
    scores: npt.NDArray[np.float64]
    is_conflict: npt.NDArray[np.bool_]
    wrong_share: float

    def __len__(self) -> int:
        return len(self.rows)


def suspects(names: list[str], judged: Judged, temperature: float) -> pa.Table:
    """Lists the images whose label is probably wrong.

    Parameters
    ----------
    names : list of str
        The labels, in the order of their codes.
    judged : Judged
        The training rows, by out-of-fold logits.
    temperature : float
        The classifier's, with which the search for that of right labels starts.

    Returns
    -------
    pyarrow.Table
        path, label, suggested and score (the probability that the label is wrong, to six
        digits), the most suspect first.
    """
    found = find_suspects(judged, temperature)
    columns = [
        [judged.paths[row] for row in found.rows.tolist()],
        [names[code] for code in judged.labels[found.rows].tolist()],
        [names[code] for code in found.suggested.tolist()],
        found.scores.round(6),
    ]
    return pa.table(columns, SCHEMA)


def find_suspects(judged: Judged, temperature: float) -> Suspects:
    """Finds the images whose label is probably wrong.

    A label is taken to be drawn from the classifier's probabilities p = softmax(logits / T), or,
    with probability w, from all classes alike: P(label) = (1 − w) p(label) + w / classes. T and w
    are those of the greatest likelihood, w being the share of wrong labels; the score of a row is
    the probability that its label was drawn in the second way (symmetric label noise: Angluin &
    Laird, "Learning From Noisy Examples", 1988; Bootkrajang & Kabán, "Label-Noise Robust Logistic
    Regression", 2012). If all labels fit, w is 0, and there is no suspect. As in confident
    learning (Northcutt, Jiang & Chuang, 2021), probabilities are those of models that have not
    seen the row.

    Of files with the same bytes under several labels at most one is right, so each label is
    taken for right with its share of their probabilities.

    Parameters
    ----------
    judged, temperature
        As in `suspects`.
    """
    classes = judged.logits.shape[1]
    scale, wrong = _fit(judged, temperature)
    answers = ask(judged, scale)
    own, suggested = answers.own, answers.predicted.copy()
    uniform = wrong / classes
    scores = uniform / np.maximum((1 - wrong) * own + uniform, np.finfo(np.float64).tiny)
    scores[suggested == judged.labels] = 0
    is_conflict = np.zeros(len(own), bool)
    for rows in _conflicts(judged):
        labels = np.unique(judged.labels[rows])
        chances = softmax(judged.logits[rows].astype(np.float64), scale)[:, labels].mean(axis=0)
        fits = labels[chances.argmax()]
        doubt = 1 - chances / chances.sum()
        scores[rows] = np.maximum(scores[rows], doubt[np.searchsorted(labels, judged.labels[rows])])
        scores[rows[judged.labels[rows] == fits]] = 0
        suggested[rows] = fits
        is_conflict[rows] = True
    listed = np.flatnonzero(scores >= LISTED)
    order = listed[np.lexsort((-answers.probability[listed], -scores[listed]))]
    return Suspects(order, suggested[order], scores[order], is_conflict[order], wrong)


def _fit(judged: Judged, temperature: float) -> tuple[float, float]:
    """The temperature and the share of wrong labels that make the labels most likely.

    No label is taken for wrong unless a likelihood ratio test says so at the level of 1 %, w
    being at the end of its range (Self & Liang, 1987).
    """
    logits = judged.logits[:: 1 + len(judged) // FITTED_ROWS].astype(np.float64)
    labels = judged.labels[:: 1 + len(judged) // FITTED_ROWS]
    uniform = 1 / logits.shape[1]
    none_wrong = some_wrong = (-np.inf, temperature, 0.0)
    for scale in (temperature * FACTORS).tolist():
        own = softmax(logits, scale)[np.arange(len(labels)), labels]
        wrong = _wrong_share(own, uniform)
        none_wrong = max(none_wrong, (_likelihood(own), scale, 0.0))
        some_wrong = max(
            some_wrong, (_likelihood((1 - wrong) * own + wrong * uniform), scale, wrong)
        )
    is_plain = 2 * (some_wrong[0] - none_wrong[0]) < MOST_BY_CHANCE
    return (none_wrong if is_plain else some_wrong)[1:]


def _likelihood(probabilities: npt.NDArray[np.float64]) -> float:
    return float(np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)).sum())


def _wrong_share(own: npt.NDArray[np.float64], uniform: float) -> float:
    """The w that maximises the sum of log((1 − w) own + w uniform), which is concave in w."""
    low, high = 0.0, MOST_WRONG

    def slope(wrong: float) -> float:
        mixed = np.maximum((1 - wrong) * own + wrong * uniform, np.finfo(np.float64).tiny)
        return float(((uniform - own) / mixed).sum())

    if slope(0.0) <= 0:
        return 0.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return low


def _conflicts(judged: Judged) -> list[npt.NDArray[np.int64]]:
    """The rows of each file content that stands under several labels."""
    codes = pa.array(judged.sha256, pa.string()).dictionary_encode().indices.to_numpy()
    repeated = np.flatnonzero(np.bincount(codes, minlength=1)[codes] > 1)
    order = repeated[np.argsort(codes[repeated], kind="stable")]
    copies = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    return [rows for rows in copies if len(np.unique(judged.labels[rows])) > 1]
