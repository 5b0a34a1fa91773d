"""Model: what is known of a classifier's model before scikit-learn is imported."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from pomona.errors import PomonaError

if TYPE_CHECKING:
    import onnx

Rows: TypeAlias = npt.NDArray[np.float32]
Codes: TypeAlias = npt.NDArray[np.int64]
Logits: TypeAlias = npt.NDArray[np.float64]
# Plain values, as JSON knows them.
Settings: TypeAlias = Mapping[str, Any]

# An ONNX file holds no more: it is a message of Protocol Buffers.
MOST_BYTES = 2**31 - 1
# The logit of a class that no row of a fit had: its probability is 0.
MISSING = -1e4


@dataclass(frozen=True)
class Graph:
    """Part of an ONNX graph.

    Parameters
    ----------
    nodes : list of onnx.NodeProto
        In an order in which they can be computed.
    constants : list of onnx.TensorProto
        Their initializers.
    """

    nodes: Sequence[onnx.NodeProto]
    constants: Sequence[onnx.TensorProto]


class Fitted(Protocol):
    """A model that has learned."""

    def logits(self, x: Rows, /) -> Logits:
        """Returns float64[n, classes] of rows float32[n, width].

        Their softmax is what the library takes for probabilities.
        """
        ...

    def graph(self, x: str, logits: str, /) -> Graph:
        """Returns what computes the tensor `logits`, float32[n, classes], from the tensor `x`."""
        ...


class Implementation(Protocol):
    """The module of a model.

    It may also have `out_of_fold`, with the parameters of the function of that name here, where
    fits of several folds or settings share work.
    """

    SETTINGS: Sequence[Settings]  # what cross-validation compares, the simplest first

    def fit(self, x: Rows, y: Codes, classes: int, settings: Settings, seed: int, /) -> Fitted:
        """Fits rows float32[n, width] of the classes int64[n], of which some may not occur."""
        ...


class SparkImplementation(Protocol):
    """The module of a model that Spark fits as well.

    Settings are those of the model's `Implementation`, and mean the same.
    """

    LIBRARY: str | None  # what executors need beside pomona, as Python imports it

    def fit(self, rows: Any, settings: Settings, seed: int, /) -> Fitted:
        """Fits `spark_models.rows.SparkRows`, among which each class occurs.

        What it returns answers by Spark's model.
        """
        ...


@dataclass(frozen=True)
class Model:
    """A model that can be a classifier.

    Parameters
    ----------
    name : str
        As users choose it.
    title : str
        As a person reads it.
    module : str
        The module that fits it: see `Implementation`. Importing it imports its library.
    is_quick : bool
        Whether the choice among models tries it without being asked.
    library, extra : str, optional
        What it needs, as Python imports it, and the extra of pomona that installs it; neither,
        if it needs nothing beyond pomona.
    spark_module : str, optional
        The module that fits it on Spark: see `SparkImplementation`. None: Spark cannot.
    most_rows : int, optional
        More training rows than these are refused. None: any number is taken.
    """

    name: str
    title: str
    module: str
    is_quick: bool
    library: str | None = "sklearn"
    extra: str | None = "learn"
    spark_module: str | None = None
    most_rows: int | None = None

    def load(self) -> Implementation:
        """Imports the module that fits it.

        Raises
        ------
        PomonaError
            If its library is not installed.
        """
        return cast(Implementation, self._import(self.module))

    def load_on_spark(self) -> SparkImplementation:
        """Imports the module that fits it on Spark, which it must have.

        Raises
        ------
        PomonaError
            If a library is not installed.
        """
        return cast(SparkImplementation, self._import(self.spark_module or ""))

    def _import(self, module: str) -> Any:
        extras = {"pyspark": "spark", "pandas": "pandas", "sklearn": "learn", "scipy": "learn"}
        extras[self.library or ""] = self.extra or ""
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as exc:
            missing = (exc.name or "").partition(".")[0]
            if missing not in extras:
                raise
            raise PomonaError(
                f'{missing} is not installed: pip install "pomona[{extras[missing]}]"'
            ) from exc


def check_size(size_bytes: int) -> None:
    """Checks that an ONNX file can hold a graph.

    Raises
    ------
    PomonaError
        If it is too large.
    """
    if size_bytes > MOST_BYTES:
        raise PomonaError(
            f"the classifier would take {size_bytes / 1e9:.1f} GB, an ONNX file holds "
            f"{MOST_BYTES / 1e9:.1f} GB: choose a smaller `model`, such as logistic"
        )


def out_of_fold(
    implementation: Implementation,
    x: Rows,
    y: Codes,
    classes: int,
    folds: npt.NDArray[np.int64],
    settings: Sequence[Settings],
    seed: int,
) -> list[Logits]:
    """Fits a model without each fold in turn, and asks it about the fold.

    Parameters
    ----------
    implementation : Implementation
        The model.
    x, y, classes
        Rows float32[n, width], their classes int64[n], and how many classes there are.
    folds : int64[n]
        The fold of each row.
    settings : sequence of Settings
        The settings to try.
    seed : int
        Of what is random in a fit.

    Returns
    -------
    list of float64[n, classes]
        For each of the settings, the logits of each row by a fit that has not seen its fold.
    """
    shared = getattr(implementation, "out_of_fold", None)
    if shared is not None:
        return cast("list[Logits]", shared(x, y, classes, folds, settings, seed))
    results = [np.empty((len(x), classes)) for _ in settings]
    for fold in np.unique(folds):
        held = folds == fold
        for result, each in zip(results, settings, strict=True):
            result[held] = implementation.fit(x[~held], y[~held], classes, each, seed).logits(
                x[held]
            )
    return results
