"""Scan: a source → its catalog, one row per image, sorted by path."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import pyarrow as pa

from pomona.errors import SourceError
from pomona.images.fetch import fingerprint
from pomona.store import schemas
from pomona.store.schemas import encode_path

EXTENSIONS = frozenset(
    [".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"]
)
SPLITS = frozenset(["training", "train", "test", "validation", "val"])
CHUNK_ROWS = 8_192
NOT_INCLUDED = "not included"

# path, label, split, size_bytes, fingerprint
Row = tuple[str, str | None, str | None, int, str]


@dataclass
class Scan:
    """What a source holds.

    catalog: table of `schemas.CATALOG`, sorted by path; skipped: why → how many other files;
    unlisted: folders that could not be read.
    """

    catalog: pa.Table = field(default_factory=schemas.CATALOG.empty_table)
    skipped: Counter[str] = field(default_factory=Counter)
    unlisted: list[str] = field(default_factory=list)


def scan(source: Path, include: Sequence[str] = ()) -> Scan:
    """Finds the images under a folder.

    An image is a file with one of `EXTENSIONS`; with `include`, its relative path or its name
    matches one of these patterns (whose own extension counts as an image's).
    Raises SourceError when the source is not a readable folder.
    """
    _check_folder(source)
    found = Scan()
    found.catalog = to_catalog(_walk(source, NameFilter(include), found))
    if str(source) in found.unlisted:
        raise SourceError(f"cannot read {source}: permission denied; ask for the right to list it")
    return found


class NameFilter:
    """Which files are images, by their names."""

    def __init__(self, include: Sequence[str]) -> None:
        self._patterns = [pattern.removeprefix("**/") for pattern in include]
        own = {PurePosixPath(pattern).suffix.lower() for pattern in self._patterns}
        self._extensions = EXTENSIONS | {suffix for suffix in own if not set(suffix) & set("*?[")}
        self._extensions -= {""}

    def why_not(self, name: str) -> str | None:
        """Why a file of this relative name is left out; None for an image."""
        own = name.rpartition("/")[2]
        other = _other_name(own, self._extensions)
        if other is not None or not self._patterns:
            return other
        is_included = any(
            fnmatchcase(name, pattern) or fnmatchcase(own, pattern) for pattern in self._patterns
        )
        return None if is_included else NOT_INCLUDED


def to_catalog(rows: Iterable[Row]) -> pa.Table:
    """A table of `schemas.CATALOG`, sorted by path."""
    chunks: list[pa.Table] = [schemas.CATALOG.empty_table()]
    waiting: list[Row] = []
    for row in rows:
        waiting.append(row)
        if len(waiting) == CHUNK_ROWS:
            chunks.append(_table(waiting))
            waiting.clear()
    chunks.append(_table(waiting))
    return pa.concat_tables(chunks).sort_by("path").combine_chunks()


def _check_folder(source: Path) -> None:
    try:
        mode = source.stat().st_mode
    except OSError as exc:
        if isinstance(exc, FileNotFoundError):
            raise SourceError(f"{source} does not exist: check the path") from exc
        raise SourceError(f"cannot read {source}: {exc.strerror}; check the path") from exc
    if not stat.S_ISDIR(mode):
        raise SourceError(f"{source} is a file: give the folder that holds the images")


def _table(rows: list[Row]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [()] * len(schemas.CATALOG)
    arrays = [
        pa.array(column, field.type) for column, field in zip(columns, schemas.CATALOG, strict=True)
    ]
    return pa.table(arrays, schema=schemas.CATALOG)


def _walk(source: Path, wanted: NameFilter, found: Scan) -> Iterator[Row]:
    # Folders still to read: where, their relative name, and the folders they lie in (for loops).
    todo: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(str(source), "", frozenset())]
    while todo:
        folder, relative, above = todo.pop()
        label, split = folder_label(relative)
        try:
            status = os.stat(folder)  # noqa: PTH116
            entries = list(os.scandir(folder))
        except OSError:
            found.unlisted.append(folder)
            continue
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            found.skipped["a link to a folder above itself"] += 1
            continue
        for entry in entries:
            name = f"{relative}/{entry.name}" if relative else entry.name
            is_folder = _is_folder(entry)
            if is_folder:
                todo.append((entry.path, name, above | {identity}))
            elif (why_not := wanted.why_not(name)) is not None:
                if is_folder is None and why_not != NOT_INCLUDED:
                    found.unlisted.append(entry.path)
                else:
                    found.skipped[why_not] += 1
            else:
                try:
                    status = entry.stat()
                except OSError:
                    # A dangling link, or gone since: fetching it will say so, in an error row.
                    yield encode_path(name), label, split, 0, "0-0"
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield encode_path(name), label, split, status.st_size, fingerprint(status)
                else:
                    found.skipped["a pipe, a device or a socket"] += 1


def _other_name(name: str, extensions: frozenset[str]) -> str | None:
    """What the name of a file that is no image looks like; None for an image's."""
    if name.startswith("._"):  # what macOS keeps beside a file on a disk that is not its own
        return "named ._*"
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    if suffix in extensions:
        return None
    return f"named *{encode_path(suffix)}" if suffix else "without an extension"


def _is_folder(entry: os.DirEntry[str]) -> bool | None:
    """None where that cannot be known, as of a link to where one may not look."""
    try:
        return entry.is_dir()
    except OSError as exc:  # a link that leads in a circle is no folder
        return False if exc.errno == errno.ELOOP else None


def folder_label(relative: str) -> tuple[str | None, str | None]:
    """The label and the split of the images in a folder, by its name relative to the source.

    The split is the first component that reads training, train, test, validation or val; the
    label is the last component, unless that is the split.
    """
    components = [encode_path(component) for component in relative.split("/") if component]
    splits = [index for index, name in enumerate(components) if name.lower() in SPLITS]
    split = components[splits[0]] if splits else None
    is_label = bool(components) and splits[:1] != [len(components) - 1]
    return components[-1] if is_label else None, split


def spread_sample(catalog: pa.Table, limit: int, seed: int) -> pa.Table:
    """At most `limit` rows, drawn by `seed` and spread evenly over the labels, in their order.

    A smaller limit's sample is part of a larger one's.
    """
    if catalog.num_rows <= limit:
        return catalog
    salt = str(seed).encode()
    draws = [
        hashlib.blake2b(path.encode(), key=salt, digest_size=8).digest()
        for path in catalog["path"].to_pylist()
    ]
    labels = catalog["label"].to_pylist()
    taken: Counter[str | None] = Counter()
    order = []
    for index in sorted(range(len(draws)), key=draws.__getitem__):
        order.append((taken[labels[index]], draws[index], index))
        taken[labels[index]] += 1
    chosen = sorted(index for _, _, index in sorted(order)[:limit])
    return catalog.take(pa.array(chosen, pa.int64()))
