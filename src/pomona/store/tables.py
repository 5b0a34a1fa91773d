"""Tables: Parquet files with footers, CSV files, and columns of numbers as arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from pomona.errors import StoreDamagedError
from pomona.store.folders.base import Folder

# How the columns of numbers are named, by table, where each number has a column of its own.
PREFIXES = {"pca": "pc", "features": "feature"}

# Arrow raises these for a file that is not what was written.
_DAMAGED = (pa.ArrowException, ValueError, OSError)
_KEY_PREFIX = "pomona."
# The columns inside `schemas.TOP`, by their names in a file.
_TOP_LABEL, _TOP_PROBABILITY = "top.list.element.label", "top.list.element.probability"


def read_with_footer(
    files: Folder, name: str, columns: list[str] | None = None
) -> tuple[pa.Table, dict[str, str]]:
    """Reads a Parquet file.

    Parameters
    ----------
    files : Folder
        The folder of the store.
    name : str
        The file's name in it.
    columns : list of str, optional
        The columns to read; None for all.

    Returns
    -------
    tuple
        The table, and the footer that `write_table` gave it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    StoreDamagedError
        If it is not what was written.
    StoreError
        If it cannot be read.
    """
    try:
        with files.open(name) as file:
            table = pq.read_table(
                file, columns=columns, use_threads=False, page_checksum_verification=True
            )
            return table.replace_schema_metadata(), _pomona_keys(table.schema.metadata)
    except FileNotFoundError:
        raise
    except _DAMAGED as exc:
        raise StoreDamagedError(
            f"{files}/{name} is damaged: delete it and run the store's `pomona run` again"
        ) from exc


def read_footer(files: Folder, name: str) -> dict[str, str] | None:
    """Reads a Parquet file's footer alone.

    Parameters
    ----------
    files : Folder
        The folder of the store.
    name : str
        The file's name in it.

    Returns
    -------
    dict or None
        The footer that `write_table` gave it, with "rows"; None where the file is missing or
        damaged.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    try:
        with files.open(name, footer=True) as file:
            metadata = pq.read_metadata(file)
    except _DAMAGED:
        return None
    return {**_pomona_keys(metadata.metadata), "rows": str(metadata.num_rows)}


def write_table(
    files: Folder, name: str, table: pa.Table, footer: dict[str, str] | None = None
) -> None:
    """Writes a Parquet file whole.

    Parameters
    ----------
    files : Folder
        The folder of the store.
    name : str
        The file's name in it.
    table : pyarrow.Table
        What to write; the same rows give the same bytes, however they are chunked.
    footer : dict, optional
        What to say of the file in its key-value metadata.
    """
    files.write(name, encode_table(table, footer))


def encode_table(table: pa.Table, footer: dict[str, str] | None = None) -> memoryview:
    """Returns the bytes of a Parquet file, as `write_table` writes them."""
    numbers = [field.name for field in table.schema if pa.types.is_fixed_size_list(field.type)]
    texts = [field.name for field in table.schema if field.name not in numbers]
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(
            {f"{_KEY_PREFIX}{key}": value for key, value in (footer or {}).items()}
        ),
        sink,
        # A network's floats hardly compress, and a dictionary of them is larger than they are.
        compression={
            **dict.fromkeys([*texts, _TOP_LABEL, _TOP_PROBABILITY], "zstd"),
            **{f"{name}.list.element": "none" for name in numbers},
        },
        use_dictionary=["label", "split", "format", "stage", "reason", _TOP_LABEL],
        write_statistics=texts,
        write_page_checksum=True,
    )
    return memoryview(sink.getvalue())


def write_csv(files: Folder, name: str, table: pa.Table) -> None:
    """Writes a CSV file whole, in UTF-8, with a header line.

    Parameters
    ----------
    files : Folder
        The folder of the store.
    name : str
        The file's name in it.
    table : pyarrow.Table
        What to write.
    """
    files.write(name, encode_csv(table))


def encode_csv(table: pa.Table) -> memoryview:
    """Returns the bytes of a CSV file, as `write_csv` writes them."""
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(table, sink)
    return memoryview(sink.getvalue())


def spread(table: pa.Table, column: str, prefix: str) -> pa.Table:
    """Gives each number of a column a column of its own, for spreadsheets and pandas.

    Parameters
    ----------
    table : pyarrow.Table
        Table with path, label, split and `column`.
    column : str
        The column of numbers, fixed_size_list<float32>[width].
    prefix : str
        How the new columns are named: `prefix`_1 to `prefix`_width.

    Returns
    -------
    pyarrow.Table
        path, label, split and the new columns.
    """
    identity = table.select(["path", "label", "split"])
    for index, numbers in enumerate(matrix(table, column).T, start=1):
        identity = identity.append_column(f"{prefix}_{index}", pa.array(numbers))
    return identity


def matrix(table: pa.Table, column: str) -> npt.NDArray[np.float32]:
    """Returns a column of numbers as an array.

    Parameters
    ----------
    table : pyarrow.Table
        Table of n rows.
    column : str
        The column of numbers, fixed_size_list<float32>[width].

    Returns
    -------
    ndarray
        float32[n, width].
    """
    width = table.schema.field(column).type.list_size
    flat = table[column].combine_chunks()
    if isinstance(flat, pa.ChunkedArray):
        flat = pa.concat_arrays(flat.chunks) if flat.num_chunks else pa.array([], flat.type)
    numbers: npt.NDArray[np.float32] = flat.flatten().to_numpy(zero_copy_only=False)
    return numbers.reshape(-1, width)


def _pomona_keys(metadata: dict[bytes, bytes] | None) -> dict[str, str]:
    """Returns what pomona put into a file's key-value metadata."""
    return {
        key.decode().removeprefix(_KEY_PREFIX): value.decode()
        for key, value in (metadata or {}).items()
        if key.startswith(_KEY_PREFIX.encode())
    }
