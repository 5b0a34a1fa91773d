"""The task of extraction: the images of some shards become their files in the store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pomona.backbones.runtime import Network
from pomona.errors import ImageError
from pomona.extraction.batches import WAITING, Batches
from pomona.extraction.known_rows import KnownRows
from pomona.extraction.parts import write_part
from pomona.images.limits import IMAGE_TIMEOUT_S, MAX_PIXELS
from pomona.images.prefetch import ImageRequest
from pomona.images.reader import CarefulReader, Reader, ReadsImages
from pomona.images.sources.base import Source
from pomona.stopwatch import Stopwatch
from pomona.store import schemas
from pomona.store.folders.base import Folder
from pomona.store.plan import Shard
from pomona.store.recipe import Recipe
from pomona.store.store import Store


@dataclass(frozen=True)
class ExtractTask:
    """What `extract` needs beside a shard."""

    source: Source
    files: Folder
    recipe: Recipe
    network: Network
    image_timeout_s: float = IMAGE_TIMEOUT_S
    max_pixels: int = MAX_PIXELS


@dataclass
class ExtractResult:
    """What became of shards' images, and where the worker's time went.

    ran: how many went through the network; the others are as the store had them.
    """

    features: int = 0
    errors: int = 0
    ran: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


# Bytes of images that are read before they are decoded: fewer images where their files are large.
READ_BYTES = 2**22


def extract(shards: Sequence[Shard], payload: ExtractTask, attempt: int = 1) -> ExtractResult:
    """Brings shards' files to their generations: metadata/, errors/ and, on a disk last, features/.

    An image whose fingerprint, or else whose content, is what the store's files were made of
    keeps its row; the others run through the network. One that gives no features becomes a row
    of errors/. Where a worker died of these shards, the next attempt reads them carefully.
    """
    watch, done = Stopwatch(), ExtractResult()
    store = Store(payload.files)
    parts = store.map_concurrent(lambda shard: _Part(store, shard, payload.recipe), shards)
    reader = Reader(
        payload.source, payload.image_timeout_s, payload.max_pixels, payload.recipe.side
    )
    with (
        reader if attempt == 1 else CarefulReader(reader) as images,
        ThreadPoolExecutor(1) as thread,
    ):
        images.expect(image for part in parts for image in part.to_fetch())
        writing: Future[None] | None = None
        for part in parts:
            batches = Batches(len(part.rows), payload.network, payload.recipe, watch)
            done.ran += part.run(images, batches, watch)
            with store.files.lock_check_ahead():
                batches.flush()
            part.check(batches.features)
            with watch.timed("write"):
                if writing:
                    writing.result()
                if part is parts[-1]:
                    part.write(batches.features)
                else:  # while the next one runs
                    writing = thread.submit(part.write, batches.features)
            done.errors += len(part.errors)
            done.features += len(part.rows) - len(part.errors)
    done.seconds.update(watch.seconds)
    return done


class _Part:
    """A shard in payload. rows: its images with what is known of each; errors: row → its error."""

    def __init__(self, store: Store, shard: Shard, recipe: Recipe) -> None:
        self._store, self._shard, self._recipe = store, shard, recipe
        self._known = KnownRows(store, shard, recipe)
        self.rows: list[dict[str, Any]] = shard.images.to_pylist()
        self.errors: dict[int, dict[str, Any]] = {}

    def to_fetch(self) -> Iterator[ImageRequest]:
        """The images of which the store does not know by their fingerprint what becomes of them."""
        for image in self.rows:
            copy = {**image, "sha256": self._known.sha256(image)}
            if self._known.recall(copy) is None:
                yield ImageRequest(image["path"], image["fingerprint"], image["size_bytes"] or 0)

    def run(self, images: ReadsImages, batches: Batches, watch: Stopwatch) -> int:
        """Brings what is known, or was read, of each image into rows, errors and batches.

        Returns how many of them go through the network.
        """
        ran = 0
        read: list[tuple[int, bytes]] = []
        size = 0
        for row, image in enumerate(self.rows):
            image["sha256"] = self._known.sha256(image)
            if self._recall(row, batches.features):
                continue
            is_ready = images.is_ready(image["path"])
            if not is_ready or len(read) == WAITING or size > READ_BYTES:
                self._decode(read, images, batches, watch)
                size = 0
            if not is_ready:
                batches.flush()
            try:
                with watch.timed("fetch"):
                    data = images.fetch(image["path"], image["fingerprint"])
                    image["sha256"] = hashlib.sha256(data).hexdigest()
            except ImageError as exc:
                self.errors[row] = _error(exc)
                continue
            if not self._recall(row, batches.features):
                read.append((row, data))
                ran, size = ran + 1, size + len(data)
            del data  # before the next one takes its memory
        self._decode(read, images, batches, watch)
        return ran

    def _recall(self, row: int, features: npt.NDArray[np.float32]) -> bool:
        """Whether it is known what became of an image; brings it into errors or features."""
        found = self._known.recall(self.rows[row])
        if isinstance(found, dict):
            self.errors[row] = found
        elif found is not None:
            features[row] = found
        return found is not None

    def _decode(
        self,
        read: list[tuple[int, bytes]],
        images: ReadsImages,
        batches: Batches,
        watch: Stopwatch,
    ) -> None:
        """Empties `read`, rows and their files, into batches and errors."""
        for row, data in read:
            try:
                with watch.timed("decode"):
                    decoded = images.decode(data)
            except ImageError as exc:
                self.errors[row] = _error(exc)
                continue
            self.rows[row].update(width=decoded.width, height=decoded.height, format=decoded.format)
            batches.add(row, decoded.pixels)
            del decoded  # before the next one takes its memory
        read.clear()

    def check(self, features: npt.NDArray[np.float32]) -> None:
        """Makes an error of each row that is no finite numbers. features: float32[rows, width]."""
        for row in np.flatnonzero(~np.isfinite(features).all(axis=1)).tolist():
            if row not in self.errors:
                self.errors[row] = _error(ImageError("network", "not_finite"))

    def write(self, features: npt.NDArray[np.float32]) -> None:
        write_part(self._store, self._shard, self._recipe, self.rows, self.errors, features)


def _error(exc: ImageError) -> dict[str, Any]:
    retryable, _ = schemas.REASONS[exc.reason]
    return {
        "stage": exc.stage,
        "reason": exc.reason,
        "detail": exc.detail or None,
        "retryable": retryable,
    }
