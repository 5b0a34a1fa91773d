"""Error rows: finding them, and removing them so that their images are tried again."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from pomona.store import schemas
from pomona.store.layout import part_name, provenance
from pomona.store.store import Store


def find_errors(store: Store, plan: pa.Table, catalog: pa.Table, which: str) -> set[str]:
    """Finds the images that have an error row.

    Parameters
    ----------
    store, plan
        The store and its plan.
    catalog : pyarrow.Table
        The images that count.
    which : {"retryable", "all"}
        Which error rows count.

    Returns
    -------
    set of str
        The images' paths.
    """
    tables = [schemas.ERRORS.empty_table()]
    for part, rows in store.rows_by_part("errors", plan).items():
        if rows:
            tables.append(store.read_table(part_name("errors", part)))
    errors = pa.concat_tables(tables)
    if which != "all":
        errors = errors.filter(pc.field("retryable"))
    return set(catalog["path"].filter(pc.is_in(catalog["path"], errors["path"])).to_pylist())


def drop_errors(store: Store, plan: pa.Table, paths: set[str]) -> None:
    """Removes the rows of these paths from errors/.

    A part that lacks a row is not done, so `extract` reads these images again: in this run or,
    if it is stopped, in the next.
    """
    for part, rows in store.rows_by_part("errors", plan).items():
        name = part_name("errors", part)
        table = store.read_table(name) if rows else schemas.ERRORS.empty_table()
        stays = [path not in paths for path in table["path"].to_pylist()]
        kept = table.filter(pa.array(stays, pa.bool_()))
        if kept.num_rows < table.num_rows:
            store.write_table(name, kept, provenance(store.footer(name)))
