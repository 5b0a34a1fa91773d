"""Plan: which images are in which part of the store.

A part is a number, and in each folder of tables the file of that number. A shard is a part before
it has files: the part's number with the images that the plan puts into it, for ever. Its generation
is the digest of all that the plan knows of them. A part's files are done when their footers carry
that generation.
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
MOST_SHARDS = 4096
# The most images of a bundle of shards, which is what one task takes where answers take long.
BUNDLE = 1024
# On a disk a task is so many times smaller: each result moves the progress bar.
LOCAL_TASK_DIVISOR = 4
# The last eighth of the images goes into shards of a quarter of the size, so that no worker waits
# long for another one at the end. That makes TAIL_SHARD_FACTOR times as many shards.
TAIL_SHARE, TAIL_DIVISOR = 1 / 8, 4
TAIL_SHARD_FACTOR = 1 + (TAIL_DIVISOR - 1) * TAIL_SHARE


@dataclass(frozen=True)
class Shard:
    """The images of a part, which are worked on and stored together.

    Parameters
    ----------
    part : int
        The part's number.
    images : pyarrow.Table
        Its images, of schema `schemas.CATALOG`, sorted by path.
    generation : str
        SHA-256 (hex) of all that the plan knows of these images.
    is_new : bool
        Whether the store is known to hold nothing of this part, so that nobody need look.
    """

    part: int
    images: pa.Table
    generation: str
    is_new: bool = False

    def __reduce__(self) -> tuple[type[Shard], tuple[object, ...]]:
        # Pickled, a slice would drag the whole plan along to a worker: take copies its rows.
        rows = pa.array(np.arange(self.images.num_rows))
        own = self.images.take(rows).combine_chunks()
        return Shard, (self.part, own, self.generation, self.is_new)


def shard_size(images: int) -> int:
    """Returns how many images make a shard, except for the last ones.

    It is a power of two from 32 on. Shards grow to 64 images as long as there are over 8 of them,
    since few images may have many workers too, and to 256 as long as there are over 32, so that
    none runs alone for long at the end. Beyond 700,000 images they grow further, so that there are
    never over `MOST_SHARDS`.

    Parameters
    ----------
    images : int
        How many images there are in all.
    """
    few = _power_of_two(images / 16, SMALLEST, at_most=64)
    at_least = _power_of_two(images / 64, few, at_most=256)
    return _power_of_two(images * TAIL_SHARD_FACTOR / (MOST_SHARDS - 2), at_least)


def _power_of_two(least: float, at_least: int, at_most: int = 2**31) -> int:
    """Returns the smallest power of two that is no less than `least`, within limits."""
    return min(at_most, max(at_least, 1 << max(0, int(np.ceil(least)) - 1).bit_length()))


def make_plan(
    catalog: pa.Table, previous: pa.Table | None = None, first_new_part: int = 0
) -> pa.Table:
    """Gives each image of a catalog a part.

    Images of the previous plan keep their part, with what the catalog now says of them. Those that
    the catalog lacks are kept. New ones go into new parts. The result depends on the arguments
    alone.

    Parameters
    ----------
    catalog : pyarrow.Table
        The images, of schema `schemas.CATALOG`, sorted by path.
    previous : pyarrow.Table, optional
        The plan of the store so far.
    first_new_part : int
        The least number for a new part.

    Returns
    -------
    pyarrow.Table
        The plan, of schema `schemas.PLAN`, sorted by part, then path.
    """
    # The two usual cases skip the copies that ten million rows would cost.
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
    """Returns the plan of images that are all new, with parts from `first` on."""
    parts = first + part_numbers(catalog.num_rows)
    return catalog.append_column(schemas.PLAN.field("part"), pa.array(parts))


def present(plan: pa.Table, catalog: pa.Table) -> pa.Table:
    """Returns the plan without the images that the catalog lacks.

    Parameters
    ----------
    plan : pyarrow.Table
        A plan, of schema `schemas.PLAN`.
    catalog : pyarrow.Table
        The images that there are, of schema `schemas.CATALOG`.
    """
    if plan["path"].equals(catalog["path"]):
        return plan
    return plan.filter(pc.is_in(plan["path"], value_set=catalog["path"]))


def _update(previous: pa.Table, catalog: pa.Table, at: pa.Array) -> pa.Table:
    """Returns `previous` with the catalog's rows in place; at: where each belongs, or null."""
    source = np.full(previous.num_rows, -1, np.int64)
    known = pc.is_valid(at).to_numpy(zero_copy_only=False)
    source[pc.drop_null(at).to_numpy()] = np.flatnonzero(known)
    either = pa.concat_tables([previous.drop_columns(["part"]), catalog])
    take = np.where(source >= 0, source + previous.num_rows, np.arange(previous.num_rows))
    return either.take(pa.array(take)).append_column(schemas.PLAN.field("part"), previous["part"])


def part_numbers(images: int) -> npt.NDArray[np.int32]:
    """Returns the part of each image of a sorted catalog.

    Parameters
    ----------
    images : int
        How many images the catalog has.

    Returns
    -------
    ndarray
        int32[images], counted from 0.
    """
    size = shard_size(images)
    smaller = max(SMALLEST, size // TAIL_DIVISOR)
    last = int(images * TAIL_SHARE) if smaller < size else 0
    parts = _even_parts(images - last, size)
    return np.append(parts, _even_parts(last, smaller) + parts[-1:].max(initial=-1) + 1)


def _even_parts(rows: int, size: int) -> npt.NDArray[np.int32]:
    """Returns int32[rows], the part of each row from 0 on; parts differ by a row at most."""
    parts = -(-rows // size)
    return (np.arange(rows, dtype=np.int64) * parts // max(rows, 1)).astype(np.int32)


def shards(plan: pa.Table) -> Iterator[Shard]:
    """Yields a plan's shards, by part number; their images are slices of the plan, not copies.

    Parameters
    ----------
    plan : pyarrow.Table
        A plan, of schema `schemas.PLAN`, sorted by part, then path.
    """
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
    """Yields shards in their order, bundled for one task each.

    Bundles get smaller towards the end, so that no worker is left alone with a large one.

    Parameters
    ----------
    items : iterable
        The shards, or anything else that has images.
    images : callable
        Returns how many images an item has.
    workers : int
        How many workers take bundles.
    smaller : int
        The divisor of all sizes.
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
    """Returns string[n]: all that the plan says of each image. No path holds a NUL."""
    texts = [images[name].cast(pa.string()) for name in images.column_names]
    return pc.binary_join_element_wise(*texts, "\0", null_handling="replace", null_replacement="\0")


def label_count(images: pa.Table) -> int:
    """Returns how many different labels images have.

    Parameters
    ----------
    images : pyarrow.Table
        A catalog or a plan.
    """
    return int(pc.count_distinct(images["label"]).as_py())
