"""Neighbours: which images are alike, which stand among those of another label, which stand alone.

Images are compared by the cosine of the angle between them on the kept components. These are
centred, so that what all images share does not make all of them alike, and not whitened: the
last components are mostly noise, which whitening would weigh like the first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from pomona.report.projected import Projected

NEAREST = 5
# Photographs that were saved again as JPEG of quality 90 come to 0.97 in the median (docs say how).
ALIKE = 0.98
BLOCK_BYTES = 4 * 2**20
PAIRS_SHOWN, PAIRS_PER_LABEL = 6, 2
ODD_SHOWN, ODD_PER_LABEL = 12, 3
LONELY_SHOWN = 6
COPIES_SHOWN = 50
COPIES_PATHS = 10


@dataclass(frozen=True)
class Nearest:
    """The m nearest others of n rows, the nearest first: int64[n, m] and their cosines."""

    rows: npt.NDArray[np.int64]
    cosines: npt.NDArray[np.float32]


def find_nearest(array: npt.NDArray[np.float32], count: int = NEAREST) -> Nearest:
    """Compares each row of float32[n, k] with each other, some rows at a time, on one thread."""
    n, m = len(array), max(0, min(count, len(array) - 1))
    lengths = np.linalg.norm(array, axis=1, keepdims=True)
    unit = np.divide(array, lengths, out=np.zeros_like(array), where=lengths > 0)
    rows, cosines = np.empty((n, m), np.int64), np.empty((n, m), np.float32)
    size = max(1, BLOCK_BYTES // 4 // max(1, n))
    room = np.empty((min(size, n), n), np.float32)
    with threadpool_limits(1, "blas"):
        for start in range(0, n, size):
            some = unit[start : start + size]
            block = np.matmul(some, unit.T, out=room[: len(some)])
            own = np.arange(len(block))
            block[own, own + start] = -np.inf
            for place in range(m):
                # A few times the largest is faster than sorting.
                best = block.argmax(axis=1)
                rows[start : start + size, place] = best
                cosines[start : start + size, place] = block[own, best]
                block[own, best] = -np.inf
    return Nearest(rows, np.clip(cosines, -1, 1))


def compare(projected: Projected) -> dict[str, Any] | None:
    """What the nearest of each image say; None for fewer than 2 different images.

    Of images with the same bytes one is compared, `copies` tells of the others.
    """
    distinct = projected.contents()
    if len(distinct) < 2:
        return None
    own = Projected(projected.images.take(pa.array(distinct)), projected.array[distinct], 0)
    nearest = find_nearest(own.array)
    labels, splits = (_codes(own.images[name]) for name in ("label", "split"))
    first = nearest.rows[:, 0]
    is_alike = nearest.cosines[:, 0] >= ALIKE
    other_label = is_alike & (labels != labels[first]) & (labels >= 0) & (labels[first] >= 0)
    other_split = is_alike & (splits != splits[first]) & (splits >= 0) & (splits[first] >= 0)
    return {
        "compared": len(own),
        "is_sample": projected.is_sample,
        "threshold": ALIKE,
        "alike": int(is_alike.sum()),
        "alike_labels": int(other_label.sum()),
        "alike_splits": int(other_split.sum()),
        "pairs": list(_pairs(own, nearest, np.flatnonzero(is_alike & ~other_label))),
        "label_pairs": list(_pairs(own, nearest, np.flatnonzero(other_label))),
        **_odd(own, nearest, labels),
        "lonely": [
            {**own.image(row), "cosine": float(nearest.cosines[row, 0])}
            for row in np.argsort(nearest.cosines[:, 0], kind="stable")[:LONELY_SHOWN]
        ],
    }


def _codes(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """A number for each value, −1 for null."""
    encoded = column.combine_chunks().dictionary_encode()
    codes: npt.NDArray[np.int64] = pc.fill_null(encoded.indices.cast(pa.int64()), -1).to_numpy()
    return codes


def _pairs(
    own: Projected, nearest: Nearest, rows: npt.NDArray[np.int64]
) -> Iterator[dict[str, Any]]:
    """The most alike of these rows with their nearest: no image twice, few of the same labels."""
    seen: set[int] = set()
    told: Counter[frozenset[str]] = Counter()
    for row in rows[np.argsort(-nearest.cosines[rows, 0], kind="stable")].tolist():
        other = int(nearest.rows[row, 0])
        if len(seen) == 2 * PAIRS_SHOWN:
            return
        if {row, other} & seen:
            continue
        images = [own.image(min(row, other)), own.image(max(row, other))]
        labels = frozenset(image["label"] for image in images) - {None}
        if not labels or told[labels] < PAIRS_PER_LABEL:
            told[labels] += 1
            seen |= {row, other}
            yield {"images": images, "cosine": float(nearest.cosines[row, 0])}


def _odd(own: Projected, nearest: Nearest, labels: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Images most of whose neighbours have another label, those with the nearest such first.

    A neighbour without a label is none of another.
    A label of no more than `NEAREST` images is not judged: its images cannot be among their own.
    """
    sizes = np.bincount(labels[labels >= 0], minlength=1)
    judged = (labels >= 0) & (sizes[labels] > NEAREST)
    near = labels[nearest.rows]
    others = ((near != labels[:, None]) & (near >= 0)).sum(axis=1)
    odd = np.flatnonzero(judged & (2 * others > NEAREST))
    order = odd[np.lexsort((-nearest.cosines[odd, 0], -others[odd]))]
    shown: list[dict[str, Any]] = []
    told: Counter[int] = Counter()
    for row in order.tolist():
        if len(shown) == ODD_SHOWN:
            break
        told[int(labels[row])] += 1
        if told[int(labels[row])] <= ODD_PER_LABEL:
            names = own.images["label"].take(pa.array(nearest.rows[row])).to_pylist()
            shown.append({**own.image(row), "near": Counter(names).most_common()})
    return {"judged": int(judged.sum()), "odd_count": len(odd), "odd": shown, "nearest": NEAREST}


def repeated(digests: pa.ChunkedArray) -> pa.Array:
    """The beginnings of SHA-256 that occur more than once; whole they take thrice the memory."""
    counts = pc.value_counts(pc.drop_null(_beginnings(digests)))
    return counts.filter(pc.greater(counts.field("counts"), 1)).field("values")


def _beginnings(digests: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_slice_codeunits(digests, 0, 16)


def copies(images: pa.Table, beginnings: pa.Array) -> dict[str, Any]:
    """Images with the same bytes, in all the store: those under different labels come first.

    beginnings: what `repeated` says of these images.
    """
    rows = images.filter(pc.is_in(_beginnings(images["sha256"]), beginnings))
    groups: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for image in rows.select(["path", "label", "split", "sha256"]).to_pylist():
        groups[image["sha256"]].append(image)
    same = [group for group in groups.values() if len(group) > 1]
    contents = sorted(same, key=lambda group: -_different(group, "label"))
    return {
        "images": sum(map(len, contents)),
        "contents": len(contents),
        "label_contents": sum(_different(group, "label") > 1 for group in contents),
        "split_contents": sum(_different(group, "split") > 1 for group in contents),
        "shown": [
            {"images": group[:COPIES_PATHS], "count": len(group)}
            for group in contents[:COPIES_SHOWN]
        ],
    }


def _different(group: list[dict[str, Any]], name: str) -> int:
    """How many different values these images have of a column, null left out."""
    return len({image[name] for image in group} - {None})
