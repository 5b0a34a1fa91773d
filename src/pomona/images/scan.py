"""Scan: a folder → its catalog, one row for each image, sorted by path."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from pomona.errors import SourceError
from pomona.images.fetch import fingerprint
from pomona.images.select import NOT_INCLUDED, NameFilter
from pomona.store import schemas
from pomona.store.schemas import encode_path

SPLITS = frozenset(["training", "train", "test", "validation", "val"])
CHUNK_ROWS = 8_192

# path, label, split, size_bytes, fingerprint
Row = tuple[str, str | None, str | None, int, str]


@dataclass
class Scan:
    """The result of a scan.

    Attributes
    ----------
    catalog : pyarrow.Table
        The images, of schema `schemas.CATALOG`, sorted by path.
    skipped : Counter
        Reason → the number of other files that are skipped for it.
    unlisted : list of str
        Folders that could not be listed.
    notes : list of str
        What may not be meant so.
    has_labels : bool
        Whether the source gives labels of its own. Else they are the folders'.
    containers : frozenset of str, optional
        The containers that paths begin with; then labels of the source go before the folders'.
        None: a source without containers.
    """

    catalog: pa.Table = field(default_factory=schemas.CATALOG.empty_table)
    skipped: Counter[str] = field(default_factory=Counter)
    unlisted: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    has_labels: bool = False
    containers: frozenset[str] | None = None


def scan(source: Path, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Scan:
    """Finds the images under a folder, and follows links to files and folders.

    Parameters
    ----------
    source : Path
        The folder.
    include, exclude : sequence of str
        Glob patterns of the images that are wanted and not wanted, as for `select.NameFilter`.

    Returns
    -------
    Scan
        The images and what was skipped.

    Raises
    ------
    SourceError
        If the source is not a folder that can be listed.
    """
    _check_folder(source)
    result = Scan()
    result.catalog = to_catalog(_walk(source, NameFilter(include, exclude), result))
    if str(source) in result.unlisted:
        raise SourceError(f"cannot read {source}: permission denied; ask for permission to list it")
    return result


def to_catalog(rows: Iterable[Row]) -> pa.Table:
    """Builds a catalog.

    Parameters
    ----------
    rows : iterable of Row
        In any order.

    Returns
    -------
    pyarrow.Table
        Of schema `schemas.CATALOG`, sorted by path.
    """
    chunks: list[pa.Table] = [schemas.CATALOG.empty_table()]
    waiting: list[Row] = []
    for row in rows:
        waiting.append(row)
        if len(waiting) == CHUNK_ROWS:
            chunks.append(_table(waiting))
            waiting.clear()
    chunks.append(_table(waiting))
    return pa.concat_tables(chunks).sort_by("path").combine_chunks()


def look(
    source: Path, names: Iterable[str], include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Scan:
    """Finds the images among some names of a folder: of files, and of folders with all in them.

    Parameters
    ----------
    source : Path
        The folder.
    names : iterable of str
        Paths relative to it. Names of nothing are ignored.
    include, exclude
        As for `scan`.

    Returns
    -------
    Scan
        As of `scan`.

    Raises
    ------
    SourceError
        If the source is not a folder.
    """
    _check_folder(source)
    result, wanted = Scan(), NameFilter(include, exclude)
    result.catalog = to_catalog(
        row for name in names for row in _walk_from(source, name, wanted, result)
    )
    return result


def _walk_from(source: Path, name: str, wanted: NameFilter, result: Scan) -> Iterator[Row]:
    """The row of a file, or those of a folder."""
    path = source / name
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
        parents = [source, *(source / above for above in Path(name).parents)] if is_folder else []
        above = frozenset((one.st_dev, one.st_ino) for one in map(os.stat, parents))
    except (FileNotFoundError, NotADirectoryError):
        is_folder = False  # gone, or a link to nothing
    except OSError as exc:
        if exc.errno != errno.ELOOP:
            raise SourceError(f"cannot look at {path}: {exc.strerror}") from exc
        is_folder = False
    if is_folder:
        yield from _walk(source, wanted, result, name, above)
    elif wanted.why_not(name) is None and os.path.lexists(path):
        labels = folder_label(name.rpartition("/")[0])
        yield from _rows_of_file(str(path), name, labels, result)


def _check_folder(source: Path) -> None:
    """Raises SourceError for a source that does not exist or is not a folder."""
    try:
        mode = source.stat().st_mode
    except OSError as exc:
        if isinstance(exc, FileNotFoundError):
            raise SourceError(f"{source} does not exist: check the path") from exc
        raise SourceError(f"cannot read {source}: {exc.strerror}; check the path") from exc
    if not stat.S_ISDIR(mode):
        raise SourceError(f"{source} is a file: give the folder that holds the images")


def _table(rows: list[Row]) -> pa.Table:
    """A table of `schemas.CATALOG`."""
    columns = zip(*rows, strict=True) if rows else [()] * len(schemas.CATALOG)
    arrays = [
        pa.array(column, field.type) for column, field in zip(columns, schemas.CATALOG, strict=True)
    ]
    return pa.table(arrays, schema=schemas.CATALOG)


def _walk(
    source: Path,
    wanted: NameFilter,
    result: Scan,
    start: str = "",
    above: frozenset[tuple[int, int]] = frozenset(),
) -> Iterator[Row]:
    """The rows of images, in the order of folders; counts all else in the result.

    start: the folder to begin with, relative to the source; above: the identities of those above.
    """
    # Folders to list: path, relative path, and the identities of those above, to detect loops.
    todo: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(str(source / start), start, above)]
    while todo:
        folder, relative, above = todo.pop()
        labels = folder_label(relative)
        try:
            status = os.stat(folder)  # noqa: PTH116
            entries = list(os.scandir(folder))
        except OSError:
            if not wanted.is_hidden(f"{relative}/"):
                result.unlisted.append(folder)
            continue
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            result.skipped["leading back to a folder above"] += 1
            continue
        for entry in entries:
            name = f"{relative}/{entry.name}" if relative else entry.name
            is_folder = _is_folder(entry)
            if is_folder:
                todo.append((entry.path, name, above | {identity}))
            elif (why_not := wanted.why_not(name)) is not None:
                if is_folder is None and why_not != NOT_INCLUDED:
                    result.unlisted.append(entry.path)
                else:
                    result.skipped[why_not] += 1
            else:
                yield from _rows_of_file(entry.path, name, labels, result)


def _rows_of_file(
    path: str, name: str, labels: tuple[str | None, str | None], result: Scan
) -> Iterator[Row]:
    """The row of a file with the name of an image; none for what is no file."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        # A dangling link, or deleted meanwhile: the fetch turns it into an error row.
        yield encode_path(name), *labels, 0, "0-0"
        return
    if stat.S_ISREG(status.st_mode):
        yield encode_path(name), *labels, status.st_size, fingerprint(status)
    else:
        result.skipped["of another kind (pipe, device or socket)"] += 1


def _is_folder(entry: os.DirEntry[str]) -> bool | None:
    """Whether an entry is a folder; None where that is denied, as for some links."""
    try:
        return entry.is_dir()
    except OSError as exc:  # a link that leads back to itself
        return False if exc.errno == errno.ELOOP else None


def folder_label(relative: str) -> tuple[str | None, str | None]:
    """The label and the split of the images in a folder.

    Parameters
    ----------
    relative : str
        The folder's path relative to the source, "" for the source.

    Returns
    -------
    label : str or None
        The last component of the path, unless that is the split.
    split : str or None
        The first component that is one of `SPLITS`, in any case.
    """
    components = [encode_path(component) for component in relative.split("/") if component]
    splits = [index for index, name in enumerate(components) if name.lower() in SPLITS]
    split = components[splits[0]] if splits else None
    is_label = bool(components) and splits[:1] != [len(components) - 1]
    return components[-1] if is_label else None, split
