"""A store's classifier, ready to be asked. It needs ONNX Runtime alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pomona.errors import PomonaError, StoreError
from pomona.store.classifier import damaged, read_facts, read_file
from pomona.store.layout import CLASSIFIER_MODEL
from pomona.store.store import Store

# Rows are asked about in blocks of one shape, so that a row's bits do not depend on its company.
BLOCK_ROWS = 64
INPUT, OUTPUT = "rows", "probabilities"


@dataclass(frozen=True)
class Classifier:
    """A classifier of rows; pickles without its session, to be sent to workers.

    Attributes
    ----------
    facts : dict
        What classifier.json says.
    model : bytes
        An ONNX graph of input "rows", float32[batch, width], and output "probabilities",
        float32[batch, labels].
    """

    facts: dict[str, Any]
    model: bytes = dataclasses.field(repr=False)

    @classmethod
    def read(cls, store: Store) -> Classifier:
        """Reads the classifier of a store.

        Raises
        ------
        StoreError
            If there is none, it is damaged or of a later version, or the store has another
            projection than it learned on.
        """
        facts = read_facts(store.files)
        if facts is None:
            raise StoreError(f"{store.files} has no classifier: run `pomona train {store.files}`")
        if facts["on"] == "pca" and facts["projection"] != store.projection.id:
            raise StoreError(
                f"the PCA of {store.files} has changed since its classifier was trained: "
                f"`pomona train {store.files}` again"
            )
        classifier = cls(facts, read_file(store.files, facts, CLASSIFIER_MODEL))
        try:
            _ = classifier._run
        except PomonaError as exc:
            raise damaged(store.files, CLASSIFIER_MODEL) from exc
        return classifier

    @property
    def id(self) -> str:
        """The digest of the model, 16 hexadecimal digits."""
        return str(self.facts["id"])

    @property
    def labels(self) -> list[str]:
        """The labels, in the order of the probabilities."""
        return list(self.facts["labels"])

    @property
    def on(self) -> str:
        """Which rows it takes: "pca" or "features"."""
        return str(self.facts["on"])

    def probabilities(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Returns the probability of each label.

        Parameters
        ----------
        rows : float32[n, width]
            Rows as the store's table `on` holds them.

        Returns
        -------
        float32[n, labels]
            A row depends on its own numbers alone, bit by bit.
        """
        result = np.empty((len(rows), len(self.facts["labels"])), np.float32)
        block = np.zeros((BLOCK_ROWS, rows.shape[1]), np.float32)
        for start in range(0, len(rows), BLOCK_ROWS):
            some = rows[start : start + BLOCK_ROWS]
            block[: len(some)] = some
            [answer] = self._run([OUTPUT], {INPUT: block})
            result[start : start + len(some)] = answer[: len(some)]
        return result

    @cached_property
    def _run(self) -> Callable[[list[str], dict[str, npt.NDArray[Any]]], list[Any]]:
        """What runs the graph in this process."""
        from pomona.backbones.runtimes.onnxruntime import open_graph

        try:
            return open_graph(self.model)
        except Exception as exc:  # ONNX Runtime's exceptions share no other base
            raise PomonaError(f"cannot open the classifier: {' '.join(str(exc).split())}") from exc

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
