"""Plan: which images are in which shard.

A shard is a part number and the images in it, for ever. Its generation is the digest of all that
the plan knows of these images; a part's files are done when their footers carry it.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pomona.store import schemas

Item = TypeVar("Item")

SMALLEST = 32
# A task takes a bundle of shards, of so many images at most where a worker waits for each answer.
BUNDLE = 1024
# On a disk a task is so many times smaller: its result is what moves the progress bar.
LOCAL_TASK_DIVISOR = 4
MOST_SHARDS = 4096
# The last eighth of the images is cut into quarters of shards, so that no worker waits for long at
# the end for another one: TAIL_SHARD_FACTOR times as many shards as without.
TAIL_SHARE, TAIL_DIVISOR = 1 / 8, 4
TAIL_SHARD_FACTOR = 1 + (TAIL_DIVISOR - 1) * TAIL_SHARE


@dataclass(frozen=True)
class Shard:
    """Some images that are worked on and stored together.

    images: table of `schemas.CATALOG`, sorted by path; is_new: whether the store is known to hold
    nothing of this part, so that nobody need look.
    """

    part: int
    images: pa.Table
    generation: str
    is_new: bool = False

    def __reduce__(self) -> tuple[type[Shard], tuple[object, ...]]:
        # On its way to a worker a slice would drag the whole plan along: take copies its rows.
        rows = pa.array(np.arange(self.images.num_rows))
        own = self.images.take(rows).combine_chunks()
        return Shard, (self.part, own, self.generation, self.is_new)


def shard_size(images: int) -> int:
    """How many images make a shard, but for the last ones, given how many there are in all.

    A power of two from 32 on. Shards grow to 64 images as long as there are over 8 of them, for few
    images have many workers too; to 256 as long as there are over 32, of which none is left alone
    at the end for long; beyond 700,000 images further, so that there are never over `MOST_SHARDS`.
    """
    few = _power_of_two(images / 16, SMALLEST, at_most=64)
    at_least = _power_of_two(images / 64, few, at_most=256)
    return _power_of_two(images * TAIL_SHARD_FACTOR / (MOST_SHARDS - 2), at_least)


def _power_of_two(least: float, at_least: int, at_most: int = 2**31) -> int:
    return min(at_most, max(at_least, 1 << max(0, int(np.ceil(least)) - 1).bit_length()))


def make_plan(
    catalog: pa.Table, previous: pa.Table | None = None, first_new_part: int = 0
) -> pa.Table:
    """Table of `schemas.PLAN`, sorted by part, then path.

    Images of the previous plan keep their part, with what the catalog now says of them; those
    that the catalog lacks are kept. New ones go into new parts: a function of the sorted catalog
    and the previous plan alone.
    """
    # The two usual cases, without the copies that ten million rows would cost.
    if previous is None or not previous.num_rows:
        return _in_parts(catalog, first_new_part)
    if previous.drop_columns(["part"]).equals(catalog):
        return previous
    at = pc.index_in(catalog["path"], value_set=previous["path"]).combine_chunks()
    kept = _update(previous, catalog, at)
    new = catalog.filter(pc.is_null(at))
    first = max(first_new_part, pc.max(previous["part"]).as_py() + 1)
    return pa.concat_tables([kept, _in_parts(new, first)])


def _in_parts(catalog: pa.Table, first: int) -> pa.Table:
    parts = first + part_numbers(catalog.num_rows)
    return catalog.append_column(schemas.PLAN.field("part"), pa.array(parts))


def present(plan: pa.Table, catalog: pa.Table) -> pa.Table:
    """The plan without the images that the catalog lacks."""
    if plan["path"].equals(catalog["path"]):
        return plan
    return plan.filter(pc.is_in(plan["path"], value_set=catalog["path"]))


def _update(previous: pa.Table, catalog: pa.Table, at: pa.Array) -> pa.Table:
    """`previous` with the catalog's rows in place of its own; at: where each belongs, or null."""
    source = np.full(previous.num_rows, -1, np.int64)
    known = pc.is_valid(at).to_numpy(zero_copy_only=False)
    source[pc.drop_null(at).to_numpy()] = np.flatnonzero(known)
    either = pa.concat_tables([previous.drop_columns(["part"]), catalog])
    take = np.where(source >= 0, source + previous.num_rows, np.arange(previous.num_rows))
    return either.take(pa.array(take)).append_column(schemas.PLAN.field("part"), previous["part"])


def part_numbers(images: int) -> npt.NDArray[np.int32]:
    """int32[images]: the part of each image of a sorted catalog, counted from 0."""
    size = shard_size(images)
    smaller = max(SMALLEST, size // TAIL_DIVISOR)
    last = int(images * TAIL_SHARE) if smaller < size else 0
    parts = _even_parts(images - last, size)
    return np.append(parts, _even_parts(last, smaller) + parts[-1:].max(initial=-1) + 1)


def _even_parts(rows: int, size: int) -> npt.NDArray[np.int32]:
    """int32[rows]: the part of each row, counted from 0; parts differ by a row at most."""
    parts = -(-rows // size)
    return (np.arange(rows, dtype=np.int64) * parts // max(rows, 1)).astype(np.int32)


def shards(plan: pa.Table) -> Iterator[Shard]:
    """The plan's shards, by part number; their images are slices of it, not copies."""
    parts = plan["part"].to_numpy()
    edges = np.flatnonzero(np.diff(parts, prepend=-1, append=-1))
    images = plan.drop_columns(["part"])
    for start, end in pairwise(edges):
        own = images.slice(start, end - start)
        digest = hashlib.sha256("\n".join(_row_texts(own).to_pylist()).encode())
        yield Shard(int(parts[start]), own, digest.hexdigest())


def bundles(
    items: Iterable[Item], images: Callable[[Item], int], workers: int, smaller: int = 1
) -> Iterator[list[Item]]:
    """Shards, or parts, in their order, as bundles for one task each; images: of one of them.

    Towards the end they get smaller, so that no worker is left alone with many. smaller: by this
    all sizes are divided.
    """
    left = deque(items)
    images_left = sum(map(images, left))
    while left:
        most = min(BUNDLE, images_left // workers) // smaller
        bundle = [left.popleft()]
        size = images(bundle[0])
        while left and size + images(left[0]) <= most:
            bundle.append(left.popleft())
            size += images(bundle[-1])
        images_left -= size
        yield bundle


def _row_texts(images: pa.Table) -> pa.ChunkedArray:
    """string[n]: all that the plan says of an image; NUL is in no path."""
    texts = [images[name].cast(pa.string()) for name in images.column_names]
    return pc.binary_join_element_wise(*texts, "\0", null_handling="replace", null_replacement="\0")


def label_count(images: pa.Table) -> int:
    """How many different labels a catalog or a plan has."""
    return int(pc.count_distinct(images["label"]).as_py())
