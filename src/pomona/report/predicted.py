"""What predictions/ of a store says, in counts, and the images that were predicted least surely."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pomona.report.projected import ImageRef
from pomona.store.store import Store

LABELS_SHOWN, IMAGES_SHOWN = 30, 12


@dataclass(frozen=True)
class Guess:
    """An image, under the label that was predicted for it, and how probable that label is."""

    image: ImageRef
    probability: float


@dataclass(frozen=True)
class Predicted:
    """The predictions of a store.

    Attributes
    ----------
    images : int
        How many images have one.
    unsure : int
        For how many of them the label is less probable than `threshold`.
    threshold : float
        The bound that the store's predictions were made with.
    labels : list of (str, int)
        The labels predicted, the most frequent first, and for how many images each.
    least_sure : list of Guess
        The images with the least probable labels, the least probable first.
    shown : int
        How many labels the page shows before it folds the rest.
    """

    images: int
    unsure: int
    threshold: float
    labels: list[tuple[str, int]]
    least_sure: list[Guess]
    shown: int = LABELS_SHOWN


def read_predicted(store: Store, threshold: float) -> Predicted | None:
    """Counts the predictions of a store, part by part; None if there are none.

    Raises
    ------
    StoreError
        If a part cannot be read.
    """
    counts: Counter[str] = Counter()
    unsure = 0
    least: list[tuple[float, str, str, str | None]] = []
    for name in store.part_names("predictions"):
        table = store.read_table(name, ["path", "label", "probability", "unsure", "sha256"])
        counts.update(table["label"].to_pylist())
        unsure += pc.sum(table["unsure"]).as_py() or 0
        least = heapq.nsmallest(IMAGES_SHOWN, [*least, *_least_sure(table)])
    if not counts:
        return None
    guesses = [
        Guess(ImageRef(path, label, None, sha256), probability)
        for probability, path, label, sha256 in least
    ]
    return Predicted(sum(counts.values()), unsure, threshold, counts.most_common(), guesses)


def _least_sure(table: pa.Table) -> list[tuple[float, str, str, str | None]]:
    """Probability, path, label and digest of a part's least sure rows; equals in order of path."""
    order = [("probability", "ascending"), ("path", "ascending")]
    rows = table.take(pc.select_k_unstable(table, k=IMAGES_SHOWN, sort_keys=order)).to_pylist()
    return [(row["probability"], row["path"], row["label"], row["sha256"]) for row in rows]
