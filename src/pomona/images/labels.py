"""Labels: those of a CSV file in place of the folders' names."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from pomona.errors import SourceError
from pomona.progress import count


def apply_labels(catalog: pa.Table, file: Path) -> tuple[pa.Table, list[str]]:
    """Gives a catalog the labels, and the splits if there are any, of a CSV file.

    Parameters
    ----------
    catalog : pyarrow.Table
        Of schema `schemas.CATALOG`.
    file : Path
        A CSV in UTF-8 with the columns path, label and, optionally, split. Other columns are
        ignored.

    Returns
    -------
    catalog : pyarrow.Table
        Images that the file does not name have no label and, if it has splits, no split.
    warnings : list of str
        One for each kind of mismatch between catalog and file.

    Raises
    ------
    SourceError
        If the file cannot be read, is no such CSV, or names none of the images.
    """
    given = _read(file)
    if pc.count_distinct(given["path"], mode="all").as_py() != given.num_rows:
        raise SourceError(f"{file} names a path twice: keep one line for each path")
    position = pc.index_in(catalog["path"], value_set=given["path"])
    named = {
        name: given[name].take(position)
        for name in ("label", "split")
        if name in given.column_names
    }
    for name, column in named.items():
        index = catalog.schema.get_field_index(name)
        catalog = catalog.set_column(index, catalog.schema.field(name), column.cast(pa.string()))
    warnings = []
    unnamed = position.null_count
    if unnamed == catalog.num_rows:
        raise SourceError(
            f"{file} names none of the images: its paths must be relative to the source, such as "
            f"{catalog['path'][0].as_py()!r}"
        )
    if unnamed:
        warnings.append(f"{count(unnamed, 'image')} without a label: not in {file.name}")
    unknown = given.num_rows - (catalog.num_rows - unnamed)
    if unknown:
        warnings.append(f"{count(unknown, 'path')} of {file.name} not among the images")
    return catalog, warnings


def _read(file: Path) -> pa.Table:
    """The CSV's table: path, label and split are strings as they stand; an empty one is null."""
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(["path", "label", "split"], pa.string()),
        strings_can_be_null=True,
        null_values=[""],
    )
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    try:
        lines = pa.BufferReader(file.read_bytes())
        # Arrow's reading threads can outlive an error, and abort the process when it exits.
        read = pyarrow.csv.ReadOptions(use_threads=False)
        table = pyarrow.csv.read_csv(
            lines, read_options=read, parse_options=parse, convert_options=convert
        )
        names = table.column_names
    except FileNotFoundError as exc:
        raise SourceError(f"{file} does not exist: check `labels`") from exc
    except ValueError as exc:  # Arrow's, or that of a header that is not UTF-8
        reason = str(exc).splitlines()[0]
        raise SourceError(
            f"cannot read the labels in {file}: {reason}; it must be a CSV in UTF-8"
        ) from exc
    except OSError as exc:
        reason = f"cannot read the labels in {file}: {exc.strerror}; check `labels`"
        raise SourceError(reason) from exc
    missing = {"path", "label"} - set(names)
    if missing:
        raise SourceError(
            f"{file} has no column {' and no column '.join(sorted(missing))}: "
            "its first line must name path,label or path,label,split"
        )
    if len(set(names)) != len(names):
        raise SourceError(f"{file} names a column twice: keep one of them")
    return table
