"""Versus: two classifiers of a store on the same held-out images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pomona.learning.evaluation.base import Other
from pomona.learning.evaluation.comparison import compare

# A label is worse that loses more than this share of its held-out images, and more than so many: of
# dozens of labels, one or another loses a few by chance.
WORSE, BY_CHANCE = 0.05, 2


@dataclass(frozen=True)
class Versus:
    """A candidate beside the classifier in use, on images that neither has learned from.

    Attributes
    ----------
    images : int
        How many there are.
    accuracy, accuracy_in_use : float, optional
        Of the candidate, and of the one in use. None: there are no such images.
    only_candidate, only_in_use : int
        Images that one of them alone has right.
    p : float, optional
        McNemar's: how probable such a difference is between equally good classifiers.
    worse : list of str
        Labels that lose more than `WORSE` of their images, and more than `BY_CHANCE`.
    lost : list of str
        Labels that the candidate does not have.
    """

    images: int
    accuracy: float | None
    accuracy_in_use: float | None
    only_candidate: int
    only_in_use: int
    p: float | None
    worse: list[str]
    lost: list[str]

    @property
    def objections(self) -> list[str]:
        """Why the candidate ought not to replace the one in use; none, if it is not worse.

        Fewer right images are enough. That a test finds no difference is not: a little is lost
        each time, and adds up.
        """
        found = []
        if not self.images:
            found.append("no image was held out from both")
        if self.only_candidate < self.only_in_use:
            found.append(
                f"it has {self.only_in_use - self.only_candidate:,} fewer of {self.images:,} "
                f"held-out images right (p = {self.p:.3f})"
            )
        if self.worse:
            found.append(f"it is worse at {_named(self.worse)}")
        if self.lost:
            found.append(f"it lacks the labels {_named(self.lost)}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """The comparison as a JSON object."""
        return {**asdict(self), "objections": self.objections}


def _named(labels: Sequence[str]) -> str:
    return ", ".join(map(repr, labels[:3])) + (", …" if len(labels) > 3 else "")


def measure(
    candidate: pa.Table | None,
    in_use: pa.Table | None,
    labels: Sequence[str],
    labels_in_use: Sequence[str],
) -> Versus:
    """Compares two classifiers by their answers.

    Parameters
    ----------
    candidate, in_use : pyarrow.Table, optional
        The answers of each on its held-out images, as `read_held_out` returns them. Right is the
        label that the candidate was tested with.
    labels, labels_in_use : sequence of str
        What each can answer.
    """
    lost = sorted(set(labels_in_use) - set(labels))
    if candidate is None or in_use is None:
        return Versus(0, None, None, 0, 0, None, [], lost)
    at = pc.index_in(candidate["path"], value_set=in_use["path"].combine_chunks())
    both = candidate.filter(pc.is_valid(at))
    if not both.num_rows:
        return Versus(0, None, None, 0, 0, None, [], lost)
    answers = [both["label"], both["predicted"], in_use["predicted"].take(pc.drop_null(at))]
    codes = pa.chunked_array([chunk for each in answers for chunk in each.chunks])
    numbers = codes.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    right, new, old = numbers.reshape(3, -1)
    told = compare(right, new, Other("in use", old))
    names = np.array(both["label"].to_pylist(), object)
    return Versus(
        both.num_rows,
        float((new == right).mean()),
        told["accuracy"],
        told["only_this"],
        told["only_other"],
        told["p"],
        _worse(names, new == right, old == right),
        lost,
    )


def _worse(
    names: npt.NDArray[Any], is_right: npt.NDArray[np.bool_], was_right: npt.NDArray[np.bool_]
) -> list[str]:
    found = []
    for name in np.unique(names):
        own = names == name
        fewer = int(was_right[own].sum()) - int(is_right[own].sum())
        if fewer > BY_CHANCE and fewer > WORSE * own.sum():
            found.append(str(name))
    return found
