"""Thumbnails: the images that the report shows, as the network sees them, made small.

They are kept in the store, so that the report can be written again without the source. An image
is decoded in a worker process: a codec that crashes costs a picture and nothing else.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa

# The plugin saves; without it here, Pillow would import all that it has.
from PIL import Image, WebPImagePlugin  # noqa: F401

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
# What a worker draws at a time: to send it a picture alone takes as long as to draw it.
BATCH, BATCH_BYTES = 16, 2**22
SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
    ]
)
# An image's path, its SHA-256, and its bytes where the driver has fetched them.
ImageFile = tuple[str, str, bytes | None]

Item = TypeVar("Item")
Payload = TypeVar("Payload")
Result = TypeVar("Result")


class MapHere(Protocol):
    """Runs a task in worker processes on this machine, where the source can be read."""

    def __call__(
        self,
        task: Callable[[Item, Payload, int], Result],
        items: Iterable[Item],
        payload: Payload,
        /,
    ) -> Iterator[Result]:
        """Runs a task for each item.

        Parameters
        ----------
        task : callable
            A function of a module: `task(item, payload, attempt)`. attempt is 1 at first, and one
            more after each worker that died of the item.
        items : iterable
            What the task is called with.
        payload : object
            What each call gets besides.

        Yields
        ------
        object
            The results as they complete. An item that killed every worker it was given to has
            none.

        Raises
        ------
        Exception
            What a task raised.
        """
        ...


@dataclass(frozen=True)
class ThumbnailTask:
    """How thumbnails are drawn.

    Attributes
    ----------
    source : Source
        Where the images are.
    input_size, fit, crop_fraction
        The square that the network sees: its side in pixels, and how an image is fitted to it.
    max_pixels, side : int
        The largest image that is decoded, and the side that a JPEG is decoded for.
    timeout_s : float
        How long an image may take.
    deadline : float
        When no further image is read, by `time.monotonic`: one clock for all processes of a
        machine.
    """

    source: Source
    input_size: int
    fit: str
    crop_fraction: float | None
    max_pixels: int
    side: int | None
    timeout_s: float
    deadline: float

    @classmethod
    def of(
        cls, source: Source, recipe: Recipe, *, limit_s: float, most_pixels: int = 0
    ) -> ThumbnailTask:
        """Returns how the images of a source are drawn; the recipe is not that of imported ones.

        Parameters
        ----------
        source, recipe
            Where the images are, and how the network sees them.
        limit_s : float
            How many seconds all of them may take.
        most_pixels : int
            Width times height of the largest image, which may be above the usual limit.
        """
        assert recipe.input_size is not None  # noqa: S101 - see above
        return cls(
            source,
            recipe.input_size,
            recipe.fit,
            recipe.crop_fraction,
            max(MAX_PIXELS, most_pixels),
            recipe.side,
            # An image that hangs does so twice, and leaves time for the others.
            min(TIMEOUT_S, limit_s / 3),
            time.monotonic() + limit_s,
        )


def provide(
    store: Store,
    source: str,
    recipe: Recipe,
    wanted: Mapping[str, str],
    *,
    limit_s: float,
    map_here: MapHere,
    most_pixels: int = 0,
    file: str = THUMBNAILS,
    keep: bool = True,
) -> dict[str, bytes]:
    """Reads thumbnails from the store, and makes those that it does not have.

    Those that are not wanted are removed from the store, if it is to keep them.

    Parameters
    ----------
    store : Store
        The store, open for writing.
    source, recipe
        Where the images are, and how the network sees them.
    wanted : mapping of str to str
        The SHA-256 of each image's file by its path, the most important first.
    limit_s : float
        How many seconds it may take to make thumbnails.
    map_here : MapHere
        Runs the task, if thumbnails are missing.
    most_pixels : int
        Width times height of the store's largest image, which may be above the usual limit.
    file : str
        The store's file that keeps them: one for each page.
    keep : bool
        Whether the store keeps them; otherwise it need not be open for writing.

    Returns
    -------
    dict
        WebP files by path, but for files that are away, have changed or cannot be decoded, and for
        which there was no time.
    """
    images = dict(_kept(store, file, wanted))
    kept = len(images)
    missing = [item for item in wanted.items() if item[0] not in images]
    if missing and recipe.input_size is not None:
        with contextlib.suppress(PomonaError):  # a source that is away costs the pictures
            opened = open_source(source, store.access)
            drawing = ThumbnailTask.of(opened, recipe, limit_s=limit_s, most_pixels=most_pixels)
            images.update(_make(missing, drawing, map_here))
    if keep and (not images or len(images) > kept or _rows(store, file) != kept):
        _save(store, file, images, wanted)
    return images


def _save(store: Store, file: str, images: Mapping[str, bytes], wanted: Mapping[str, str]) -> None:
    if not images:
        store.files.delete(file)
        return
    paths = sorted(images)
    columns = [paths, [wanted[path] for path in paths], [images[path] for path in paths]]
    store.write_table(file, pa.table(columns, schema=SCHEMA))


def _kept(store: Store, file: str, wanted: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    try:
        table = store.read_table(file).cast(SCHEMA)
    except (FileNotFoundError, StoreError, pa.ArrowException, ValueError):
        return
    for row in table.to_pylist():
        if wanted.get(row["path"]) == row["sha256"]:
            yield row["path"], row["image"]


def _rows(store: Store, file: str) -> int:
    return int((store.footer(file) or {}).get("rows", -1))


def _make(
    items: list[tuple[str, str]], drawing: ThumbnailTask, map_here: MapHere
) -> Iterator[tuple[str, bytes]]:
    """Thumbnails of (path, SHA-256), the most important first."""
    for first in range(0, len(items), TOGETHER):
        some = sorted(items[first : first + TOGETHER])  # as they lie in a pack
        drawing.source.expect(ImageRequest(path, None, 0) for path, _ in some)
        for thumbnails in map_here(draw, _batches(_files(some, drawing)), drawing):
            yield from thumbnails.items()


def _files(items: list[tuple[str, str]], drawing: ThumbnailTask) -> Iterator[ImageFile]:
    """The files to draw, as long as there is time, with their bytes where they come from afar."""
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


def _batches(files: Iterator[ImageFile]) -> Iterator[list[ImageFile]]:
    batch: list[ImageFile] = []
    for item in files:
        batch.append(item)
        if len(batch) == BATCH or sum(len(data or b"") for *_, data in batch) > BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def draw(batch: list[ImageFile], drawing: ThumbnailTask, attempt: int = 1) -> dict[str, bytes]:
    """Draws thumbnails: the task that runs in a worker.

    Parameters
    ----------
    batch : list of (str, str, bytes or None)
        The path, the SHA-256 and, if they are here already, the bytes of each file.
    drawing : ThumbnailTask
        How they are drawn.
    attempt : int
        From the second on, images are read carefully: a worker has died of them.

    Returns
    -------
    dict
        WebP files by path, without those that have another SHA-256 or could not be decoded in time.
    """
    reader = Reader(drawing.source, drawing.timeout_s, drawing.max_pixels, drawing.side)
    with reader if attempt == 1 else CarefulReader(reader) as images:
        drawn = {item[0]: _draw(images, item, drawing) for item in batch}
    return {path: image for path, image in drawn.items() if image is not None}


def _draw(images: ReadsImages, item: ImageFile, drawing: ThumbnailTask) -> bytes | None:
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
    """Encodes images by path, for `data:image/webp;base64,` addresses."""
    return {path: base64.b64encode(image).decode() for path, image in images.items()}
