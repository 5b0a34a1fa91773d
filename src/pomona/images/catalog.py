"""The catalog: the images of a source that are meant, with their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pomona.errors import SourceError
from pomona.images.folders import PARENT, FolderRules, label_by_folders
from pomona.images.labels import apply_labels
from pomona.images.select import spread_sample
from pomona.images.sources.base import Source
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

    Returns
    -------
    pyarrow.Table
        The catalog, of schema `schemas.CATALOG`, sorted by path.

    Raises
    ------
    SourceError
        If there are no images, the labels cannot be read, or `sync` is set and a folder cannot
        be listed.
    """
    scan = source.scan(include, exclude)
    catalog = scan.catalog
    if not catalog.num_rows:
        files = ", ".join(_in_words(scan.skipped))
        where = f"{source} (skipped {files})" if files else source
        raise SourceError(f"no images in {where}: check the path and `include`")
    if sync and scan.unlisted:
        raise SourceError(
            f"cannot list {scan.unlisted[0]}: `sync` needs the whole source; "
            "ask for permission to list it, or leave out `sync`"
        )
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
