"""The classifier that stands on the store, and what another one predicts of its images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pomona.errors import StoreError
from pomona.progress import count
from pomona.report.context import ReportContext
from pomona.report.formatting import percent
from pomona.report.predicted import Predicted, read_predicted
from pomona.report.projected import ImageRef
from pomona.store.classifier import read_facts


@dataclass(frozen=True)
class ClassifierFigures:
    """What classifier.json says.

    Attributes
    ----------
    model : str
        Its model.
    labels, training, test : int
        How many labels, training rows and test rows it has.
    accuracy : float
        The share of test rows that it labels as they are.
    interval : (float, float) or None
        The 95 % interval of the accuracy. None: there are too few groups for one.
    is_current : bool
        Whether it stands on the store's projection.
    """

    model: str
    labels: int
    training: int
    test: int
    accuracy: float
    interval: tuple[float, float] | None
    is_current: bool


@dataclass(frozen=True)
class Labelling:
    """What a store has to do with classifiers.

    Attributes
    ----------
    figures : ClassifierFigures or None
        Its own classifier. None: it has none that can be read.
    predicted : Predicted or None
        What another store's classifier says of its images.
    """

    figures: ClassifierFigures | None
    predicted: Predicted | None


def gather(context: ReportContext) -> Labelling:
    """Reads the figures, and counts the predictions."""
    made = context.manifest.get("predictions")
    predicted = read_predicted(context.store, float(made["unsure"])) if made else None
    return Labelling(_figures(context), predicted)


def _figures(context: ReportContext) -> ClassifierFigures | None:
    try:
        facts = read_facts(context.store.files)
        if facts is None:
            return None
        projection = context.projection.id if context.projection else None
        accuracy, rows = facts["figures"]["accuracy"], facts["rows"]
        return ClassifierFigures(
            model=str(facts["model"]),
            labels=len(facts["labels"]),
            training=int(rows["training"]),
            test=int(rows["test"]),
            accuracy=float(accuracy["value"]),
            interval=None if accuracy["low"] is None else (accuracy["low"], accuracy["high"]),
            is_current=facts["on"] != "pca" or facts["projection"] == projection,
        )
    except (StoreError, KeyError, TypeError, ValueError):
        return None


def sentences(classifier: Labelling) -> Iterator[str]:
    """Says how good the classifier is, and of how many images it is unsure."""
    figures, predicted = classifier.figures, classifier.predicted
    if figures:
        yield (
            f"The classifier labels {percent(figures.accuracy)} of "
            f"{count(figures.test, 'test image')} as they are."
        )
    if predicted:
        yield (
            f"A classifier labelled {count(predicted.images, 'image')}, and is unsure of "
            f"{predicted.unsure:,}."
        )


def pictures(classifier: Labelling) -> Iterator[ImageRef]:
    """Yields the images with the least sure predictions."""
    if classifier.predicted:
        yield from (guess.image for guess in classifier.predicted.least_sure)
