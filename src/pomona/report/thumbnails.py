"""Thumbnails: the images that the page shows, as the network saw them, made small.

They are kept in the store, so that the page can be written again without the source. An image is
read in a process beside this one: a codec's crash costs a picture and nothing else.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

# The plugin saves; without it here, Pillow would import all that it has.
from PIL import Image, WebPImagePlugin  # noqa: F401

from pomona.engines.base import Engine, Failure
from pomona.engines.local import LocalEngine
from pomona.errors import ImageError, PomonaError, StoreError
from pomona.images.limits import MAX_PIXELS
from pomona.images.prefetch import ImageRequest, Prefetcher
from pomona.images.reader import CarefulReader, Reader, ReadsImages
from pomona.images.resize import resize
from pomona.images.sources.base import Source
from pomona.images.sources.registry import open_source
from pomona.store.layout import THUMBNAILS
from pomona.store.recipe import Recipe
from pomona.store.store import Store

SIDE = 72
QUALITY = 70
TIMEOUT_S = 10.0
# So many are taken from a pack with few requests.
TOGETHER = 256
# A worker draws so many at a time, of so many bytes where they are sent to it: to ask for a picture
# takes as long as to draw it.
BATCH, BATCH_BYTES = 16, 2**22
SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
    ]
)
# An image's path, its SHA-256, and its bytes where they are here already.
Given = tuple[str, str, bytes | None]


@dataclass(frozen=True)
class ThumbnailTask:
    """Where the images are, what the network's square is, and how much time there is.

    timeout_s: for an image; deadline: for what is to be read, by `time.monotonic`, one clock for
    all processes of a machine.
    """

    source: Source
    input_size: int
    fit: str
    crop_fraction: float | None
    max_pixels: int
    side: int | None
    timeout_s: float
    deadline: float


def provide(
    store: Store,
    source: str,
    recipe: Recipe,
    wanted: Mapping[str, str],
    limit_s: float,
    most_pixels: int = 0,
    engine: Engine | None = None,
) -> dict[str, bytes]:
    """WebP files by path, those kept and, as long as `limit_s` lasts, those made now.

    wanted: path → SHA-256 of the file, the most important first; no other stays in the store. A
    path is missing where its file is away, changed, or cannot be read any more. most_pixels: of
    the largest image that the store took in, which may be more than the usual limit; engine: as
    `report.write` takes it.
    """
    deadline = time.monotonic() + limit_s
    found = dict(_kept(store, wanted))
    kept = len(found)
    missing = [item for item in wanted.items() if item[0] not in found]
    if missing and recipe.input_size is not None:
        with contextlib.suppress(PomonaError):  # a source that is away costs the pictures
            drawing = ThumbnailTask(
                open_source(source, store.access),
                recipe.input_size,
                recipe.fit,
                recipe.crop_fraction,
                max(MAX_PIXELS, most_pixels),
                recipe.side,
                # One that hangs does so twice, and leaves time for the others.
                min(TIMEOUT_S, limit_s / 3),
                deadline,
            )
            with contextlib.ExitStack() as stack:
                if not isinstance(engine, LocalEngine):
                    engine = stack.enter_context(LocalEngine(1))
                found.update(_make(missing, drawing, engine))
    if not found:
        store.files.delete(THUMBNAILS)
    elif len(found) > kept or _rows(store) != kept:
        paths = sorted(found)
        columns = [paths, [wanted[path] for path in paths], [found[path] for path in paths]]
        store.write_table(THUMBNAILS, pa.table(columns, schema=SCHEMA))
    return found


def _kept(store: Store, wanted: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    try:
        table = store.read_table(THUMBNAILS).cast(SCHEMA)
    except (FileNotFoundError, StoreError, pa.ArrowException, ValueError):
        return
    for row in table.to_pylist():
        if wanted.get(row["path"]) == row["sha256"]:
            yield row["path"], row["image"]


def _rows(store: Store) -> int:
    return int((store.footer(THUMBNAILS) or {}).get("rows", -1))


def _make(
    items: list[tuple[str, str]], drawing: ThumbnailTask, engine: LocalEngine
) -> Iterator[tuple[str, bytes]]:
    """Pictures of (path, SHA-256), those that are wanted most first."""
    for first in range(0, len(items), TOGETHER):
        some = sorted(items[first : first + TOGETHER])  # as they lie in a pack
        drawing.source.expect(path for path, _ in some)
        batches = _batches(_given(some, drawing))
        for _, result in engine.map(draw, batches, drawing):
            if not isinstance(result, Failure):
                yield from result.items()
            elif result.error:
                raise result.error


def _given(items: list[tuple[str, str]], drawing: ThumbnailTask) -> Iterator[Given]:
    """What is drawn as long as there is time; with its bytes where they come from afar."""
    source = drawing.source
    wanted = (ImageRequest(path, None, 0) for path, _ in items)
    with contextlib.ExitStack() as stack:
        ahead = None
        if source.ahead > 1:
            ahead = stack.enter_context(
                contextlib.closing(Prefetcher(source.fetch, wanted, source.ahead))
            )
        for path, sha256 in items:
            left_s = drawing.deadline - time.monotonic()
            if left_s < 0:
                return
            try:
                data = ahead.take(path, None, left_s) if ahead else None
            except (ImageError, TimeoutError):
                continue
            yield path, sha256, data


def _batches(given: Iterator[Given]) -> Iterator[list[Given]]:
    batch: list[Given] = []
    for item in given:
        batch.append(item)
        if len(batch) == BATCH or sum(len(data or b"") for *_, data in batch) > BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def draw(batch: list[Given], drawing: ThumbnailTask, attempt: int = 1) -> dict[str, bytes]:
    """The thumbnails of files by path, without those of another SHA-256 or not decoded in time.

    Where a worker died of them, they are read carefully.
    """
    reader = Reader(drawing.source, drawing.timeout_s, drawing.max_pixels, drawing.side)
    with reader if attempt == 1 else CarefulReader(reader) as images:
        drawn = {item[0]: _draw(images, item, drawing) for item in batch}
    return {path: image for path, image in drawn.items() if image is not None}


def _draw(images: ReadsImages, item: Given, drawing: ThumbnailTask) -> bytes | None:
    path, sha256, data = item
    if data is None and time.monotonic() > drawing.deadline:
        return None
    try:
        data = images.fetch(path) if data is None else data
        if hashlib.sha256(data).hexdigest() != sha256:
            return None
        pixels = images.decode(data).pixels
    except ImageError:
        return None
    seen = np.empty((drawing.input_size, drawing.input_size, 3), np.uint8)
    resize(pixels, seen, fit=drawing.fit, crop_fraction=drawing.crop_fraction)
    small = np.empty((SIDE, SIDE, 3), np.uint8)
    resize(seen, small, fit="stretch", crop_fraction=None)
    buffer = io.BytesIO()
    Image.fromarray(small).save(buffer, "WEBP", quality=QUALITY, method=2)
    return buffer.getvalue()


def to_base64(images: Mapping[str, bytes]) -> dict[str, str]:
    """For `data:image/webp;base64,` addresses."""
    return {path: base64.b64encode(image).decode() for path, image in images.items()}
