"""The choice of a model: by cross-validation inside the training rows, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pomona.errors import UsageError
from pomona.learning.models.base import Codes, Logits, Model, Rows, Settings, out_of_fold
from pomona.learning.models.registry import MODELS
from pomona.progress import Progress

AUTO = "auto"


@dataclass(frozen=True)
class Candidate:
    """A model with settings, and what cross-validation says of it.

    Attributes
    ----------
    model, settings
        What was tried.
    accuracies : float64[folds]
        The accuracy in each fold, by a fit without it.
    seconds : float
        What the trial of all settings of the model took.
    """

    model: Model
    settings: Settings
    accuracies: npt.NDArray[np.float64]
    seconds: float

    @property
    def accuracy(self) -> float:
        """The mean over the folds."""
        return float(self.accuracies.mean())

    @property
    def standard_error(self) -> float:
        """Of the mean: the folds' standard deviation by the square root of their number."""
        return float(self.accuracies.std(ddof=1) / np.sqrt(len(self.accuracies)))


def find_models(name: str) -> list[Model]:
    """Returns the model of a name, or those that are quick for "auto".

    Raises
    ------
    UsageError
        For another name.
    """
    if name == AUTO:
        return [model for model in MODELS.values() if model.is_quick]
    if name not in MODELS:
        raise UsageError(f"`model` {name}: choose {', '.join([AUTO, *MODELS])}")
    return [MODELS[name]]


def within_bounds(models: Sequence[Model], name: str, rows: int, progress: Progress) -> list[Model]:
    """Returns the models that can learn from so many rows.

    Parameters
    ----------
    models : sequence of Model
        Those of `name`.
    name : str
        A model's name; or "auto", which leaves out what cannot.
    rows : int
        How many there are to learn from.
    progress : Progress
        Who is told of what is left out.

    Raises
    ------
    UsageError
        If none can.
    """
    fit = [model for model in models if model.most_rows is None or rows <= model.most_rows]
    if not fit:
        able = [model.name for model in MODELS.values() if model.most_rows is None]
        raise UsageError(
            f"`model` {name} takes up to {models[0].most_rows:,} training images, there are "
            f"{rows:,}: choose {', '.join(able[:-1])} or {able[-1]}"
        )
    for model in models:
        if model not in fit:
            progress.note(f"{model.name} takes up to {model.most_rows:,} training images: left out")
    return fit


def try_models(
    models: Sequence[Model], x: Rows, y: Codes, classes: int, folds: Codes, seed: int
) -> Iterator[tuple[list[Candidate], list[Logits]]]:
    """Cross-validates each model with each of its settings.

    Parameters
    ----------
    models : sequence of Model
        What to try.
    x, y, classes
        The training rows float32[n, width], their classes int64[n], and how many there are.
    folds : int64[n]
        The fold of each row.
    seed : int
        Of what is random in a fit.

    Yields
    ------
    tuple
        The candidates of a model, the simplest first, and for each the logits float64[n, classes]
        of the rows by a fit that has not seen their fold.
    """
    for model in models:
        implementation = model.load()
        start = time.perf_counter()
        logits = out_of_fold(implementation, x, y, classes, folds, implementation.SETTINGS, seed)
        seconds = time.perf_counter() - start
        yield (
            [
                Candidate(model, settings, fold_accuracies(each, y, folds), seconds)
                for settings, each in zip(implementation.SETTINGS, logits, strict=True)
            ],
            logits,
        )


def fold_accuracies(logits: Logits, y: Codes, folds: Codes) -> npt.NDArray[np.float64]:
    """Returns the share of rows in each fold whose greatest logit is their class's."""
    right = logits.argmax(axis=1) == y
    return np.bincount(folds, right) / np.bincount(folds)


def choose(candidates: Sequence[Candidate]) -> int:
    """Returns the place of the simplest candidate within one standard error of the best.

    The rule of Breiman, Friedman, Olshen & Stone, "Classification and Regression Trees", 1984,
    section 3.4.3: what cross-validation cannot tell apart is decided by simplicity.

    Parameters
    ----------
    candidates : sequence of Candidate
        The simplest first.
    """
    best = max(candidates, key=lambda each: each.accuracy)
    enough = best.accuracy - best.standard_error
    return next(at for at, each in enumerate(candidates) if each.accuracy >= enough)
