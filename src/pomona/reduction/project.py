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
    """The payload of `project`.

    Attributes
    ----------
    files : Folder
        Where the store's files are read and written.
    projection : Projection, optional
        The projection to apply; None: CSV files alone.
    csv : bool
        Whether to write CSV files.
    """

    files: Folder
    projection: Projection | None
    csv: bool


def is_projected(store: Store, part: int, payload: ProjectTask) -> bool:
    """Whether pca/ and csv/ already hold the rows that `project` would write."""
    csv = (part_name(f"csv/{table}", part, "csv") for table in _csv_tables(payload))
    if not all(map(store.files.exists, csv)):
        return False
    if payload.projection is None:
        return True
    done = store.footer(part_name("pca", part)) or {}
    made_by, features = done.get("projection"), part_name("features", part)
    return made_by == payload.projection.id and provenance(done) == provenance(
        store.footer(features)
    )


def _csv_tables(payload: ProjectTask) -> list[str]:
    """The tables to write as CSV."""
    has_pca = payload.projection is not None
    return [table for table in CSV_TABLES if payload.csv and (has_pca or table != "pca")]


def project(parts: Sequence[int], payload: ProjectTask, attempt: int = 1) -> None:
    """Writes the CSV files of some parts, if wanted, and then their files in pca/."""
    store = Store(payload.files)
    store.map_concurrent(lambda part: _project_part(store, part, payload), parts)


def _project_part(store: Store, part: int, payload: ProjectTask) -> None:
    projection, csv = payload.projection, _csv_tables(payload)
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
    """Projects a table of `schemas.features` to one of `schemas.pca`."""
    projected = pa.FixedSizeListArray.from_arrays(
        projection.apply(matrix(features, "features")).ravel(), projection.k
    )
    table = features.select(["path", "label", "split"]).append_column("pca", projected)
    return table.cast(schemas.pca(projection.k))
