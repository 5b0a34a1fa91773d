"""The files of search/: how they are made of the parts of a store, and opened."""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pomona.errors import StoreBusyError, StoreDamagedError
from pomona.search.cells import MOST_NUMBERS, Cells, can_be_had
from pomona.search.exact import Rows, unit_rows
from pomona.store.folders.base import Folder
from pomona.store.layout import SEARCH_FOLDER, part_name
from pomona.store.schemas import LABEL, PATH
from pomona.store.search import file_name, read_facts, read_pieces, write_facts
from pomona.store.store import Store
from pomona.store.tables import matrix

ROWS, IMAGES, CELLS = "rows.npy", "images.arrow", "cells.faiss"
SCHEMA = pa.schema([PATH, LABEL, pa.field("sha256", pa.string())])
NAMES = SCHEMA.names

Parts = Mapping[int, Mapping[str, str]]


class Images:
    """The images that rows belong to, some thousands at a time.

    Parameters
    ----------
    batches : list of pyarrow.RecordBatch
        path, label and sha256, in the order of the rows; they may be mapped from a file.
    """

    def __init__(self, batches: list[pa.RecordBatch]) -> None:
        self._batches = batches
        self._ends = list(itertools.accumulate(batch.num_rows for batch in batches))
        self._valid: set[int] = set()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def at(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Returns path, label and sha256 of some rows.

        Raises
        ------
        StoreDamagedError
            If the file is not what was written.
        """
        return [self._at(row) for row in rows]

    def find(self, sha256: str) -> dict[str, Any] | None:
        """Returns path, label and sha256 of the first image whose file has a SHA-256, if any.

        Raises
        ------
        StoreDamagedError
            If the file is not what was written.
        """
        for batch in self.batches():
            at = pc.index(batch.column("sha256"), sha256).as_py()
            if at >= 0:
                return _row(batch, at)
        return None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yields path, label and sha256, one batch for each part of the store, in their order.

        Raises
        ------
        StoreDamagedError
            If the file is not what was written.
        """
        yield from map(self.batch, range(len(self._batches)))

    def batch(self, number: int) -> pa.RecordBatch:
        """Returns one of the batches, and raises as `batches` does."""
        batch = self._batches[number]
        if number not in self._valid:
            try:
                batch.validate(full=True)  # what is mapped may point anywhere
            except pa.ArrowException as exc:
                raise StoreDamagedError(
                    "the store's search/ is damaged: delete it, and search again"
                ) from exc
            self._valid.add(number)
        return batch

    def batch_of(self, row: int) -> int:
        """Returns the number of the batch that has a row."""
        return bisect.bisect_right(self._ends, row)

    def _at(self, row: int) -> dict[str, Any]:
        number = self.batch_of(row)
        batch = self.batch(number)
        return _row(batch, row - self._ends[number] + batch.num_rows)


def _row(batch: pa.RecordBatch, at: int) -> dict[str, Any]:
    return {name: column[at].as_py() for name, column in zip(NAMES, batch.columns, strict=True)}


@dataclass(frozen=True)
class Kept:
    """What an index is made of: rows float32[n, k], their images and, if they are many, cells.

    is_mapped: whether the rows are mapped from a disk.
    """

    rows: Rows
    images: Images
    cells: Cells | None = None
    is_mapped: bool = False

    @property
    def is_large(self) -> bool:
        """Whether the rows are too many to compare all."""
        return self.rows.size > MOST_NUMBERS

    @property
    def lacks_cells(self) -> bool:
        """Whether cells could be made, and are not."""
        return self.cells is None and self.is_mapped and self.is_large and can_be_had()


def build(store: Store, parts: Parts) -> Kept:
    """Makes an index of some parts in memory.

    Raises
    ------
    StoreBusyError
        If a command changes the parts meanwhile.
    StoreError
        If they cannot be read.
    """
    read = list(_read_parts(store, parts))
    return Kept(np.concatenate([rows for _, rows in read]), Images([each for each, _ in read]))


def keep(store: Store, key: str, parts: Parts) -> None:
    """Makes an index of some parts in search/, part by part.

    Parameters
    ----------
    store : Store
        The store, open for writing.
    key : str
        Of the parts.
    parts : mapping
        The footers of the parts of pca/, by their numbers.

    Raises
    ------
    StoreWriteError, ObjectStoreError
        If it cannot be written; nothing half-written is taken for an index then.
    """
    names = [file_name(key, kind) for kind in (ROWS, IMAGES)]
    count = sum(int(footer["rows"]) for footer in parts.values())
    with ExitStack() as stack:
        rows_file, images_file = (
            stack.enter_context(_digesting(store.files, name)) for name in names
        )
        header = {"descr": "<f4", "fortran_order": False, "shape": (count, store.projection.k)}
        np.lib.format.write_array_header_1_0(rows_file, header)
        with pa.ipc.new_file(pa.PythonFile(images_file, "w"), SCHEMA) as writer:
            for images, rows in _read_parts(store, parts):
                writer.write_batch(images)
                rows_file.write(rows.astype("<f4").tobytes())
    told = {names[0]: rows_file.facts, names[1]: images_file.facts}
    path = store.files.path(names[0])
    if isinstance(path, Path) and count * store.projection.k > MOST_NUMBERS and can_be_had():
        cells = Cells.of(np.load(path, mmap_mode="r", allow_pickle=False))
        name = file_name(key, CELLS)
        with _digesting(store.files, name) as file:
            cells.write(file.write)
        told[name] = {**file.facts, "cells": cells.looked_at}
    write_facts(store, key, told)


def open_kept(store: Store, key: str) -> Kept | None:
    """Opens the index in search/; None where there is none of this key that can be used."""
    try:
        facts = read_facts(store)
        if facts is None or facts["key"] != key:
            return None
        rows, images = (
            _open(store.files, name, facts["files"][name]["size_bytes"])
            for name in (file_name(key, kind) for kind in (ROWS, IMAGES))
        )
        is_mapped = isinstance(store.files.path(SEARCH_FOLDER), Path)
        return Kept(_as_rows(rows), _as_images(images), _open_cells(store, facts), is_mapped)
    except (FileNotFoundError, StoreDamagedError, KeyError, TypeError, ValueError, OSError):
        return None  # made again


def _open(files: Folder, name: str, size_bytes: int) -> pa.Buffer:
    """The bytes of a file: mapped from a disk, or read."""
    path = files.path(name)
    if isinstance(path, Path):
        if path.stat().st_size != size_bytes:
            raise ValueError("not whole")
        with pa.memory_map(str(path)) as mapped:
            return mapped.read_buffer()
    data = np.empty(size_bytes, np.uint8)
    at = 0
    for piece in read_pieces(files, name, size_bytes):
        data[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
        at += len(piece)
    return pa.py_buffer(data)


def _open_cells(store: Store, facts: Mapping[str, Any]) -> Cells | None:
    name = file_name(facts["key"], CELLS)
    path = store.files.path(name)
    if name not in facts["files"] or not isinstance(path, Path) or not can_be_had():
        return None
    told = facts["files"][name]
    if path.stat().st_size != told["size_bytes"]:
        raise ValueError("not whole")
    return Cells.open(path, int(told["cells"]))


def _as_rows(data: pa.Buffer) -> Rows:
    """The array of a file that `keep` wrote. Raises ValueError for another."""
    reader = pa.BufferReader(data)
    if np.lib.format.read_magic(reader) != (1, 0):
        raise ValueError("of another version")
    shape, is_fortran, kind = np.lib.format.read_array_header_1_0(reader)
    if is_fortran or kind != np.dtype("<f4") or len(shape) != 2:
        raise ValueError("other rows")
    return np.frombuffer(data, kind, offset=reader.tell()).reshape(shape)


def _as_images(data: pa.Buffer) -> Images:
    reader = pa.ipc.open_file(pa.BufferReader(data))
    if not reader.schema.equals(SCHEMA):
        raise ValueError("other columns")
    return Images([reader.get_batch(number) for number in range(reader.num_record_batches)])


def _read_parts(store: Store, parts: Parts) -> Iterator[tuple[pa.RecordBatch, Rows]]:
    """The images of each part, and their rows with a length of 1."""
    numbers = sorted(parts)
    read = store.map_prefetched(lambda part: _read_part(store, part, parts[part]), numbers)
    yield from read


def _read_part(store: Store, part: int, wanted: Mapping[str, str]) -> tuple[pa.RecordBatch, Rows]:
    try:
        table, footer = store.read_with_footer(part_name("pca", part))
        metadata = store.read_table(part_name("metadata", part), ["path", "sha256"])
    except FileNotFoundError as exc:
        raise _changed(store) from exc
    if {**footer, "rows": str(table.num_rows)} != dict(wanted):
        raise _changed(store)
    at = pc.index_in(table["path"], value_set=metadata["path"])
    images = table.select(["path", "label"])
    images = images.append_column(SCHEMA.field("sha256"), metadata["sha256"].take(at))
    [batch] = images.cast(SCHEMA).combine_chunks().to_batches() or [_empty()]
    return batch, unit_rows(matrix(table, "pca")).astype(np.float32)


def _empty() -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], SCHEMA)


def _changed(store: Store) -> StoreBusyError:
    return StoreBusyError(
        f"{store.files} was changed while it was read: search again once its command has ended"
    )


class _Digesting:
    """A file that is written, with what is to be told of its bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest, self._size = file, hashlib.sha256(), 0
        self.closed = False

    def write(self, data: Any) -> int:
        self._digest.update(data)
        self._size += len(memoryview(data).cast("B"))
        return self._file.write(data)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """Does nothing: who opened the file closes it."""

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Its size and its SHA-256."""
        return {"size_bytes": self._size, "sha256": self._digest.hexdigest()}


@contextmanager
def _digesting(files: Folder, name: str) -> Iterator[_Digesting]:
    with files.create(name) as file:
        yield _Digesting(file)
