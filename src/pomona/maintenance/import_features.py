"""Import: features that were computed elsewhere become a store."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pomona.errors import SourceError, StoreError
from pomona.extraction.parts import is_extracted, write_part
from pomona.images.scan import folder_label
from pomona.maintenance import feature_tables
from pomona.pipeline.context import RunSettings, open_run
from pomona.pipeline.finish import Summary, finish
from pomona.progress import Progress
from pomona.store import schemas
from pomona.store.layout import PLAN
from pomona.store.plan import make_plan, shards
from pomona.store.recipe import Recipe
from pomona.store.store import Store
from pomona.store.tables import matrix

BACKBONE = "imported"


def import_features(
    file: Path, out: str | Path, settings: RunSettings, features: str | None = None
) -> Summary:
    """Makes a store from a Parquet table of features, which is held in memory as a whole.

    Parameters
    ----------
    file : Path
        A Parquet file or folder with the columns path and, optionally, label and split (else the
        folders' names), and one column of lists of floats, Spark's vectors or Arrow's tensors.
    out : str or Path
        The store.
    settings : RunSettings
        How the command runs.
    features : str, optional
        The column of features. None: the only one that can be, or the one of this name.

    Raises
    ------
    SourceError
        If the table cannot be used.
    StoreError
        If `out` holds something else.
    """
    table = _read(file, features, settings.progress)
    numbers = matrix(table, "features")
    recipe = _recipe(table, numbers)
    source, store = os.path.abspath(file), Store(out, settings.access)
    if not store.is_new() and store.recipe != recipe:
        raise StoreError(f"{out} holds other features: choose another folder")
    plan = make_plan(_catalog(table))
    with open_run(store, settings) as context:
        store = context.store
        if store.is_new():
            store.begin(source, recipe)
        if not plan.equals(store.plan()):
            store.write_table(PLAN, plan)
        at = 0
        for shard in shards(plan):
            rows = shard.images.num_rows
            if not is_extracted(store, shard, recipe):
                context.has_changes = True
                images = shard.images.to_pylist()
                write_part(store, shard, recipe, images, {}, numbers[at : at + rows])
            at += rows
        return finish(context, source, recipe, plan)


def _recipe(table: pa.Table, numbers: Any) -> Recipe:
    """The recipe of imported features, whose digest stands for the network."""
    digest = hashlib.sha256()
    for path in table["path"].to_pylist():
        digest.update(path.encode() + b"\0")
    digest.update(np.ascontiguousarray(numbers).data)
    return Recipe(
        backbone=BACKBONE,
        weights_sha256=None,
        model_sha256=digest.hexdigest(),
        input_size=None,
        width=numbers.shape[1],
        fit=BACKBONE,
        decode_scaling=None,
        shrink=None,
        enlarge=None,
        runtime=None,
        precision=None,
    )


def _read(file: Path, features: str | None, progress: Progress) -> pa.Table:
    """Reads path, label, split and features as fixed_size_list<float32>, sorted by path."""
    if not file.exists():
        raise SourceError(f"{file} does not exist: check the path")
    try:
        table = pq.read_table(file)
        named = feature_tables.find_path(table.schema)
        column = feature_tables.find_features(table.schema, features)
        rows = feature_tables.read_rows(table[column])
        own = {
            name: _as_text(table[name]) for name in ("label", "split") if name in table.column_names
        }
        paths = table[named].cast(pa.string())
    except SourceError as exc:
        raise SourceError(f"{file} has {exc}") from exc
    except (pa.ArrowException, OSError) as exc:
        reason = str(exc).splitlines()[0]
        raise SourceError(f"{file} is not a Parquet table that can be used: {reason}") from exc
    if paths.null_count or pc.count_distinct(paths).as_py() != len(paths):
        raise SourceError(f"{file} names a path twice, or none: each row needs its own")
    if (named, column) != ("path", "features"):
        progress.note(f"paths are from the column {named}, features from {column}")
    folders = [folder_label(path.rpartition("/")[0]) for path in paths.to_pylist()]
    labels, splits = (pa.array(column, pa.string()) for column in zip(*folders, strict=True))
    columns = [paths, own.get("label", labels), own.get("split", splits)]
    identity = pa.table(columns, schema=pa.schema(schemas.IDENTITY))
    flat = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
    return identity.append_column("features", flat).sort_by("path")


def _as_text(column: Any) -> Any:
    """A column as text; whole numbers that pandas made floats of, for rows without, as such."""
    if pa.types.is_floating(column.type) and pc.all(pc.equal(column, pc.round(column))).as_py():
        column = column.cast(pa.int64())
    return column.cast(pa.string())


def _catalog(table: pa.Table) -> pa.Table:
    """The catalog of imported rows: the fingerprint is the digest of the features; no size."""
    prints = [hashlib.sha256(row).hexdigest()[:16] for row in matrix(table, "features")]
    identity = table.select(["path", "label", "split"])
    sizes = pa.nulls(table.num_rows, pa.int64())
    return pa.table([*identity.columns, sizes, pa.array(prints)], schema=schemas.CATALOG)
