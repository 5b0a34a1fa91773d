"""Parquet with a column of image files: Hugging Face's {bytes, path}, or any binary column."""

from __future__ import annotations

import json
import posixpath
import re
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pomona.errors import ImageError
from pomona.images.containers.blob import MAX_READ_BYTES, Blob, BlobFile, RangeFile
from pomona.images.containers.member import (
    DamagedError,
    Listing,
    Member,
    UnsuitableError,
    damaged,
    safe_name,
)
from pomona.images.fetch import MAX_BYTES

MAGIC = b"PAR1"
# Columns of image files and of their names, the likeliest first.
_IMAGES = ("image", "img", "content", "image_bytes", "jpg", "png", "bytes", "data")
_NAMES = ("path", "file_name", "filename", "file", "name")
_COLUMNS_SHOWN = 8
_DAMAGED = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError)


def list_members(blob: Blob) -> Listing:
    """Lists the images of a Parquet file: one in each row.

    Parameters
    ----------
    blob : Blob
        The file.

    Raises
    ------
    DamagedError
        If it cannot be read.
    UnsuitableError
        If no column of it holds image files.
    """
    try:
        with pq.ParquetFile(pa.PythonFile(BlobFile(blob), mode="r"), pre_buffer=False) as file:
            schema, metadata = file.schema_arrow, file.metadata
            images = _image_column(schema)
            leaf = _leaf(metadata, images)
            _refuse_paths_alone(metadata, leaf)
            names = _name_column(schema, images)
            columns = [names, *(one for one in ("label", "split") if one in schema.names)]
            label = _label_column(schema)
            columns += [label] if label not in columns else []
            wanted = [column for column in columns if column is not None]
            rows = file.read(columns=wanted, use_threads=False) if wanted else None
    except _DAMAGED as exc:
        raise DamagedError(f"it cannot be read ({str(exc).splitlines()[0][:200]})") from exc
    values = _names(rows, names, metadata.num_rows)
    labels = _labels(rows, schema, label)
    splits = _texts(rows, "split")
    listing, row = Listing(are_images=True, notes=_label_notes(schema, label, labels)), 0
    for group in range(metadata.num_row_groups):
        chunk, count = metadata.row_group(group).column(leaf), metadata.row_group(group).num_rows
        start = chunk.dictionary_page_offset or chunk.data_page_offset
        start = min(start, chunk.data_page_offset)
        for within in range(count):
            place = (start, chunk.total_compressed_size, group, within, leaf)
            size = chunk.total_uncompressed_size // max(1, count)
            at = row + within
            label_of = labels[at] if labels else None
            split_of = splits[at] if splits else None
            listing.members.append(Member(values[at], size, place, label_of, split_of))
        row += count
    return listing


def _image_column(schema: pa.Schema) -> str:
    """The path of the leaf that holds the files' bytes, such as image.bytes."""
    found = {}
    for field in schema:
        if pa.types.is_struct(field.type):
            at = field.type.get_field_index("bytes")
            if at >= 0 and _is_binary(field.type.field(at).type):
                found[field.name] = f"{field.name}.bytes"
        elif _is_binary(field.type):
            found[field.name] = field.name
    structs = [leaf for leaf in found.values() if leaf.endswith(".bytes")]
    for candidates in (structs, list(found.values())):
        if len(candidates) == 1:
            return candidates[0]
    for name in _IMAGES:
        if name in found:
            return found[name]
    if found:
        which = f"several could: {', '.join(found)}: name one of them image"
    elif lists := [field.name for field in schema if _is_list_of_files(field.type)]:
        which = f"{lists[0]} holds lists: write one image in each row"
    else:
        which = f"none is binary: {', '.join(schema.names[:_COLUMNS_SHOWN])}"
    raise UnsuitableError(f"no column of it is known to hold image files, {which}")


def _refuse_paths_alone(metadata: pq.FileMetaData, leaf: int) -> None:
    """Raises UnsuitableError if no row has bytes: datasets writes the paths of what it loaded."""
    groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
    told = [group.column(leaf).statistics for group in groups]
    nulls = [one.null_count for one in told if one is not None and one.has_null_count]
    if len(nulls) == len(groups) and metadata.num_rows and sum(nulls) == metadata.num_rows:
        raise UnsuitableError("its images are paths alone, without bytes: give their own folder")


def _is_list_of_files(kind: pa.DataType) -> bool:
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return False
    inner = kind.value_type
    return _is_binary(inner) or (pa.types.is_struct(inner) and inner.get_field_index("bytes") >= 0)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _leaf(metadata: pq.FileMetaData, path: str) -> int:
    """The number of a column among the leaves."""
    for at in range(metadata.num_columns):
        if metadata.schema.column(at).path == path:
            return at
    raise ValueError(f"no column {path}")


def _name_column(schema: pa.Schema, images: str) -> str | None:
    """The column of names: the path beside the bytes, else one of a usual name."""
    above = images.removesuffix(".bytes")
    if above != images and schema.field(above).type.get_field_index("path") >= 0:
        return f"{above}.path"
    return next(
        (n for n in _NAMES if n in schema.names and pa.types.is_string(schema.field(n).type)), None
    )


def _features(schema: pa.Schema) -> dict[str, Any]:
    """What Hugging Face's datasets say of the columns."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _label_column(schema: pa.Schema) -> str | None:
    """The column of labels: `label`, else the only one that is a ClassLabel."""
    if "label" in schema.names:
        return "label"
    features = _features(schema)
    classes = [name for name in schema.names if _class_names(features.get(name))]
    return classes[0] if len(classes) == 1 else None


def _label_notes(schema: pa.Schema, column: str | None, labels: list[str | None]) -> list[str]:
    """Why a column that may be meant as labels gives none."""
    several = [name for name, feature in _features(schema).items() if _class_names(feature)]
    if column is not None and not labels:
        why = f"the column {column} holds {schema.field(column).type}, not one label an image"
    elif column is None and len(several) > 1:
        why = f"no column is called label, and {', '.join(several)} may be"
    else:
        return []
    return [f"{why}: no label is taken from the table; `labels` takes them from a file"]


def _class_names(feature: object) -> list[str]:
    """The names of the classes of a ClassLabel; none for another feature."""
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return []
    names = feature.get("names")
    return [str(name) for name in names] if isinstance(names, list) else []


def _labels(rows: pa.Table | None, schema: pa.Schema, column: str | None) -> list[str | None]:
    """The label of each row: text, a number as text, or the name that the number stands for."""
    if rows is None or column is None:
        return []
    if not pa.types.is_integer(schema.field(column).type):
        return _texts(rows, column)
    names = _class_names(_features(schema).get(column))
    values: list[int | None] = rows[column].to_pylist()
    if not names:
        return [None if value is None else str(value) for value in values]
    return [
        names[value] if value is not None and 0 <= value < len(names) else None for value in values
    ]


def _texts(rows: pa.Table | None, column: str) -> list[str | None]:
    if rows is None or column not in rows.column_names:
        return []
    values = rows[column]
    if pa.types.is_dictionary(values.type):  # a category of pandas
        values = values.cast(values.type.value_type)
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return []
    return [value or None for value in values.to_pylist()]


def _names(rows: pa.Table | None, column: str | None, count: int) -> list[str]:
    """A name for each row: its own, with its number before it where the name is not the only one.

    The schemes and first slashes of addresses are left out.
    """
    own: list[str | None] = [None] * count
    if rows is not None and column is not None:
        above, _, below = column.partition(".")
        values = rows[above].to_pylist()
        own = [value and value.get("path") for value in values] if below else values
    cleaned = [_clean(value) for value in own]
    times = Counter(cleaned)
    names = []
    for row, name in enumerate(cleaned):
        if name is None:
            names.append(f"{row:08d}")
        elif times[name] > 1:
            folder, last = posixpath.split(name)
            names.append(posixpath.join(folder, f"{row:08d}-{last}"))
        else:
            names.append(name)
    return names


def _clean(name: str | None) -> str | None:
    if not name:
        return None
    return safe_name(re.sub(r"^[A-Za-z][\w+.-]*:(//[^/]*)?", "", name).lstrip("/"))


def read_metadata(blob: Blob) -> pq.FileMetaData:
    """Returns the footer of a Parquet file. Raises ImageError (stage "fetch") for a damaged one."""
    try:
        return pq.read_metadata(pa.PythonFile(BlobFile(blob), mode="r"))
    except _DAMAGED as exc:
        raise damaged("the footer of the Parquet file cannot be read") from exc


def read_group(data: bytes, place: tuple[int, ...], metadata: pq.FileMetaData, size: int) -> Any:
    """Returns the image files of a row group, as an Arrow array.

    Parameters
    ----------
    data : bytes
        What is at the place.
    place : tuple of int
        Of a `Member` of the row group.
    metadata : pyarrow.parquet.FileMetaData
        The footer.
    size : int
        How many bytes the file has.

    Raises
    ------
    ImageError
        Stage "fetch".
    """
    start, length, group, _, leaf = place
    try:
        chunk = metadata.row_group(group).column(leaf)
        if max(chunk.total_uncompressed_size, length) > MAX_READ_BYTES:
            rows = f"a row group of more than {MAX_READ_BYTES >> 20} MiB"
            raise ImageError("fetch", "too_large", f"{rows}: write it with smaller ones")
        if len(data) < length:
            raise damaged("the Parquet file ends within its row group")
        source = pa.PythonFile(RangeFile(data, start, size), mode="r")
        with pq.ParquetFile(source, metadata=metadata, pre_buffer=False) as file:
            path = metadata.schema.column(leaf).path
            column = file.read_row_group(group, columns=[path], use_threads=False).column(0)
    except _DAMAGED as exc:
        raise damaged("its row group of the Parquet file is damaged") from exc
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    return array.field("bytes") if pa.types.is_struct(array.type) else array


def extract(array: Any, place: tuple[int, ...]) -> bytes:
    """Returns the image of a row from its row group. Raises ImageError (stage "fetch")."""
    within = place[3]
    if within >= len(array):
        raise damaged("its row group of the Parquet file has fewer rows")
    data: bytes | None = array[within].as_py()
    if data is None:
        raise ImageError("fetch", "not_found", "its row of the Parquet file has no bytes")
    if len(data) > MAX_BYTES:
        raise ImageError("fetch", "too_large", f"more than {MAX_BYTES >> 20} MiB")
    return data
