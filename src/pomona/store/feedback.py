"""The files of feedback/: one for each entry that was appended, and the parts that gather them.

No two entries have one name, so any number of processes append at once, without a lock. A part is
written before the entries that it gathers are removed: whoever reads in between finds a row twice,
and equal rows count once. Gathering and erasing exclude each other by a lock of their own, for the
store's may be held for hours.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

import pyarrow as pa
import pyarrow.compute as pc

from pomona.errors import StoreBusyError, StoreDamagedError, StoreWriteError
from pomona.store import schemas
from pomona.store.layout import FEEDBACK_FOLDER, FEEDBACK_LOCK, part_name, part_number
from pomona.store.store import Store

# An entry on a label of the store itself: what it has for the id of a classifier, and for the label
# if the store has none.
STORED, NO_LABEL = "store", "(no label)"
ENTRY = f"{FEEDBACK_FOLDER}/entry-"
# A part takes more rows until it has so many: to write it again takes a tenth of a second.
PART_ROWS = 16_384
# How often a file is written or read again that another process has removed meanwhile.
ATTEMPTS = 5


def append(store: Store, rows: pa.Table) -> None:
    """Writes rows as a new entry; once this returns, a power cut does not lose them.

    Parameters
    ----------
    store : Store
        The store; its lock is not needed.
    rows : pyarrow.Table
        Of schema `schemas.FEEDBACK`.

    Raises
    ------
    StoreWriteError, ObjectStoreError
        If they cannot be written.
    """
    moment = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}"
    name = f"{ENTRY}{moment}-{uuid.uuid4().hex}.parquet"
    for attempt in range(1, ATTEMPTS + 1):
        try:
            store.write_table(name, rows)
            return
        except StoreWriteError as exc:
            # A command that begins takes a half-written file for that of a dead one.
            if attempt == ATTEMPTS or not isinstance(exc.__cause__, FileNotFoundError):
                raise


def is_entry(name: str) -> bool:
    """Returns whether a name is that of an entry."""
    return name.startswith(ENTRY) and name.endswith(".parquet")


def entry_names(store: Store) -> list[str]:
    """Returns the names of the entries that no part has gathered yet."""
    return [name for name in store.files.names(FEEDBACK_FOLDER) if is_entry(name)]


def holds_rows(name: str) -> bool:
    """Returns whether a name is that of an entry or a part."""
    return is_entry(name) or part_number(name) is not None


def file_names(store: Store) -> list[str]:
    """Returns the names of all files that hold rows."""
    return list(filter(holds_rows, store.files.names(FEEDBACK_FOLDER)))


def read(store: Store, model: str | None = None) -> pa.Table:
    """Reads rows, in the order of their time.

    Parameters
    ----------
    store : Store
        The store.
    model : str, optional
        Whose entries are wanted. None: all.

    Returns
    -------
    pyarrow.Table
        Of schema `schemas.FEEDBACK`, without equal rows.

    Raises
    ------
    StoreDamagedError
        If a file is not what was written.
    StoreBusyError
        If entries are gathered all the time.
    """

    def wanted(name: str) -> pa.Table:
        rows = read_file(store, name)
        return rows if model is None else rows.filter(pc.equal(rows["model"], model))

    for _ in range(ATTEMPTS):
        try:
            return _distinct(store.map_concurrent(wanted, file_names(store)))
        except FileNotFoundError:  # gathered meanwhile, in a part that may have been read before
            continue
    raise StoreBusyError(f"{store.files}/{FEEDBACK_FOLDER} changes all the time: try again")


def read_file(store: Store, name: str) -> pa.Table:
    """Reads the rows of a file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    StoreDamagedError
        If it is not what was written.
    """
    try:
        table = store.read_table(name)
    except StoreDamagedError as exc:
        raise _damaged(store, name) from exc
    if not table.schema.equals(schemas.FEEDBACK):
        raise _damaged(store, name)
    return table


def _damaged(store: Store, name: str) -> StoreDamagedError:
    path = f"{store.files}/{name}"
    return StoreDamagedError(f"{path} is damaged: restore it from a copy, or delete it")


def gather(store: Store) -> int:
    """Gathers the entries in parts; an entry that is damaged stays where it is.

    Returns
    -------
    int
        How many entries were gathered.

    Raises
    ------
    StoreBusyError
        If another process gathers or erases.
    StoreWriteError, ObjectStoreError
        If a part cannot be written.
    """
    with _lock(store, "gather feedback") as locked:
        names = entry_names(locked)
        read = locked.map_concurrent(lambda name: _read_intact(locked, name), names)
        entries = {name: rows for name, rows in zip(names, read, strict=True) if rows is not None}
        if entries:
            part, rows = _open_part(locked)
            locked.write_table(
                part_name(FEEDBACK_FOLDER, part), _distinct([rows, *entries.values()])
            )
            locked.files.delete(*entries)
        return len(entries)


def _open_part(store: Store) -> tuple[int, pa.Table]:
    """The part that takes more rows, and those that it has."""
    last = max(store.part_numbers(FEEDBACK_FOLDER), default=0)
    name = part_name(FEEDBACK_FOLDER, last)
    empty = schemas.FEEDBACK.empty_table()
    if not store.files.exists(name):
        return last, empty
    rows = _read_intact(store, name)
    if rows is None or rows.num_rows >= PART_ROWS:
        return last + 1, empty
    return last, rows


def _read_intact(store: Store, name: str) -> pa.Table | None:
    try:
        return read_file(store, name)
    except StoreDamagedError:
        return None


def erase(store: Store, values: Collection[str], column: str = "sha256") -> list[str | None]:
    """Removes all rows of images, or of predictions.

    Parameters
    ----------
    store : Store
        The store.
    values : collection of str
        The SHA-256 of the images' files, or the ids of the predictions.
    column : str
        "sha256" or "id".

    Returns
    -------
    list of str or None
        Where the photograph of each row that was removed is kept.

    Raises
    ------
    StoreBusyError
        If another process gathers entries.
    StoreDamagedError
        If a file is not what was written.
    """
    photographs: list[str | None] = []
    if not file_names(store):
        return photographs
    wanted = pa.array(sorted(values), pa.string())
    with _lock(store, "forget feedback") as locked:
        for name in file_names(locked):
            table = read_file(locked, name)
            concerned = pc.is_in(table[column], wanted)
            kept = table.filter(pc.invert(concerned))
            photographs += table.filter(concerned)["photograph"].to_pylist()
            if not kept.num_rows:
                locked.files.delete(name)
            elif kept.num_rows < table.num_rows:
                locked.write_table(name, kept.combine_chunks())
    return photographs


@contextmanager
def _lock(store: Store, command: str) -> Iterator[Store]:
    """Holds what gathering and erasing exclude each other by."""
    with store.files.lock(FEEDBACK_LOCK, command) as (files, _):
        yield Store(files, store.access)


def _distinct(found: list[pa.Table]) -> pa.Table:
    """The rows of some files without equal ones, in the order of their time."""
    table = pa.concat_tables([schemas.FEEDBACK.empty_table(), *found]).combine_chunks()
    names = table.column_names
    table = table.group_by(names, use_threads=False).aggregate([])
    order = ["time", *(name for name in names if name != "time")]
    return table.sort_by([(name, "ascending") for name in order]).cast(schemas.FEEDBACK)
