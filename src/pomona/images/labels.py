"""Labels: those of a file in place of the folders' names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pomona.errors import SourceError
from pomona.images.label_files import read_columns
from pomona.progress import count

# pyarrow.Array of strings.
Paths: TypeAlias = Any
# How a file may name images, from the strictest way to the loosest.
_LOOSER: tuple[tuple[str, Callable[[Paths], Paths]], ...] = (
    ("without their extensions", lambda paths: _without_extension(paths)),
    ("by their file names alone", lambda paths: _name(paths)),
    ("by their file names alone, without extensions", lambda p: _without_extension(_name(p))),
)


def apply_labels(catalog: pa.Table, file: Path) -> tuple[pa.Table, list[str], list[str]]:
    """Gives a catalog the labels, and the splits if there are any, of a file.

    Parameters
    ----------
    catalog : pyarrow.Table
        Of schema `schemas.CATALOG`.
    file : Path
        As `label_files.read_columns` reads it, with the columns path, label and, optionally, split.

    Returns
    -------
    catalog : pyarrow.Table
        Images that the file does not name have no label and, if it has splits, no split.
    notes : list of str
        How the file was understood, where that is not as it stands.
    warnings : list of str
        One for each kind of mismatch between catalog and file.

    Raises
    ------
    SourceError
        If the file cannot be read, is no such file, or names none of the images.
    """
    given, notes = read_columns(file, ("path", "label"), ("split",))
    position, how = match_paths(catalog["path"], given["path"])
    if how:
        notes.append(f"{file.name} names images {how}")
    for name in given.column_names[1:]:
        index = catalog.schema.get_field_index(name)
        column = given[name].take(position).cast(pa.string())
        catalog = catalog.set_column(index, catalog.schema.field(name), column)
    unnamed = position.null_count
    if unnamed == catalog.num_rows:
        raise SourceError(
            f"{file} names none of the images: its paths, such as {_first(given['path'])!r}, must "
            f"be relative to the source, such as {catalog['path'][0].as_py()!r}"
        )
    warnings = []
    if unnamed:
        warnings.append(f"{count(unnamed, 'image')} without a label: not in {file.name}")
    if unknown := tell_unknown(given["path"], position):
        warnings.append(f"{unknown} of {file.name} not among the images")
    return catalog, notes, warnings


def tell_unknown(given: pa.ChunkedArray, position: pa.Array) -> str | None:
    """Returns how many of the given paths name no image, and the first; None where all do.

    Parameters
    ----------
    given : pyarrow.ChunkedArray
        The paths that a file names.
    position : int32[n]
        The place of each image among them, as of `match_paths`.
    """
    used = np.zeros(len(given), bool)
    used[position.drop_null().to_numpy()] = True
    if used.all():
        return None
    unknown = np.flatnonzero(~used)
    return f"{count(len(unknown), 'path')} (the first: {given[int(unknown[0])].as_py()!r})"


def match_paths(known: pa.ChunkedArray, given: pa.ChunkedArray) -> tuple[pa.Array, str]:
    """Finds images by the paths that a file has for them.

    A file may write `./` or `\\`, another composition of accents, a folder in front that all paths
    share, or no extension. Of these ways the one that finds the most images is taken, the strictest
    of equals. A way in which two paths are alike finds neither.

    Parameters
    ----------
    known : pyarrow.ChunkedArray
        The paths of the images, each once.
    given : pyarrow.ChunkedArray
        The paths that the file has, each once; null where it has none.

    Returns
    -------
    position : int32[n]
        The place of each image among `given`; null where it is not there.
    how : str
        How the file names images, in words; empty for paths that are relative to the source.
    """
    best, how = pc.index_in(known, value_set=given), ""
    best = best.combine_chunks() if isinstance(best, pa.ChunkedArray) else best
    if not best.null_count:
        return best, how
    ours, theirs = _normalized(known), _tidied(_normalized(given))
    ways = [("", ours, theirs)]
    for depth in range(1, _shared_depth(theirs) + 1):
        pattern = f"^(?:[^/]*/){{{depth}}}"
        cut = pc.replace_substring_regex(theirs, pattern, "", max_replacements=1)
        folder = "/".join(str(theirs.drop_null()[0]).split("/")[:depth])
        ways.append((f"with {folder}/ in front", ours, cut))
    ways += [(words, key(ours), key(theirs)) for words, key in _LOOSER]
    for words, own, other in ways:
        found = _find(own, other)
        if found.null_count < best.null_count:
            best, how = found, words
    return best, how


def _find(known: Paths, given: Paths) -> pa.Array:
    """The place of each known path among the given ones, where it is the only one of either."""
    found = pc.index_in(known, value_set=given)
    alike = pa.chunked_array([_repeated(known), _repeated(given)])
    return pc.if_else(pc.is_in(known, value_set=alike.combine_chunks()), None, found)


def _repeated(paths: Paths) -> Paths:
    counts = paths.value_counts()
    return counts.filter(pc.greater(counts.field("counts"), 1)).field("values")


def _normalized(paths: pa.ChunkedArray) -> Paths:
    return pc.utf8_normalize(paths.combine_chunks(), "NFC")


def _tidied(paths: Paths) -> Paths:
    slashes = pc.replace_substring(paths, "\\", "/")
    return pc.replace_substring_regex(slashes, r"^(?:\./|/)+", "", max_replacements=1)


def _shared_depth(paths: Paths) -> int:
    """How many folders all paths begin with."""
    firsts = [PurePosixPath(path).parts[:-1] for path in _extremes(paths)]
    shared = 0
    for one, other in zip(*firsts, strict=False):
        if one != other:
            break
        shared += 1
    return shared


def _extremes(paths: Paths) -> tuple[str, str]:
    """The first and the last in order: what these begin with, all do."""
    ends = pc.min_max(paths)
    return (ends["min"].as_py() or "", ends["max"].as_py() or "")


def _without_extension(paths: Paths) -> Paths:
    return pc.replace_substring_regex(paths, r"\.[A-Za-z0-9]{1,5}$", "")


def _name(paths: Paths) -> Paths:
    return pc.replace_substring_regex(paths, "^.*/", "")


def _first(paths: pa.ChunkedArray) -> str:
    named = paths.drop_null()
    return str(named[0].as_py()) if len(named) else ""
