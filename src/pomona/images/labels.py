"""Labels: those of a CSV file in place of the folders' names."""

from __future__ import annotations

from collections.abc import Sequence
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
    given = read_columns(file, ("path", "label"), ("split",))
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


def read_columns(
    file: Path, needed: Sequence[str], optional: Sequence[str] = (), *, setting: str = "labels"
) -> pa.Table:
    """Reads a CSV file that says something of images, one line for each path.

    Parameters
    ----------
    file : Path
        A CSV in UTF-8.
    needed, optional : sequence of str
        Its columns, "path" among them. Others are ignored.
    setting : str
        The setting that named the file.

    Returns
    -------
    pyarrow.Table
        These columns, as strings as they stand; an empty one is null.

    Raises
    ------
    SourceError
        If the file cannot be read, lacks a column, or names a path twice.
    """
    known = [*needed, *optional]
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(known, pa.string()), strings_can_be_null=True, null_values=[""]
    )
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    try:
        data = pa.BufferReader(file.read_bytes())
        # Arrow's reading threads can outlive an error, and abort the process when it exits.
        read = pyarrow.csv.ReadOptions(use_threads=False)
        table = pyarrow.csv.read_csv(
            data, read_options=read, parse_options=parse, convert_options=convert
        )
        names = table.column_names
    except FileNotFoundError as exc:
        raise SourceError(f"{file} does not exist: check `{setting}`") from exc
    except ValueError as exc:  # Arrow's, or that of a header that is not UTF-8
        reason = str(exc).splitlines()[0]
        raise SourceError(
            f"cannot read the {setting} in {file}: {reason}; it must be a CSV in UTF-8"
        ) from exc
    except OSError as exc:
        reason = f"cannot read the {setting} in {file}: {exc.strerror}; check `{setting}`"
        raise SourceError(reason) from exc
    missing = sorted(set(needed) - set(names))
    if missing:
        lines_of = [",".join(needed), *([",".join(known)] if optional else [])]
        raise SourceError(
            f"{file} has no column {' and no column '.join(missing)}: "
            f"its first line must name {' or '.join(lines_of)}"
        )
    if len(set(names)) != len(names):
        raise SourceError(f"{file} names a column twice: keep one of them")
    if pc.count_distinct(table["path"], mode="all").as_py() != table.num_rows:
        raise SourceError(f"{file} names a path twice: keep one line for each path")
    return table.select([name for name in known if name in names])
