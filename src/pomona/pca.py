"""PCA: moments of parts, merged, solved, applied.

The moments of a set of rows are their number n, their mean and their scatter, the sum of
(x − mean)(x − mean)ᵀ. Those of a union follow from those of its parts (Chan, Golub & LeVeque,
"Updating formulae and a pairwise algorithm for computing sample variances", 1979), so that any
number of workers can measure their own rows and the driver needs only what they found.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from threadpoolctl import threadpool_limits

from pomona import schemas
from pomona.projection import Projection
from pomona.storage import Folder
from pomona.store import (
    CSV_TABLES,
    PREFIXES,
    PROJECTION,
    Store,
    matrix,
    origin,
    part_name,
    spread,
)
from pomona.workers import release_memory

MOMENTS = "_pomona/moments"
MODEL_INFO = "model_info/model_info.json"
VARIANCE = "model_info/variance.csv"
GROUPS = 64
# Moments take 8 bytes × width² and time to be written and merged: so many rows are worth it, and
# half of them are multiplied at once as fast as more.
ROWS, BLOCK_ROWS = 2048, 1024


@dataclass(frozen=True)
class Moments:
    """n rows of width D: their mean float64[D], and their scatter or what it is made of.

    rows_or_scatter: float64[D, D], the scatter; of few rows float64[n, D], these less their mean,
    which are smaller and solved sooner.
    """

    n: int
    mean: npt.NDArray[np.float64]
    rows_or_scatter: npt.NDArray[np.float64]

    @property
    def has_rows(self) -> bool:
        """Whether `rows_or_scatter` is the rows."""
        return len(self.rows_or_scatter) < len(self.mean)

    @property
    def scatter(self) -> npt.NDArray[np.float64]:
        """float64[D, D]: the sum of (x − mean)(x − mean)ᵀ."""
        return _squared(self.rows_or_scatter) if self.has_rows else self.rows_or_scatter

    def to_bytes(self) -> bytes:
        """The moments as an .npz file."""
        buffer = io.BytesIO()
        np.savez(buffer, n=np.int64(self.n), mean=self.mean, rows_or_scatter=self.rows_or_scatter)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Moments:
        """Inverse of `to_bytes`."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return cls(int(arrays["n"]), arrays["mean"], arrays["rows_or_scatter"])


def measure(features: npt.NDArray[np.floating[Any]]) -> Moments:
    """The moments of float32[n, D] (or float64), in float64."""
    rows = features.astype(np.float64)
    mean = rows.mean(axis=0) if len(rows) else np.zeros(rows.shape[1])
    rows -= mean
    # Up to half as many rows as columns, their singular values take less time than the scatter's
    # eigenvalues: of 300 rows of 1,280 numbers an eighth.
    are_few = 2 * len(rows) <= rows.shape[1]
    return Moments(len(rows), mean, rows if are_few else _squared(rows))


def _squared(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """rowsᵀ·rows by one thread, for the same bits everywhere."""
    with threadpool_limits(1, "blas"):
        squares: npt.NDArray[np.float64] = rows.T @ rows
        return squares


def merge(a: Moments, b: Moments) -> Moments:
    """The moments of the union of two disjoint sets of rows."""
    n = a.n + b.n
    if a.n == 0 or b.n == 0:
        return b if a.n == 0 else a
    difference = b.mean - a.mean
    scatter = np.outer(difference, difference * (a.n * b.n / n))
    scatter += a.scatter
    scatter += b.scatter
    return Moments(n, a.mean + difference * (b.n / n), scatter)


def solve(moments: Moments, requested: tuple[str, float]) -> Projection:
    """The principal components of rows with these moments.

    requested: ("components", k), or ("variance", share) for the fewest that explain this share;
    in either case no more than min(n − 1, D). The largest entry of each component is positive.
    Raises ValueError for fewer than 2 rows.
    """
    if moments.n < 2:
        raise ValueError(f"PCA needs at least 2 rows, not {moments.n}")
    rank = min(moments.n - 1, len(moments.mean))
    variances, vectors = (found[:rank] for found in _eigen(moments))
    name, amount = requested
    k = int(amount)
    if name == "variance":
        cumulative = np.cumsum(variances)
        share = cumulative / cumulative[-1] if cumulative[-1] > 0 else np.ones(rank)
        k = int(np.searchsorted(share, amount)) + 1
    kept = vectors[: min(k, rank)]
    largest = kept[np.arange(len(kept)), np.abs(kept).argmax(axis=1)]
    signed = kept * np.sign(largest)[:, None]
    return Projection(moments.mean, signed, variances, moments.n, requested)


def _eigen(moments: Moments) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The covariance's eigenvalues float64[r], falling, and eigenvectors float64[r, D]."""
    with threadpool_limits(1, "blas"):
        if moments.has_rows:
            _, singular, vectors = np.linalg.svd(moments.rows_or_scatter, full_matrices=False)
            return singular**2 / (moments.n - 1), vectors
        eigenvalues, columns = np.linalg.eigh(moments.scatter / (moments.n - 1))
    return np.clip(eigenvalues[::-1], 0, None), columns.T[::-1]


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
    tables = store.in_turn(lambda name: store.read_table(name, ["features"]), names)
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
    each = (Moments.from_bytes(data) for data in store.in_turn(store.files.read, names))
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
class Projecting:
    """What `project` needs beside parts: where, onto what, and whether CSV is wanted."""

    files: Folder
    projection: Projection | None
    csv: bool


def is_projected(store: Store, part: int, work: Projecting) -> bool:
    """Whether pca/ and csv/ hold what `project` would write."""
    csv = (part_name(f"csv/{table}", part, "csv") for table in _csv_tables(work))
    if not all(map(store.files.exists, csv)):
        return False
    if work.projection is None:
        return True
    done = store.footer(part_name("pca", part)) or {}
    made_by, features = done.get("projection"), part_name("features", part)
    return made_by == work.projection.id and origin(done) == origin(store.footer(features))


def _csv_tables(work: Projecting) -> list[str]:
    """What is written as CSV too."""
    has_pca = work.projection is not None
    return [table for table in CSV_TABLES if work.csv and (has_pca or table != "pca")]


def project(parts: Sequence[int], work: Projecting, attempt: int = 1) -> None:
    """Writes pca/ of parts, after their CSV files if they are wanted."""
    store = Store(work.files)
    store.each(lambda part: _project_part(store, part, work), parts)


def _project_part(store: Store, part: int, work: Projecting) -> None:
    projection, csv = work.projection, _csv_tables(work)
    needed = [table for table in csv if table != "pca"] + ["features"] * (projection is not None)
    read = store.each(lambda table: store.read_with_footer(part_name(table, part)), needed)
    tables = {name: table for name, (table, _) in zip(needed, read, strict=True)}
    if projection is not None:
        tables["pca"] = _project(tables["features"], projection)

    def write_csv(name: str) -> None:
        table = tables[name]
        rows = spread(table, name, PREFIXES[name]) if name == "pca" else table
        store.write_csv(part_name(f"csv/{name}", part, "csv"), rows)

    store.each(write_csv, csv)
    if projection is not None:
        footer = {**origin(read[-1][1]), "projection": projection.id}
        store.write_table(part_name("pca", part), tables["pca"], footer)


def _project(features: pa.Table, projection: Projection) -> pa.Table:
    """Table of `schemas.pca` of one of `schemas.features`."""
    projected = pa.FixedSizeListArray.from_arrays(
        projection.apply(matrix(features, "features")).ravel(), projection.k
    )
    table = features.select(["path", "label", "split"]).append_column("pca", projected)
    return table.cast(schemas.pca(projection.k))
