"""Features become rows of predictions/, part by part, as they become rows of pca/."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pomona.errors import StoreError, UsageError
from pomona.learning.classifier import Classifier
from pomona.learning.models.base import Rows
from pomona.learning.seen import Seen
from pomona.pca.projection import Projection
from pomona.store import schemas
from pomona.store.classifier import damaged, read_file
from pomona.store.folders.base import Folder
from pomona.store.layout import CLASSIFIER_SEEN, part_name, provenance
from pomona.store.store import Store
from pomona.store.tables import matrix

TOP, UNSURE = 5, 0.9


@dataclass(frozen=True)
class Predictor:
    """All that makes predictions of features; pickles, to be sent to workers.

    Parameters
    ----------
    classifier : Classifier
        A store's classifier.
    projection : Projection, optional
        The store's, if the classifier takes components.
    seen : Seen
        What the classifier has learned from.
    top : int
        How many labels are told of each image.
    unsure : float
        An image is unsure whose most probable label is less probable than this.

    Raises
    ------
    UsageError
        For a value that cannot be.
    """

    classifier: Classifier
    projection: Projection | None
    seen: Seen
    top: int = TOP
    unsure: float = UNSURE

    def __post_init__(self) -> None:
        if self.top < 1:
            raise UsageError(f"`top` {self.top}: at least 1 label is needed")
        if not 0 <= self.unsure <= 1:
            raise UsageError(f"`unsure` {self.unsure:g}: give a probability between 0 and 1")

    @classmethod
    def read(cls, store: Store, *, top: int = TOP, unsure: float = UNSURE) -> Predictor:
        """Reads the classifier of a store, with what it needs.

        Raises
        ------
        UsageError
            For a value that cannot be.
        StoreError
            If the store has no classifier, or none that can be used.
        """
        classifier = Classifier.read(store)
        if classifier.facts.get("recipe") != store.recipe.digest:
            raise StoreError(
                f"the features of {store.files} have another recipe than those that its classifier "
                f"learned from: `pomona train {store.files}` again"
            )
        projection = store.projection if classifier.on == "pca" else None
        try:
            seen = Seen.from_bytes(read_file(store.files, classifier.facts, CLASSIFIER_SEEN))
        except ValueError as exc:
            raise damaged(store.files, CLASSIFIER_SEEN) from exc
        return cls(classifier, projection, seen, top, unsure)

    @property
    def facts(self) -> dict[str, str]:
        """What a file of predictions/ says of how it was made."""
        return {
            "classifier": self.classifier.id,
            "top": str(self.top),
            "unsure": repr(float(self.unsure)),
        }

    def probabilities(self, features: Rows) -> Rows:
        """Returns the probability of each label, float32[n, labels], of features."""
        return self.classifier.probabilities(self.rows(features))

    def rows(self, features: Rows) -> Rows:
        """Returns the rows that the classifier takes: components, or the features themselves."""
        return features if self.projection is None else self.projection.apply(features)

    def answer(self, features: Rows) -> pa.Table:
        """Returns the prediction of each row of features, as `answer_rows` does."""
        return self.answer_rows(self.rows(features))

    def answer_rows(self, rows: Rows) -> pa.Table:
        """Returns the prediction of each row of `rows`, float32[n, width or k].

        Returns
        -------
        pyarrow.Table
            The columns label, probability, unsure, distance and top of `schemas.PREDICTIONS`.
        """
        probabilities = self.classifier.probabilities(rows)
        # Of equals the first one, as the graph's own `label`.
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, : self.top]
        best = np.take_along_axis(probabilities, order, axis=1)
        labels = pa.array(self.classifier.labels, pa.string())
        names = labels.take(pa.array(order.ravel()))
        told = pa.StructArray.from_arrays(
            [names, pa.array(best.ravel())], fields=list(schemas.TOP.value_type)
        )
        ends = np.arange(len(rows) + 1, dtype=np.int32) * order.shape[1]
        columns = {
            "label": labels.take(pa.array(order[:, 0])),
            "probability": best[:, 0],
            "unsure": best[:, 0] < np.float32(self.unsure),
            "distance": self.seen.distances(rows),
            "top": pa.ListArray.from_arrays(pa.array(ends), told, type=schemas.TOP),
        }
        schema = pa.schema([schemas.PREDICTIONS.field(name) for name in columns])
        return pa.table(columns, schema=schema)


@dataclass(frozen=True)
class PredictTask:
    """The payload of `predict`.

    Attributes
    ----------
    files : Folder
        Where the store's files are read and written.
    predictor : Predictor
        What makes predictions of its features.
    """

    files: Folder
    predictor: Predictor


def is_predicted(store: Store, part: int, payload: PredictTask) -> bool:
    """Whether predictions/ already holds the rows that `predict` would write."""
    done = store.footer(part_name("predictions", part)) or {}
    features = store.footer(part_name("features", part))
    wanted = {**provenance(features), **payload.predictor.facts}
    return {key: done.get(key) for key in wanted} == wanted


def predict(parts: Sequence[int], payload: PredictTask, attempt: int = 1) -> None:
    """Writes the files of some parts in predictions/."""
    store = Store(payload.files)
    store.map_concurrent(lambda part: _predict_part(store, part, payload.predictor), parts)


def _predict_part(store: Store, part: int, predictor: Predictor) -> None:
    columns = ["path", "sha256", "features"]
    features, footer = store.read_with_footer(part_name("features", part), columns)
    table = predictor.answer(matrix(features, "features"))
    for name in ("path", "sha256"):
        table = table.append_column(schemas.PREDICTIONS.field(name), features[name])
    table = table.select(schemas.PREDICTIONS.names).cast(schemas.PREDICTIONS)
    store.write_table(
        part_name("predictions", part), table, {**provenance(footer), **predictor.facts}
    )
