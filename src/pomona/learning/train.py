"""The way from the rows of a store to its classifier, on one page.

store ──lesson──▶ training rows in folds, test rows
folds ──compare──▶ candidates ──one standard error──▶ model, settings, temperature
training rows ──fit, here or on Spark──▶ model.onnx ◀──evaluate── test rows
model.onnx ──settle──▶ classifier/, or models/ where it is a candidate
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pomona.engines.base import Engine
from pomona.errors import PomonaError, StoreError, UsageError
from pomona.learning.candidates import settle
from pomona.learning.choose import (
    Candidate,
    choose,
    fold_accuracies,
    try_models,
    within_bounds,
)
from pomona.learning.classifier import Classifier
from pomona.learning.evaluate import Trial, measure, mix
from pomona.learning.evaluation import base
from pomona.learning.fitting import choices, find_fit, libraries
from pomona.learning.graphs import classifier_graph
from pomona.learning.lesson import Lesson, prepare, versions
from pomona.learning.models.base import Fitted, Logits, Model
from pomona.learning.settings import ALWAYS, AUTO, NEVER, TrainSettings
from pomona.learning.temperature import fit_temperature, softmax
from pomona.pipeline.context import RunSettings, open_run
from pomona.progress import Progress
from pomona.store.store import Store

# How far the stored graph may be from the library's own probabilities.
TOLERANCE = 1e-5


def train(out: str | Path, training: TrainSettings, settings: RunSettings) -> dict[str, Any]:
    """Fits, chooses, measures and stores the classifier of a store.

    Parameters
    ----------
    out : str or Path
        The store.
    training : TrainSettings
        What is learned.
    settings : RunSettings
        How the command runs.

    Returns
    -------
    dict
        What classifier.json says of it. Where a classifier is in use, `promotion` is added: what
        `candidates.settle` found.

    Raises
    ------
    UsageError, SourceError, StoreError
        If a setting, a file or the store allows no classifier.
    PomonaError
        If a library is missing, or the stored graph disagrees with it.
    EngineError
        If Spark, where it is the engine, gives up.
    """
    if training.promote not in (NEVER, AUTO, ALWAYS):
        raise UsageError(f"`promote` {training.promote}: choose {NEVER}, {AUTO} or {ALWAYS}")
    models = choices(training.model, settings.engine)
    store = Store(out, settings.access)
    _ = store.manifest
    with open_run(store, settings) as context:
        store, progress = context.store, settings.progress
        lesson = prepare(store, training, progress)
        models = within_bounds(models, training.model, len(lesson.training), progress)
        candidates, at, logits = _compare(models, lesson, training, progress)
        chosen = candidates[at]
        temperature = fit_temperature(logits, lesson.training.y[lesson.judged])
        fit = find_fit(store, lesson, chosen.model, chosen.settings, context.engine)
        fitted = fit()
        classifier = _build(store, lesson, training, chosen, fitted, temperature, context.engine)
        _check(classifier, fitted, temperature, lesson)
        mixed = mix(lesson, chosen.model, chosen.settings)
        comparison = _described(candidates, at, lesson, mixed)
        trial = Trial(chosen.model, chosen.settings, logits, mixed, comparison, fit)
        earlier = _earlier(store, classifier)
        facts, contents = measure(store, classifier, lesson, trial, settings, earlier)
        return settle(store, facts, contents, training.promote, settings)


def _compare(
    models: Sequence[Model], lesson: Lesson, training: TrainSettings, progress: Progress
) -> tuple[list[Candidate], int, Logits]:
    """The candidates, the place of the chosen one, and its logits of the judged rows."""
    x, y = lesson.training.x[lesson.judged], lesson.training.y[lesson.judged]
    candidates: list[Candidate] = []
    logits: list[Logits] = []
    progress.begin("compare models", len(models))
    try:
        for tried, answers in try_models(
            models, x, y, len(lesson.training.names), lesson.folds, training.seed
        ):
            candidates += tried
            logits += [each.astype(np.float32) for each in answers]
            progress.advance(1)
    finally:
        progress.end()
    at = choose(candidates)
    return candidates, at, logits[at].astype(np.float64)


def _described(
    candidates: list[Candidate], chosen: int, lesson: Lesson, mixed: Logits | None
) -> list[base.Candidate]:
    """The candidates, as the figures show them: the chosen one with that over random folds."""
    random_accuracy = None
    if mixed is not None:
        y = lesson.training.y[lesson.judged]
        random_accuracy = float(fold_accuracies(mixed, y, lesson.random_folds).mean())
    return [
        base.Candidate(
            model=each.model.title,
            settings=dict(each.settings),
            accuracy=each.accuracy,
            error=each.standard_error,
            random_accuracy=random_accuracy if at == chosen else None,
            seconds=round(each.seconds, 2),
            is_chosen=at == chosen,
        )
        for at, each in enumerate(candidates)
    ]


def _build(
    store: Store,
    lesson: Lesson,
    training: TrainSettings,
    chosen: Candidate,
    fitted: Fitted,
    temperature: float,
    engine: Engine,
) -> Classifier:
    projection = store.projection.id if training.on == "pca" else None
    facts = {
        "labels": lesson.training.names,
        "model": chosen.model.name,
        "settings": dict(chosen.settings),
        "engine": engine.name,
        "projection": projection,
        "recipe": store.recipe.digest,
        "temperature": temperature,
        "labels_from": None if training.labels is None else str(training.labels),
        **lesson.facts,
        "versions": versions(libraries(chosen.model, engine)),
    }
    width, classes = lesson.training.x.shape[1], len(lesson.training.names)
    model = classifier_graph(fitted, width, classes, temperature, facts)
    return Classifier({"id": hashlib.sha256(model).hexdigest()[:16], **facts}, model)


def _check(classifier: Classifier, fitted: Fitted, temperature: float, lesson: Lesson) -> None:
    """Holds the graph's answers on the test rows against the library's.

    Raises
    ------
    PomonaError
        If a probability is beyond the tolerance, or a label differs beyond a tie.
    """
    x = lesson.test.x if len(lesson.test) else lesson.training.x[lesson.judged]
    wanted = softmax(fitted.logits(x), temperature)
    given = classifier.probabilities(x)
    gap = float(np.abs(wanted - given).max())
    rows = np.arange(len(x))
    lost = wanted.max(axis=1) - wanted[rows, given.argmax(axis=1)]
    if gap > TOLERANCE or lost.max() > TOLERANCE:
        raise PomonaError(
            f"the ONNX graph of {classifier.facts['model']} differs from the library's "
            f"probabilities by {gap:.1e}: nothing was stored; choose another `model`, and report it"
        )


def _earlier(store: Store, classifier: Classifier) -> Classifier | None:
    """The store's classifier so far, if it can be compared: it was tested on the same rows."""
    try:
        earlier = Classifier.read(store)
        same = earlier.facts["rows"]["test_digest"] == classifier.facts["rows"]["test_digest"]
    except (StoreError, KeyError, TypeError):
        return None
    return earlier if same and earlier.on == classifier.on and earlier.id != classifier.id else None
