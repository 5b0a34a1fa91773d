"""The fit of a chosen model to training rows: in this process, or by Spark.

What chooses, judges and writes is the same for both, and knows neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pomona.engines.base import Engine
from pomona.errors import UsageError
from pomona.learning.choose import AUTO, find_models
from pomona.learning.lesson import Lesson
from pomona.learning.models.base import Codes, Fitted, Model, Settings
from pomona.learning.models.registry import MODELS
from pomona.store.store import Store

SPARK = "spark"


class Fit(Protocol):
    """Fits a model with its settings to rows of a lesson."""

    def __call__(self, rows: Codes | None = None, /) -> Fitted:
        """Fits the training rows of these places, int64[m]. None: all of them."""
        ...


def choices(name: str, engine: Engine) -> list[Model]:
    """Returns the models to compare: the one of a name, or for "auto" those that are quick.

    Parameters
    ----------
    name : str
        "auto", or a key of `MODELS`.
    engine : Engine
        What is to fit the chosen one.

    Raises
    ------
    UsageError
        For another name, or a model that the engine cannot fit.
    PomonaError
        If the library of a model is not installed.
    """
    models = find_models(name)
    if engine.name == SPARK:
        models = [model for model in models if model.spark_module]
        if not models:
            able = [model.name for model in MODELS.values() if model.spark_module]
            raise UsageError(
                f"`model` {name}: Spark fits {', '.join([AUTO, *able])}; choose one of them, "
                "or `engine` local"
            )
    for model in models:
        model.load()
        if engine.name == SPARK:
            model.load_on_spark()
    return models


def find_fit(store: Store, lesson: Lesson, model: Model, settings: Settings, engine: Engine) -> Fit:
    """Returns what fits a model to the rows of a lesson on an engine.

    Parameters
    ----------
    store : Store
        Where the rows lie.
    lesson : Lesson
        What is learned.
    model, settings
        The chosen ones.
    engine : Engine
        Where the fit runs; it has been entered.
    """
    if engine.name != SPARK:
        return fit_here(lesson, model, settings)
    from pomona.learning.spark_models.fit import fit_on_spark

    return fit_on_spark(store, lesson, model, settings, engine)


def fit_here(lesson: Lesson, model: Model, settings: Settings) -> Fit:
    """Returns what fits a model to the rows of a lesson in this process."""
    implementation, training = model.load(), lesson.training
    classes, seed = len(training.names), lesson.facts["seed"]

    def fit(rows: Codes | None = None) -> Fitted:
        x, y = training.x, training.y
        if rows is not None:
            x, y = x[rows], y[rows]
        return implementation.fit(x, y, classes, settings, seed)

    return fit


def libraries(model: Model, engine: Engine) -> Sequence[str]:
    """Returns what decided the numbers of a model that was fitted on an engine."""
    own = [model.library or "scipy"]
    return [*own, "pyspark"] if engine.name == SPARK else own
