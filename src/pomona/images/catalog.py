"""The catalog: the images of a source that are meant, with their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from pomona.errors import SourceError
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
        skipped = f" (skipped {files})" if files else ""
        raise SourceError(f"no images in {source}{skipped}: check the path and `include`")
    if sync and scan.unlisted:
        raise SourceError(
            f"cannot list {scan.unlisted[0]}: `sync` needs the whole source; "
            "ask for permission to list it, or leave out `sync`"
        )
    for folder in scan.unlisted:
        progress.warn(f"cannot list {folder}: the images in it are not taken")
    for files in _in_words(scan.skipped):
        progress.note(f"skipped {files}")
    if labels is not None:
        catalog, warnings = apply_labels(catalog, labels)
        for warning in warnings:
            progress.warn(warning)
    return catalog if limit is None else spread_sample(catalog, limit, seed)


def _in_words(skipped: Mapping[str, int]) -> list[str]:
    """The files that a scan skipped: 2 files named *.txt."""
    return [f"{count(number, 'file')} {why}" for why, number in skipped.items()]
