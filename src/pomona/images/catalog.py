"""The catalog: the images of a source that are meant, with their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pomona.errors import NoImagesError, SourceError
from pomona.images.changes import Changes, rescan
from pomona.images.folders import PARENT, FolderRules, label_by_folders
from pomona.images.labels import apply_labels
from pomona.images.scan import Scan
from pomona.images.select import spread_sample
from pomona.images.sources.base import Lookable, Source
from pomona.progress import Progress, count


def find_images(
    source: Source,
    progress: Progress,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    labels: Path | None = None,
    folders: FolderRules | None = None,
    limit: int | None = None,
    seed: int = 0,
    sync: bool = False,
    changes: Changes | None = None,
) -> pa.Table:
    """Lists the images of a source, and reports the files that are left out.

    Parameters
    ----------
    source : Source
        Where the images are.
    progress : Progress
        Who is told of files that are skipped and of labels that do not match.
    folders : FolderRules, optional
        How folders become labels and splits. None: as they did for stores of pomona 0.1.0.
    include, exclude, labels, limit, seed, sync
        As in `ExtractSettings`.
    changes : Changes, optional
        What to look at alone, if the source can do that. None: at all.

    Returns
    -------
    pyarrow.Table
        The catalog, of schema `schemas.CATALOG`, sorted by path.

    Raises
    ------
    NoImagesError
        If there are no images.
    SourceError
        If the labels cannot be read, or `sync` is set and a folder cannot be listed.
    """
    if changes is not None and isinstance(source, Lookable):
        scan = rescan(source, changes, include, exclude)
    else:
        scan = source.scan(include, exclude)
    catalog = scan.catalog
    _check(scan, source, sync=sync)
    for folder in scan.unlisted:
        progress.warn(f"cannot list {folder}: the images in it are not taken")
    if folders is not None and not (scan.has_labels and folders.is_default):
        catalog = _label(catalog, folders, progress, scan.containers)
    notes = scan.notes
    if labels is not None:
        catalog, notes, warnings = apply_labels(catalog, labels)
        for warning in warnings:
            progress.warn(warning)
    for note in [*(f"skipped {files}" for files in _in_words(scan.skipped)), *notes]:
        progress.note(note)
    return catalog if limit is None else spread_sample(catalog, limit, seed)


def _check(scan: Scan, source: Source, *, sync: bool) -> None:
    """Raises SourceError for a source without images, or one that `sync` cannot be used on."""
    if not scan.catalog.num_rows:
        files = ", ".join(_in_words(scan.skipped))
        skipped = f" (skipped {files})" if files else ""
        raise NoImagesError(f"no images in {source}{skipped}: check the path and `include`")
    if sync and scan.unlisted:
        raise SourceError(
            f"cannot list {scan.unlisted[0]}: `sync` needs the whole source; "
            "ask for permission to list it, or leave out `sync`"
        )


def _label(
    catalog: pa.Table,
    folders: FolderRules,
    progress: Progress,
    containers: frozenset[str] | None,
) -> pa.Table:
    """The catalog with the labels of its folders; says what may not be meant so."""
    own = catalog
    catalog, notes = label_by_folders(catalog, folders, containers or frozenset())
    if containers is not None and folders.label_from == PARENT:
        for name in ("label", "split"):
            at = catalog.schema.get_field_index(name)
            values = pc.coalesce(own[name], catalog[name])
            catalog = catalog.set_column(at, catalog.schema.field(at), values)
    for note in notes:
        progress.note(note)
    if folders.pattern is not None and (unlabelled := catalog["label"].null_count):
        images = count(unlabelled, "image")
        progress.warn(f"{images} without a label: not matching `label_from`")
    return catalog


def _in_words(skipped: Mapping[str, int]) -> list[str]:
    """The files that a scan skipped: 2 files named *.txt."""
    return [f"{count(number, 'file')} {why}" for why, number in skipped.items()]
