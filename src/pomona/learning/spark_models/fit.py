"""The fit of a model on the executors of the Spark application that is active."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from pomona.engines.base import Engine
from pomona.engines.spark.application import in_one_line
from pomona.errors import EngineError
from pomona.learning.lesson import Lesson
from pomona.learning.models.base import Codes, Fitted, Graph, Logits, Model, Rows, Settings
from pomona.learning.spark_models.rows import Place, SparkRows
from pomona.pipeline import preflight
from pomona.store.store import Store


@dataclass(frozen=True)
class Translated:
    """A fitted model whose errors of Spark are pomona's."""

    fitted: Fitted

    def logits(self, x: Rows) -> Logits:
        """Returns float64[n, classes] of rows float32[n, width]."""
        with spark_errors():
            return self.fitted.logits(x)

    def graph(self, x: str, logits: str) -> Graph:
        """Returns what computes the same, without Spark."""
        with spark_errors():
            return self.fitted.graph(x, logits)


@dataclass(frozen=True)
class SparkFit:
    """Fits a model to rows of a lesson: a `fitting.Fit`."""

    place: Place
    lesson: Lesson
    model: Model
    settings: Settings
    slots: int

    def __call__(self, rows: Codes | None = None, /) -> Fitted:
        """Fits the training rows of these places, int64[m]. None: all of them.

        Raises
        ------
        EngineError
            If Spark gives up.
        """
        training = self.lesson.training
        given = training if rows is None else training.take(rows)
        seed = self.lesson.facts["seed"]
        with spark_errors():
            spark_rows = SparkRows.of(self.place, given, self.slots)
            fitted = self.model.load_on_spark().fit(spark_rows, self.settings, seed)
        return Translated(fitted)


def fit_on_spark(
    store: Store, lesson: Lesson, model: Model, settings: Settings, engine: Engine
) -> SparkFit:
    """Returns what fits a model to the rows of a lesson, as `fitting.find_fit` says.

    Raises
    ------
    EngineError
        If an executor does not see the store, or lacks what it needs.
    """
    preflight.check(engine, store.files, runtime=model.load_on_spark().LIBRARY)
    on = lesson.facts["on"]
    projection = store.projection.id if on == "pca" else None
    place = Place(store.files.absolute(), on, projection)
    return SparkFit(place, lesson, model, settings, engine.workers)


@contextmanager
def spark_errors() -> Iterator[None]:
    """Raises EngineError in place of Spark's own exceptions."""
    try:
        yield
    except (Py4JError, PySparkException) as exc:
        raise EngineError(f"Spark could not fit the model: {in_one_line(exc)}") from exc
