"""What an evaluation is made from: rows that a classifier was asked about, and how it came to be.

`figures.evaluate(inputs)` gives what goes to evaluation.json, `page.render` the page of it,
`suspects.suspects` the images that are probably mislabelled, `learning_curve.learn` the curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pomona.learning.models.base import Codes, Logits, Settings


@dataclass(frozen=True)
class Labelled:
    """Images with their labels.

    Attributes
    ----------
    paths, sha256 : sequence of str
        The path of each image, and the SHA-256 of its file.
    labels : numpy.ndarray
        int64[n]: the codes of their labels, 0 to classes − 1.
    """

    paths: Sequence[str]
    sha256: Sequence[str]
    labels: Codes

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, row: int) -> dict[str, Any]:
        """An image as evaluation.json names it: path, sha256 and the code of its label."""
        return {
            "path": self.paths[row],
            "sha256": self.sha256[row],
            "label": int(self.labels[row]),
        }


@dataclass(frozen=True)
class Judged(Labelled):
    """Labelled images that a classifier was asked about.

    Attributes
    ----------
    logits : numpy.ndarray
        float64[n, classes] or float32, before temperature.
    groups : numpy.ndarray or None
        int64[n]: images of one group are not independent. None: each is its own.
    """

    logits: Logits | npt.NDArray[np.float32]
    groups: Codes | None = None


@dataclass(frozen=True)
class Subject:
    """What was evaluated, in the words of the page.

    Attributes
    ----------
    name, store : str
        The name of the images' source, and the store's path or address.
    id : str
        The classifier's id.
    model : str
        Its model's title.
    settings : mapping
        Those it was fitted with.
    rows : {"pca", "features"}
        The table that it stands on.
    width : int
        The numbers in a row.
    split : str
        How test rows were told from training rows, as it reads after "The test images are".
    grouping : str or None
        What the groups are, as it reads after "Groups are". None: there are none.
    version : str
        Of pomona.
    """

    name: str
    store: str
    id: str
    model: str
    settings: Settings
    rows: str
    width: int
    split: str
    grouping: str | None
    version: str


@dataclass(frozen=True)
class CurvePoint:
    """A point of the learning curve: what a classifier of fewer rows says of the test rows.

    Attributes
    ----------
    rows : int
        How many training rows it was fitted on.
    predicted : numpy.ndarray
        int64[n]: its answers on `Inputs.test`.
    """

    rows: int
    predicted: Codes


@dataclass(frozen=True)
class Candidate:
    """A model and settings that were compared by cross-validation inside the training rows.

    Attributes
    ----------
    model : str
        The model's title.
    settings : mapping
        Its settings.
    accuracy, error : float
        The mean over folds that keep groups together, and its standard error.
    random_accuracy : float or None
        That over random folds, which tear groups apart. None: not measured, or no groups.
    seconds : float
        How long it took.
    is_chosen : bool
        Whether it became the classifier.
    """

    model: str
    settings: Settings
    accuracy: float
    error: float
    random_accuracy: float | None
    seconds: float
    is_chosen: bool


@dataclass(frozen=True)
class Other:
    """What another classifier says of the test rows.

    Attributes
    ----------
    name : str
        How the page calls it: "the most frequent label", "the classifier before (lda, 1a2b…)".
    predicted : numpy.ndarray
        int64[n]: its answers on `Inputs.test`; −1 for a label that this classifier lacks.
    """

    name: str
    predicted: Codes


@dataclass(frozen=True)
class Inputs:
    """What an evaluation is made from.

    Attributes
    ----------
    subject : Subject
        What is evaluated.
    names : sequence of str
        The labels, in the order of their codes.
    temperature : float
        What logits are divided by.
    test : Judged
        The honest test rows, at least one.
    copied : Judged
        Test rows that were left out since their bytes are among the training rows, with the
        labels of their folders; often none.
    learned : Labelled
        All training rows.
    training : Judged
        Those of them that were cross-validated, by out-of-fold logits. Here and in `test`,
        groups are None where there are none.
    mixed : Judged or None
        The same by logits of random folds, which tear groups apart: a wrong label stands out
        among its like. None: take `training`.
    baselines : sequence of Other
        Majority and nearest neighbour.
    curve : sequence of CurvePoint
        The learning curve, fewest rows first; the last point has all of them. May be empty.
    comparison : sequence of Candidate
        What was compared before one was chosen.
    earlier : Other or None
        The classifier that this one takes the place of.
    are_groups_given : bool
        Whether a person gave the groups: thresholds then promise something of new groups. Those
        that pomona finds only keep near-duplicates together.
    seed : int
        Of the bootstrap.
    """

    subject: Subject
    names: Sequence[str]
    temperature: float
    test: Judged
    copied: Judged
    learned: Labelled
    training: Judged
    mixed: Judged | None
    baselines: Sequence[Other]
    curve: Sequence[CurvePoint]
    comparison: Sequence[Candidate]
    earlier: Other | None = None
    are_groups_given: bool = False
    seed: int = 0
