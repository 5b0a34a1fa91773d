"""The moments of groups of parts, measured by tasks and merged on the driver."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pomona.memory import release_memory
from pomona.pca.moments import Moments, measure, merge
from pomona.store.folders.base import Folder
from pomona.store.layout import part_name
from pomona.store.store import Store
from pomona.store.tables import matrix

MOMENTS = "_pomona/moments"
GROUPS = 64
# Moments take 8 bytes × width², and time to write and merge: this pays from ROWS rows on.
# A block of half as many is multiplied as fast as a larger one.
ROWS, BLOCK_ROWS = 2048, 1024


@dataclass(frozen=True)
class Group:
    """Parts that one task measures together.

    Attributes
    ----------
    number : int
        The group's number.
    parts : tuple of int
        Its parts, in their order.
    rows : int
        How many rows of features they hold.
    """

    number: int
    parts: tuple[int, ...]
    rows: int


def groups(rows: Mapping[int, int]) -> list[Group]:
    """Puts parts into groups of `ROWS` rows or more, about `GROUPS` groups at most.

    Parameters
    ----------
    rows : mapping
        The rows of features of each part.
    """
    least = max(ROWS, -(-sum(rows.values()) // GROUPS))
    cut: list[list[int]] = []
    size = least
    for part in sorted(rows):
        if size >= least:
            cut.append([])
            size = 0
        cut[-1].append(part)
        size += rows[part]
    return [
        Group(number, tuple(parts), sum(rows[part] for part in parts))
        for number, parts in enumerate(cut)
    ]


def _moments_name(group: int) -> str:
    return f"{MOMENTS}/group-{group:05d}.npz"


def measure_group(group: Group, files: Folder, attempt: int = 1) -> int:
    """Writes the moments of a group's features into the store, and returns the number of rows."""
    store = Store(files)
    names = [part_name("features", part) for part in group.parts]
    tables = store.map_prefetched(lambda name: store.read_table(name, ["features"]), names)
    total = functools.reduce(merge, map(measure, _blocks(tables)))
    store.files.write(_moments_name(group.number), total.to_bytes())
    release_memory()  # matrices of many sizes fragment the memory
    return total.n


def _blocks(tables: Iterable[pa.Table]) -> Iterator[npt.NDArray[np.float32]]:
    """The tables' features, float32[n, D]: blocks of `BLOCK_ROWS` rows or more, then the rest."""
    block: list[npt.NDArray[np.float32]] = []
    for table in tables:
        block.append(matrix(table, "features"))
        if sum(map(len, block)) >= BLOCK_ROWS:
            rows, block = np.concatenate(block), []
            yield rows
    if block:
        yield np.concatenate(block)


def merge_groups(store: Store, groups: list[Group]) -> Moments:
    """Merges the moments of all groups in the order of their numbers, then removes their files.

    Only a few are in memory at a time.
    """
    names = [_moments_name(group.number) for group in groups]
    moments = (Moments.from_bytes(data) for data in store.map_prefetched(store.files.read, names))
    total = functools.reduce(merge, moments)
    store.files.delete(MOMENTS)
    return total
