"""The classifier that stands on the store, in a few figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pomona.errors import StoreError
from pomona.progress import count
from pomona.report.context import ReportContext
from pomona.report.formatting import percent
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


def gather(context: ReportContext) -> ClassifierFigures | None:
    """Reads the figures; None without a classifier, or one that cannot be read."""
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


def sentences(classifier: ClassifierFigures) -> Iterator[str]:
    """Says how good the classifier is."""
    yield (
        f"The classifier labels {percent(classifier.accuracy)} of "
        f"{count(classifier.test, 'test image')} as they are."
    )
