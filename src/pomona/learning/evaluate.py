"""The figures of a classifier: measured at the end of training, and again on demand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from pomona import __version__, report
from pomona.errors import StoreError
from pomona.learning.classifier import Classifier
from pomona.learning.corrections import read_corrections
from pomona.learning.evaluation import base, figures, learning_curve, page
from pomona.learning.evaluation.suspects import suspects
from pomona.learning.fitting import Fit, fit_here
from pomona.learning.lesson import Lesson, prepare
from pomona.learning.models.base import Codes, Logits, Model, Settings, out_of_fold
from pomona.learning.models.registry import MODELS
from pomona.learning.rows import LabelledRows
from pomona.learning.seen import Seen
from pomona.learning.settings import TrainSettings
from pomona.pipeline.context import RunSettings, open_run
from pomona.pipeline.here import map_here
from pomona.report.thumbnails import provide
from pomona.store import classifier as files
from pomona.store.folders.base import encode_text
from pomona.store.layout import (
    CLASSIFIER_MODEL,
    CLASSIFIER_SEEN,
    CORRECTIONS,
    EVALUATION,
    EVALUATION_PAGE,
    EVALUATION_THUMBNAILS,
    SUSPECTS,
    TEST_PREDICTIONS,
)
from pomona.store.manifest import encode_json
from pomona.store.store import Store
from pomona.store.tables import encode_csv, encode_table

PICTURES_S = 10.0
# The least probability whose logarithm counts: float32 has few below.
LEAST = 1e-30
# More comparisons than these, and the nearest neighbour is no baseline any more.
MOST_PAIRS = 2e9
BLOCK_ROWS = 256


@dataclass(frozen=True)
class Trial:
    """How a classifier came to be, as far as its figures tell.

    Attributes
    ----------
    model : Model
        Its model.
    settings : mapping
        Those of the model.
    logits : float64[n, classes]
        Those of the lesson's judged rows, each by a fit that has not seen its fold.
    mixed : float64[n, classes], optional
        The same over random folds. None: the folds are random.
    comparison : list of base.Candidate
        What was compared.
    fit : Fit
        Fits the model to training rows.
    """

    model: Model
    settings: Settings
    logits: Logits
    mixed: Logits | None
    comparison: list[base.Candidate]
    fit: Fit


def evaluate(out: str | Path, labels: Path | None, settings: RunSettings) -> dict[str, Any]:
    """Measures the classifier of a store again, and writes its figures and their page.

    The classifier stays as it is. Its model is fitted to folds of the training rows once more,
    since suspects and thresholds are judged by fits that have not seen an image.

    Parameters
    ----------
    out : str or Path
        The store.
    labels : Path, optional
        As `TrainSettings` has it. None: as the classifier was trained.
    settings : RunSettings
        How the command runs.

    Returns
    -------
    dict
        What classifier/classifier.json says then.

    Raises
    ------
    StoreError, SourceError
        If the store has no classifier that can be used, or the file cannot be.
    """
    store = Store(out, settings.access)
    _ = store.manifest
    with open_run(store, settings) as context:
        store = context.store
        classifier = Classifier.read(store)
        facts = classifier.facts
        training = TrainSettings(
            on=classifier.on,
            labels=labels or (Path(facts["labels_from"]) if facts["labels_from"] else None),
            groups=facts["groups"],
            seed=facts["seed"],
            corrections=read_corrections(store.files, facts),
        )
        lesson = prepare(store, training, settings.progress)
        if lesson.training.names != classifier.labels:
            raise StoreError(
                f"{store.files} has other labels than its classifier: `pomona train {store.files}` "
                "again"
            )
        model = MODELS[facts["model"]]
        logits, mixed = cross_validate(lesson, model, facts["settings"])
        comparison = [base.Candidate(**each) for each in facts["comparison"]]
        fit = fit_here(lesson, model, facts["settings"])
        trial = Trial(model, facts["settings"], logits, mixed, comparison, fit)
        return write(store, *measure(store, classifier, lesson, trial, settings), settings)


def cross_validate(
    lesson: Lesson, model: Model, settings: Settings
) -> tuple[Logits, Logits | None]:
    """Returns the logits of the judged rows by fits without their folds: float64[n, classes].

    Returns
    -------
    tuple
        Those over the lesson's folds, and those over random folds; None where these are the same.
    """
    grouped = _out_of_fold(lesson, model, settings, lesson.folds)
    return grouped, mix(lesson, model, settings)


def mix(lesson: Lesson, model: Model, settings: Settings) -> Logits | None:
    """Returns the logits of the judged rows over random folds, float64[n, classes], or None."""
    if not lesson.has_groups:
        return None
    return _out_of_fold(lesson, model, settings, lesson.random_folds)


def _out_of_fold(lesson: Lesson, model: Model, settings: Settings, folds: Codes) -> Logits:
    rows = lesson.training.take(lesson.judged)
    [logits] = out_of_fold(
        model.load(), rows.x, rows.y, len(rows.names), folds, [settings], lesson.facts["seed"]
    )
    return logits


def measure(
    store: Store,
    classifier: Classifier,
    lesson: Lesson,
    trial: Trial,
    settings: RunSettings,
    earlier: Classifier | None = None,
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Measures a classifier, and makes all its files.

    Parameters
    ----------
    store : Store
        The store, open for writing.
    classifier : Classifier
        What is measured.
    lesson, trial
        What it has learned, and how it was chosen.
    settings : RunSettings
        How the command runs.
    earlier : Classifier, optional
        Another one, tested on the same rows, that it is compared with.

    Returns
    -------
    facts : dict
        What classifier.json is to say.
    contents : dict
        The other files.
    """
    inputs = _inputs(store, classifier, lesson, trial, earlier)
    evaluation = figures.evaluate(inputs)
    listed = suspects(lesson.training.names, inputs.mixed or inputs.training, inputs.temperature)
    judged = lesson.training.take(lesson.judged)
    manifest = store.manifest
    with map_here(settings.engine) as run_here:
        pictures = None
        if manifest.get("thumbnails") is not False:
            pictures = provide(
                store,
                manifest["source"],
                store.recipe,
                page.find_pictures(evaluation),
                limit_s=PICTURES_S,
                map_here=run_here,
                file=EVALUATION_THUMBNAILS,
            )
        contents = {
            CLASSIFIER_MODEL: classifier.model,
            CLASSIFIER_SEEN: Seen.of(judged.x, judged.y, lesson.folds).to_bytes(),
            TEST_PREDICTIONS: bytes(encode_table(_predictions(classifier, lesson.test))),
            SUSPECTS: bytes(encode_csv(listed)),
            EVALUATION: encode_json(evaluation),
            EVALUATION_PAGE: encode_text(page.render(evaluation, pictures)),
        }
    if lesson.corrections is not None:
        contents[CORRECTIONS] = bytes(encode_csv(lesson.corrections))
    return {**classifier.facts, **_facts(evaluation)}, contents


def write(
    store: Store, facts: dict[str, Any], contents: dict[str, bytes], settings: RunSettings
) -> dict[str, Any]:
    """Puts a classifier in use, and writes the report that names it.

    Parameters
    ----------
    store : Store
        The store, open for writing.
    facts, contents
        As `measure` returns them.
    settings : RunSettings
        How the command runs.

    Returns
    -------
    dict
        What classifier/classifier.json says.
    """
    told = files.write(store.files, facts, contents)
    with map_here(settings.engine) as run_here:
        report.write(store, store.manifest, map_here=run_here)
    return told


def _inputs(
    store: Store,
    classifier: Classifier,
    lesson: Lesson,
    trial: Trial,
    earlier: Classifier | None,
) -> base.Inputs:
    """What the evaluation is made from."""
    temperature = float(classifier.facts["temperature"])
    source = store.manifest["source"]
    subject = base.Subject(
        name=PurePath(source).name or source,
        store=str(store.files),
        id=classifier.id,
        model=trial.model.title,
        settings=trial.settings,
        rows=classifier.on,
        width=lesson.training.x.shape[1],
        split=lesson.split,
        grouping=lesson.grouping,
        version=__version__,
    )
    test_groups = lesson.test_groups if lesson.has_groups else None
    judged = lesson.training.take(lesson.judged)
    training_groups = lesson.training_groups[lesson.judged] if lesson.has_groups else None
    return base.Inputs(
        subject=subject,
        names=lesson.training.names,
        temperature=temperature,
        test=_judged(lesson.test, _logits(classifier, lesson.test), test_groups),
        copied=_judged(lesson.copied, _logits(classifier, lesson.copied), None),
        learned=base.Labelled(*_identify(lesson.training), lesson.training.y),
        training=_judged(judged, trial.logits, training_groups),
        mixed=None if trial.mixed is None else _judged(judged, trial.mixed, training_groups),
        baselines=_baselines(lesson),
        curve=_curve(lesson, trial, classifier),
        comparison=trial.comparison,
        earlier=None if earlier is None else _earlier(earlier, lesson),
        are_groups_given=lesson.are_groups_given,
        seed=lesson.facts["seed"],
    )


def _identify(rows: LabelledRows) -> tuple[list[str], list[str]]:
    """The paths and the digests of images."""
    return rows.images["path"].to_pylist(), rows.images["digest"].to_pylist()


def _judged(rows: LabelledRows, logits: Logits, groups: Codes | None) -> base.Judged:
    return base.Judged(*_identify(rows), rows.y, logits, groups)


def _logits(classifier: Classifier, rows: LabelledRows) -> Logits:
    """The logits that the stored graph stands for, up to a constant of each row."""
    probabilities = classifier.probabilities(rows.x).astype(np.float64)
    logits: Logits = np.log(np.maximum(probabilities, LEAST)) * classifier.facts["temperature"]
    return logits


def _predictions(classifier: Classifier, rows: LabelledRows) -> pa.Table:
    """path, label, predicted and probability of each row."""
    probabilities = classifier.probabilities(rows.x)
    best = probabilities.argmax(axis=1)
    names = pa.array(classifier.labels, pa.string())
    return pa.table(
        {
            "path": rows.images["path"],
            "label": rows.images["label"],
            "predicted": names.take(pa.array(best)),
            "probability": probabilities[np.arange(len(best)), best],
        }
    )


def _baselines(lesson: Lesson) -> list[base.Other]:
    """The most frequent label, and the label of the nearest training row by cosine."""
    y = lesson.training.y
    frequent = np.full(len(lesson.test), np.bincount(y).argmax())
    found = [base.Other("the most frequent label", frequent)]
    if len(lesson.test) * len(y) <= MOST_PAIRS:
        found.append(base.Other("the nearest image's label", y[_nearest(lesson)]))
    return found


def _nearest(lesson: Lesson) -> Codes:
    """The nearest training row of each test row, by the cosine of centred rows."""
    mean = lesson.training.x.mean(axis=0)
    rows = lesson.training.x - mean
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    nearest = np.empty(len(lesson.test), np.int64)
    with threadpool_limits(1, "blas"):
        for start in range(0, len(nearest), BLOCK_ROWS):
            block = lesson.test.x[start : start + BLOCK_ROWS] - mean
            nearest[start : start + len(block)] = (block @ rows.T).argmax(axis=1)
    return nearest


def _curve(lesson: Lesson, trial: Trial, classifier: Classifier) -> list[base.CurvePoint]:
    """The learning curve of the chosen model."""
    return learning_curve.learn(
        trial.fit,
        lesson.training.y,
        lesson.training_groups if lesson.has_groups else None,
        lesson.test.x,
        _logits(classifier, lesson.test).argmax(axis=1),
        lesson.facts["seed"],
    )


def _facts(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The figures that classifier.json repeats."""
    return {
        "figures": {
            **evaluation["figures"],
            "accuracy_with_copies": evaluation["leak"]["accuracy"],
            "copied_from_other_labels": evaluation["leak"]["other_label"],
            "suspects": evaluation["suspects"]["likely"],
            "ece": evaluation["calibration"]["after"]["ece"],
        },
        "thresholds": evaluation["thresholds"],
        "comparison": evaluation["comparison"],
    }


def _earlier(earlier: Classifier, lesson: Lesson) -> base.Other:
    """What an earlier classifier says of the test rows, in the labels of this one."""
    codes = {name: code for code, name in enumerate(lesson.training.names)}
    known = np.array([codes.get(name, -1) for name in earlier.labels])
    predicted = known[earlier.probabilities(lesson.test.x).argmax(axis=1)]
    return base.Other(f"the classifier before ({earlier.facts['model']}, {earlier.id})", predicted)
