"""Neighbours: near-duplicates, possible mislabels and outliers, from each image's nearest others.

Images are compared by the cosine of the angle between them on the kept components. These are
centred, so that what all images share does not make all of them alike, and not whitened: the
last components are mostly noise, which whitening would weigh like the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pomona.report.nearest import Nearest, find_nearest
from pomona.report.projected import ImageRef, Projected

NEAREST = 5
# Photographs that were saved again as JPEG of quality 90 have a median of 0.97 (docs say how).
NEAR_DUPLICATE = 0.98
PAIRS_SHOWN, PAIRS_PER_LABEL = 6, 2
MISLABELS_SHOWN, MISLABELS_PER_LABEL = 12, 3
OUTLIERS_SHOWN = 6


@dataclass(frozen=True)
class Pair:
    """Two images and their cosine."""

    images: tuple[ImageRef, ImageRef]
    cosine: float


@dataclass(frozen=True)
class NearDuplicates:
    """Images that have another one that is almost the same to the network.

    Attributes
    ----------
    threshold : float
        The cosine from which on two images are near-duplicates.
    images : int
        How many images have one.
    other_label, other_split : int
        For how many of them it has another label, or is in another split.
    label_pairs, pairs : list of Pair
        Some of different labels, and of the others, the most similar first.
    """

    threshold: float
    images: int
    other_label: int
    other_split: int
    label_pairs: list[Pair]
    pairs: list[Pair]


@dataclass(frozen=True)
class Suspect:
    """An image that may be mislabelled. near: the labels of its nearest others, with counts."""

    image: ImageRef
    near: list[tuple[str | None, int]]


@dataclass(frozen=True)
class Mislabels:
    """Images most of whose nearest others have another label.

    Attributes
    ----------
    nearest : int
        How many others are looked at.
    judged : int
        How many images could be judged.
    images : int
        How many of them may be mislabelled.
    shown : list of Suspect
        Some of these, those with most others of another label first.
    """

    nearest: int
    judged: int
    images: int
    shown: list[Suspect]


@dataclass(frozen=True)
class Outlier:
    """An image that is unlike all others. cosine: that to the nearest of them."""

    image: ImageRef
    cosine: float


@dataclass(frozen=True)
class Comparison:
    """What the nearest others of the images say of them.

    Attributes
    ----------
    compared : int
        How many different images were compared.
    is_sample : bool
        Whether the store has more of them.
    near_duplicates : NearDuplicates
        Images that are almost the same.
    mislabels : Mislabels
        Images that may have a wrong label.
    outliers : list of Outlier
        Those least like any other, the least first.
    """

    compared: int
    is_sample: bool
    near_duplicates: NearDuplicates
    mislabels: Mislabels
    outliers: list[Outlier]


def compare(projected: Projected, threads: int = 1) -> Comparison | None:
    """Compares images on the components.

    Parameters
    ----------
    projected : Projected
        The images. Of those with the same bytes the first one is compared.
    threads : int
        How many threads compare.

    Returns
    -------
    Comparison or None
        None: there are fewer than 2 different images.
    """
    distinct = projected.distinct()
    if len(distinct) < 2:
        return None
    own = Projected(projected.images.take(pa.array(distinct)), projected.array[distinct], 0)
    nearest = find_nearest(own.array, NEAREST, threads)
    labels, splits = (_codes(own.images[name]) for name in ("label", "split"))
    least_similar = np.argsort(nearest.cosines[:, 0], kind="stable")[:OUTLIERS_SHOWN]
    return Comparison(
        compared=len(own),
        is_sample=projected.is_sample,
        near_duplicates=_near_duplicates(own, nearest, labels, splits),
        mislabels=_mislabels(own, nearest, labels),
        outliers=[Outlier(own.image(row), float(nearest.cosines[row, 0])) for row in least_similar],
    )


def _codes(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """A number for each value, −1 for null."""
    encoded = column.combine_chunks().dictionary_encode()
    codes: npt.NDArray[np.int64] = pc.fill_null(encoded.indices.cast(pa.int64()), -1).to_numpy()
    return codes


def _near_duplicates(
    own: Projected,
    nearest: Nearest,
    labels: npt.NDArray[np.int64],
    splits: npt.NDArray[np.int64],
) -> NearDuplicates:
    first = nearest.rows[:, 0]
    is_near = nearest.cosines[:, 0] >= NEAR_DUPLICATE
    other_label = is_near & (labels != labels[first]) & (labels >= 0) & (labels[first] >= 0)
    other_split = is_near & (splits != splits[first]) & (splits >= 0) & (splits[first] >= 0)
    return NearDuplicates(
        threshold=NEAR_DUPLICATE,
        images=int(is_near.sum()),
        other_label=int(other_label.sum()),
        other_split=int(other_split.sum()),
        label_pairs=list(_pairs(own, nearest, np.flatnonzero(other_label))),
        pairs=list(_pairs(own, nearest, np.flatnonzero(is_near & ~other_label))),
    )


def _pairs(own: Projected, nearest: Nearest, rows: npt.NDArray[np.int64]) -> Iterator[Pair]:
    """The most similar of these rows with their nearest: no image twice, few of the same labels."""
    seen: set[int] = set()
    per_labels: Counter[frozenset[str | None]] = Counter()
    for row in rows[np.argsort(-nearest.cosines[rows, 0], kind="stable")].tolist():
        other = int(nearest.rows[row, 0])
        if len(seen) == 2 * PAIRS_SHOWN:
            return
        if {row, other} & seen:
            continue
        images = own.image(min(row, other)), own.image(max(row, other))
        labels = frozenset(image.label for image in images) - {None}
        if not labels or per_labels[labels] < PAIRS_PER_LABEL:
            per_labels[labels] += 1
            seen |= {row, other}
            yield Pair(images, float(nearest.cosines[row, 0]))


def _mislabels(own: Projected, nearest: Nearest, labels: npt.NDArray[np.int64]) -> Mislabels:
    """Judges the images of labels with more than `NEAREST`: those of others have none of their own.

    A neighbour without a label does not count as one of another label.
    """
    sizes = np.bincount(labels[labels >= 0], minlength=1)
    judged = (labels >= 0) & (sizes[labels] > NEAREST)
    near = labels[nearest.rows]
    others = ((near != labels[:, None]) & (near >= 0)).sum(axis=1)
    suspects = np.flatnonzero(judged & (2 * others > NEAREST))
    order = suspects[np.lexsort((-nearest.cosines[suspects, 0], -others[suspects]))]
    shown: list[Suspect] = []
    per_label: Counter[int] = Counter()
    for row in order.tolist():
        if len(shown) == MISLABELS_SHOWN:
            break
        per_label[int(labels[row])] += 1
        if per_label[int(labels[row])] <= MISLABELS_PER_LABEL:
            names = own.images["label"].take(pa.array(nearest.rows[row])).to_pylist()
            shown.append(Suspect(own.image(row), Counter(names).most_common()))
    return Mislabels(NEAREST, int(judged.sum()), len(suspects), shown)
