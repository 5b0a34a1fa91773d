"""The workload of a source: its images counted, and a few of their headers read."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from pomona.aws.workload import Workload
from pomona.errors import ImageError
from pomona.images.catalog import find_images
from pomona.images.sources.base import Source
from pomona.images.sources.bucket import BucketSource
from pomona.images.sources.local import LocalSource
from pomona.images.sources.registry import open_source
from pomona.progress import Progress, count
from pomona.s3.address import Access

# How many headers are read, of files that are no larger than this.
HEADERS, LARGEST_BYTES = 8, 64_000_000


def count_source(
    where: str,
    access: Access,
    progress: Progress,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    pixels: float | None = None,
) -> Workload:
    """Counts the images of a source and their bytes, and decodes none.

    Parameters
    ----------
    where : str
        A path or an address.
    access : Access
        How buckets are used.
    progress : Progress
        Who is told of files that are skipped.
    include, exclude : sequence of str
        As in `ExtractSettings`.
    pixels : float, optional
        The mean size in pixels. None: that of a few images, by their headers.

    Raises
    ------
    SourceError
        If there are no images, or the source cannot be read.
    ObjectStoreError
        If the bucket cannot be used.
    """
    source = open_source(where, access)
    catalog = find_images(source, progress, include=include, exclude=exclude)
    notes = []
    if pixels is None:
        seen = _sizes(source, catalog)
        if seen:
            pixels = sum(seen) / len(seen)
            notes.append(f"Their size in pixels is that of {count(len(seen), 'image')} of them.")
    if isinstance(source, LocalSource):
        notes.append(
            "They count as packed: run `pomona pack`, and upload the pack with "
            "`aws s3 cp --recursive`."
        )
    is_packed = not isinstance(source, BucketSource)
    if not is_packed:
        notes.append("Each of them is an object of its own, which costs a request.")
    return Workload(
        images=catalog.num_rows,
        image_bytes=max(1.0, pc.sum(catalog["size_bytes"]).as_py() / catalog.num_rows),
        pixels=pixels,
        packed=is_packed,
        notes=tuple(notes),
    )


def _sizes(source: Source, catalog: pa.Table) -> list[int]:
    """The pixels of a few images, evenly spread over the catalog; those that can be read."""
    rows = sorted({index * catalog.num_rows // HEADERS for index in range(HEADERS)})
    found = []
    for row in catalog.take(pa.array(rows)).to_pylist():
        if not 0 < row["size_bytes"] <= LARGEST_BYTES:
            continue
        try:
            header = io.BytesIO(source.fetch(row["path"], row["fingerprint"]))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(header) as image:
                    found.append(image.width * image.height)
        except (ImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue  # it will be an error row of the run
    return [size for size in found if size > 0]
