"""Labels from a CSV file instead of the folders' names."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from pomona.errors import SourceError


def apply_labels(catalog: pa.Table, file: Path) -> tuple[pa.Table, list[str]]:
    """The catalog with the labels (and splits) of a CSV with columns path, label[, split].

    Images that the file does not name get no label and, where it has splits, no split.
    Returns the catalog and one warning for each kind of mismatch. Raises SourceError.
    """
    given = _read(file)
    if pc.count_distinct(given["path"], mode="all").as_py() != given.num_rows:
        raise SourceError(f"{file} names a path twice: keep one line for each")
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
            f"{file} names none of the images: its paths must be relative to the source, as "
            f"{catalog['path'][0].as_py()!r}"
        )
    if unnamed:
        warnings.append(f"{unnamed:,} images are not in {file.name}: they have no label")
    unknown = given.num_rows - (catalog.num_rows - unnamed)
    if unknown:
        warnings.append(f"{unknown:,} paths of {file.name} are not among the images")
    return catalog, warnings


def _read(file: Path) -> pa.Table:
    """The CSV's table: path, label and split are texts, as they are; one that is empty is null."""
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(["path", "label", "split"], pa.string()),
        strings_can_be_null=True,
        null_values=[""],
    )
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    try:
        lines = pa.BufferReader(file.read_bytes())
        table = pyarrow.csv.read_csv(lines, parse_options=parse, convert_options=convert)
        names = table.column_names
    except FileNotFoundError as exc:
        raise SourceError(f"{file} does not exist: check --labels") from exc
    except ValueError as exc:  # Arrow's own, or that of a header that is no UTF-8
        reason = str(exc).splitlines()[0]
        raise SourceError(
            f"cannot read the labels in {file}: {reason}; a CSV in UTF-8 is wanted"
        ) from exc
    except OSError as exc:
        reason = f"cannot read the labels in {file}: {exc.strerror}; check --labels"
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
