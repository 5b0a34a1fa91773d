"""The moments of groups of parts, measured by tasks and merged on the driver."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pomona.engines.workers import release_memory
from pomona.pca.moments import Moments, measure, merge
from pomona.store.folders.base import Folder
from pomona.store.layout import part_name
from pomona.store.store import Store
from pomona.store.tables import matrix

MOMENTS = "_pomona/moments"
GROUPS = 64
# Moments take 8 bytes × width² and time to be written and merged: so many rows are worth it, and
# half of them are multiplied at once as fast as more.
ROWS, BLOCK_ROWS = 2048, 1024


@dataclass(frozen=True)
class Group:
    """Parts that one task measures together; rows: how many features they hold."""

    number: int
    parts: tuple[int, ...]
    rows: int


def groups(rows: Mapping[int, int]) -> list[Group]:
    """The parts (rows: of each) in groups of `ROWS` or more, about `GROUPS` of them at most."""
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
    """Writes the moments of a group's features into the store; returns of how many rows."""
    store = Store(files)
    names = [part_name("features", part) for part in group.parts]
    tables = store.map_prefetched(lambda name: store.read_table(name, ["features"]), names)
    total = functools.reduce(merge, map(measure, _blocks(tables)))
    store.files.write(_moments_name(group.number), total.to_bytes())
    release_memory()  # matrices of many sizes leave holes
    return total.n


def _blocks(tables: Iterable[pa.Table]) -> Iterator[npt.NDArray[np.float32]]:
    """float32[n, D]: the tables' features, `BLOCK_ROWS` or more at a time but for the last."""
    block: list[npt.NDArray[np.float32]] = []
    for table in tables:
        block.append(matrix(table, "features"))
        if sum(map(len, block)) >= BLOCK_ROWS:
            rows, block = np.concatenate(block), []
            yield rows
    if block:
        yield np.concatenate(block)


def merge_groups(store: Store, found: list[Group]) -> Moments:
    """The moments of all groups, merged by their numbers, a few in memory at once; then removed."""
    names = [_moments_name(group.number) for group in found]
    each = (Moments.from_bytes(data) for data in store.map_prefetched(store.files.read, names))
    total = functools.reduce(merge, each)
    store.files.delete(MOMENTS)
    return total
