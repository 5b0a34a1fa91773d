"""Import: features that were computed elsewhere become a store."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pomona.errors import SourceError, StoreError
from pomona.extraction.parts import is_extracted, write_part
from pomona.images.scan import folder_label
from pomona.pipeline.context import RunSettings, open_run
from pomona.pipeline.finish import Summary, finish
from pomona.store import schemas
from pomona.store.layout import PLAN
from pomona.store.plan import make_plan, shards
from pomona.store.recipe import Recipe
from pomona.store.store import Store
from pomona.store.tables import matrix

BACKBONE = "imported"


def import_features(file: Path, out: str | Path, settings: RunSettings) -> Summary:
    """Makes a store from a Parquet table of features, which is held in memory as a whole.

    Parameters
    ----------
    file : Path
        A Parquet file or folder with the columns path and, optionally, label and split (else the
        folders' names), and one column of lists of floats.
    out : str or Path
        The store.
    settings : RunSettings
        How the command runs.

    Raises
    ------
    SourceError
        If the table cannot be used.
    StoreError
        If `out` holds something else.
    """
    table = _read(file)
    digest = hashlib.sha256()
    for path in table["path"].to_pylist():
        digest.update(path.encode() + b"\0")
    numbers = matrix(table, "features")
    digest.update(np.ascontiguousarray(numbers).data)
    recipe = Recipe(
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


def _read(file: Path) -> pa.Table:
    """Reads path, label, split and features as fixed_size_list<float32>, sorted by path."""
    if not file.exists():
        raise SourceError(f"{file} does not exist: check the path")
    try:
        table = pq.read_table(file)
        lists = [field.name for field in table.schema if _is_numbers(field.type)]
        if "path" not in table.column_names or len(lists) != 1:
            raise SourceError(
                f"{file} must have a column path and one column of lists of floats; "
                f"it has {', '.join(f'{field.name} ({field.type})' for field in table.schema)}"
            )
        own = {
            name: table[name].cast(pa.string())
            for name in ("path", "label", "split")
            if name in table.column_names
        }
    except (pa.ArrowException, OSError) as exc:
        reason = str(exc).splitlines()[0]
        raise SourceError(f"{file} is not a Parquet table that can be used: {reason}") from exc
    paths = own["path"]
    if not len(paths):
        raise SourceError(f"{file} has no rows: give a table that has")
    if paths.null_count or pc.count_distinct(paths).as_py() != len(paths):
        raise SourceError(f"{file} names a path twice, or none: each row needs its own")
    folders = [folder_label(path.rpartition("/")[0]) for path in paths.to_pylist()]
    labels, splits = (pa.array(column, pa.string()) for column in zip(*folders, strict=True))
    columns = [paths, own.get("label", labels), own.get("split", splits)]
    identity = pa.table(columns, schema=pa.schema(schemas.IDENTITY))
    return identity.append_column("features", _numbers(file, table[lists[0]])).sort_by("path")


def _is_numbers(kind: pa.DataType) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in tests) and bool(pa.types.is_floating(kind.value_type))


def _numbers(file: Path, column: pa.ChunkedArray) -> pa.Array:
    widths = pc.unique(pc.list_value_length(column)).to_pylist()
    if len(widths) != 1 or not widths[0]:
        seen = ", ".join(str(width or "none") for width in widths[:5])
        raise SourceError(f"{file} has rows of different widths ({seen}): one is needed")
    flat = pa.chunked_array([chunk.flatten() for chunk in column.chunks]).cast(pa.float32())
    values = flat.combine_chunks()
    values = pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values
    if values.null_count or not np.isfinite(values.to_numpy()).all():
        raise SourceError(f"{file} has features that are not finite numbers: drop those rows")
    return pa.FixedSizeListArray.from_arrays(values, widths[0])


def _catalog(table: pa.Table) -> pa.Table:
    """The catalog of imported rows: the fingerprint is the digest of the features; no size."""
    prints = [hashlib.sha256(row).hexdigest()[:16] for row in matrix(table, "features")]
    identity = table.select(["path", "label", "split"])
    sizes = pa.nulls(table.num_rows, pa.int64())
    return pa.table([*identity.columns, sizes, pa.array(prints)], schema=schemas.CATALOG)
