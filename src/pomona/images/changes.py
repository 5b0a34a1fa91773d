"""Changes: a catalog with news of some of its images, without a look at the others."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pomona.images.scan import Scan
from pomona.images.sources.base import Lookable
from pomona.store.schemas import encode_path


@dataclass(frozen=True)
class Changes:
    """Names of a source whose files may have changed.

    Parameters
    ----------
    known : pyarrow.Table
        The images that are known so far, of schema `schemas.CATALOG`.
    names : collection of str
        Of files and folders, relative to the source.
    """

    known: pa.Table
    names: Collection[str]


def relabels(catalog: pa.Table, known: pa.Table) -> bool:
    """Returns whether an image of a catalog has another label or split than it was known with.

    Images that have left the source may be known, too, and make splits of other folders: then the
    whole source must be looked at.

    Parameters
    ----------
    catalog, known : pyarrow.Table
        Of schema `schemas.CATALOG`.
    """
    at = pc.index_in(known["path"], catalog["path"].combine_chunks())
    now, before = catalog.take(at.drop_null()), known.filter(pc.is_valid(at))
    return not all(now[name].equals(before[name]) for name in ("label", "split"))


def rescan(
    source: Lookable,
    changes: Changes,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> Scan:
    """Looks at the names that may have changed, and takes the rest of the catalog as it is known.

    Parameters
    ----------
    source : Lookable
        Where the images are.
    changes : Changes
        What is known, and what may have changed.
    include, exclude
        As for `Source.scan`.

    Returns
    -------
    Scan
        Its catalog has the known images and the new ones, and lacks those that are gone.
    """
    found = source.look(changes.names, include, exclude)
    known = changes.known.sort_by("path").combine_chunks()
    stale = np.zeros(known.num_rows, bool)
    for name in changes.names:
        start, end = _rows_of(known["path"], encode_path(name), beneath=source.has_folders)
        stale[start:end] = True
    kept = known.filter(pa.array(~stale))
    # What lies under a name of a folder was found by that name and by its own.
    fresh = found.catalog.filter(_is_first(found.catalog["path"]))
    if kept.num_rows and fresh.num_rows:
        found.catalog = pa.concat_tables([kept, fresh]).sort_by("path").combine_chunks()
    else:
        found.catalog = kept if kept.num_rows else fresh
    return found


def _is_first(paths: pa.ChunkedArray) -> pa.Array:
    """Whether each of some sorted paths differs from the one before."""
    values = paths.to_pylist()
    return pa.array([not i or value != values[i - 1] for i, value in enumerate(values)], pa.bool_())


def _rows_of(paths: pa.ChunkedArray, name: str, *, beneath: bool) -> tuple[int, int]:
    """The rows of a name in sorted paths: its own, or if it may be a folder, those in it."""
    rows = range(len(paths))
    at = bisect_left(rows, name, key=lambda row: paths[row].as_py())
    if at < len(paths) and paths[at].as_py() == name:
        return at, at + 1
    if not beneath:
        return at, at
    start = bisect_left(rows, f"{name}/", key=lambda row: paths[row].as_py())
    # The character that follows "/" in the order of paths
    return start, bisect_left(rows, f"{name}0", key=lambda row: paths[row].as_py())
