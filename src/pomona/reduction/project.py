"""Features become rows of pca/ and of CSV files, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from pomona.pca.projection import Projection
from pomona.store import schemas
from pomona.store.folders.base import Folder
from pomona.store.layout import CSV_TABLES, part_name, provenance
from pomona.store.store import Store
from pomona.store.tables import PREFIXES, matrix, spread


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
