"""What a worker does with some parts of a store to reduce its features, and the files of it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pomona.engines.workers import release_memory
from pomona.pca.moments import Moments, measure, merge
from pomona.pca.projection import Projection
from pomona.store import schemas
from pomona.store.folders.base import Folder
from pomona.store.store import (
    CSV_TABLES,
    PREFIXES,
    PROJECTION,
    Store,
    matrix,
    part_name,
    provenance,
    spread,
)

MOMENTS = "_pomona/moments"
MODEL_INFO = "model_info/model_info.json"
VARIANCE = "model_info/variance.csv"
GROUPS = 64
# Moments take 8 bytes × width² and time to be written and merged: so many rows are worth it, and
# half of them are multiplied at once as fast as more.
ROWS, BLOCK_ROWS = 2048, 1024


# The tasks: what a worker does with some parts of a store


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


def refit_reason(
    kept: Projection | None,
    rows: int,
    requested: tuple[str, float] | None,
    *,
    keep: bool = False,
) -> str | None:
    """Why a store of so many features needs another projection than `kept`; None: it does not.

    requested: the components or the variance asked for now; keep: whether growth is no reason.
    """
    if kept is None:
        return "there is none"
    if requested is not None and requested != kept.requested:
        (name, amount), (name_before, before) = requested, kept.requested
        return f"{name} {amount:g} asked, {name_before} {before:g} before"
    if kept.n * 2 < rows and not keep:
        return f"{rows:,} images now, {kept.n:,} when it was fitted"
    return None


def save(store: Store, projection: Projection | None) -> None:
    """Makes this the store's projection. What another made goes first: two never mix in pca/."""
    for name in ("pca", "csv/pca", "model_info"):
        store.files.delete(name)
    if projection is not None:
        store.files.write(PROJECTION, projection.to_bytes())


def describe(store: Store, projection: Projection) -> None:
    """Writes what model_info/ says of the projection beside it, where that is not there yet."""
    if store.files.exists(MODEL_INFO):
        return
    explained = projection.explained[: projection.k]
    variance = pa.table(
        {
            "component": np.arange(1, projection.k + 1),
            "variance_explained": explained,
            "cumulative_variance": np.cumsum(explained),
        }
    )
    store.write_csv(VARIANCE, variance)
    info = {"recipe": store.recipe.to_dict(), "pca": projection.summary()}
    store.write_json(MODEL_INFO, info)


@dataclass(frozen=True)
class ProjectTask:
    """What `project` needs beside parts: where, onto what, and whether CSV is wanted."""

    files: Folder
    projection: Projection | None
    csv: bool


def is_projected(store: Store, part: int, work: ProjectTask) -> bool:
    """Whether pca/ and csv/ hold what `project` would write."""
    csv = (part_name(f"csv/{table}", part, "csv") for table in _csv_tables(work))
    if not all(map(store.files.exists, csv)):
        return False
    if work.projection is None:
        return True
    done = store.footer(part_name("pca", part)) or {}
    made_by, features = done.get("projection"), part_name("features", part)
    return made_by == work.projection.id and provenance(done) == provenance(store.footer(features))


def _csv_tables(work: ProjectTask) -> list[str]:
    """What is written as CSV too."""
    has_pca = work.projection is not None
    return [table for table in CSV_TABLES if work.csv and (has_pca or table != "pca")]


def project(parts: Sequence[int], work: ProjectTask, attempt: int = 1) -> None:
    """Writes pca/ of parts, after their CSV files if they are wanted."""
    store = Store(work.files)
    store.map_concurrent(lambda part: _project_part(store, part, work), parts)


def _project_part(store: Store, part: int, work: ProjectTask) -> None:
    projection, csv = work.projection, _csv_tables(work)
    needed = [table for table in csv if table != "pca"] + ["features"] * (projection is not None)
    read = store.map_concurrent(
        lambda table: store.read_with_footer(part_name(table, part)), needed
    )
    tables = {name: table for name, (table, _) in zip(needed, read, strict=True)}
    if projection is not None:
        tables["pca"] = _project(tables["features"], projection)

    def write_csv(name: str) -> None:
        table = tables[name]
        rows = spread(table, name, PREFIXES[name]) if name == "pca" else table
        store.write_csv(part_name(f"csv/{name}", part, "csv"), rows)

    store.map_concurrent(write_csv, csv)
    if projection is not None:
        footer = {**provenance(read[-1][1]), "projection": projection.id}
        store.write_table(part_name("pca", part), tables["pca"], footer)


def _project(features: pa.Table, projection: Projection) -> pa.Table:
    """Table of `schemas.pca` of one of `schemas.features`."""
    projected = pa.FixedSizeListArray.from_arrays(
        projection.apply(matrix(features, "features")).ravel(), projection.k
    )
    table = features.select(["path", "label", "split"]).append_column("pca", projected)
    return table.cast(schemas.pca(projection.k))
