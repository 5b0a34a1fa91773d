"""The task of extraction: the images of some shards become their files in the store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pomona.backbones.network import Network
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
    """The payload of `extract`.

    Attributes
    ----------
    source : Source
        Where the images are read.
    files : Folder
        Where the store's files are read and written.
    recipe : Recipe
        How features are made.
    network : Network
        What images run through.
    image_timeout_s, max_pixels, allow_damaged
        What is taken of an image, as in `ExtractSettings`.
    """

    source: Source
    files: Folder
    recipe: Recipe
    network: Network
    image_timeout_s: float = IMAGE_TIMEOUT_S
    max_pixels: int = MAX_PIXELS
    allow_damaged: bool = False


@dataclass
class ExtractResult:
    """Counts of a task's images, and where the worker's time went.

    Attributes
    ----------
    features, errors : int
        Rows of each kind.
    ran : int
        Images that were read for the network, or found to be bad while they were decoded; the rows
        of the others are as the store had them.
    damaged : int
        Of these, those that gave features although they are damaged.
    seconds : dict
        Seconds of fetch, decode, network and write.
    """

    features: int = 0
    errors: int = 0
    ran: int = 0
    damaged: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


# So many bytes of images are read before they are decoded.
READ_BYTES = 2**22


def extract(shards: Sequence[Shard], payload: ExtractTask, attempt: int = 1) -> ExtractResult:
    """Brings the files of some shards to the plan: metadata/, errors/ and, last, features/.

    An image whose fingerprint or content is unchanged keeps its row; the others run through the
    network. An image that gives no features becomes a row of errors/.

    Parameters
    ----------
    shards : sequence of Shard
        The images of some parts.
    payload : ExtractTask
        What all tasks share.
    attempt : int
        From 2 on, a worker has died of these shards: each image is read in a process of its own.
    """
    watch, done = Stopwatch(), ExtractResult()
    store = Store(payload.files)
    parts = store.map_concurrent(lambda shard: _Part(store, shard, payload.recipe), shards)
    reader = Reader(
        payload.source,
        payload.image_timeout_s,
        payload.max_pixels,
        payload.recipe.side,
        allow_damaged=payload.allow_damaged,
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
            done.damaged += part.damaged
            done.features += len(part.rows) - len(part.errors)
    done.seconds.update(watch.seconds)
    return done


class _Part:
    """A shard at work: `rows` are its images with what is known of each, `errors` those of rows."""

    def __init__(self, store: Store, shard: Shard, recipe: Recipe) -> None:
        self._store, self._shard, self._recipe = store, shard, recipe
        self._known = KnownRows(store, shard, recipe)
        self.rows: list[dict[str, Any]] = shard.images.to_pylist()
        self.errors: dict[int, dict[str, Any]] = {}
        self.damaged = 0

    def to_fetch(self) -> Iterator[ImageRequest]:
        """The images that must be read, as far as their fingerprints tell."""
        for image in self.rows:
            copy = {**image, "sha256": self._known.sha256(image)}
            if self._known.recall(copy) is None:
                yield ImageRequest(image["path"], image["fingerprint"], image["size_bytes"] or 0)

    def run(self, images: ReadsImages, batches: Batches, watch: Stopwatch) -> int:
        """Fills rows, errors and batches; returns how many images go through the network."""
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
        """Whether the image's result is known; if so, it goes into errors or features."""
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
        """Decodes the files of rows that were read, and empties the list."""
        for row, data in read:
            try:
                with watch.timed("decode"):
                    decoded = images.decode(data)
            except ImageError as exc:
                self.errors[row] = _error(exc)
                continue
            self.rows[row].update(width=decoded.width, height=decoded.height, format=decoded.format)
            self.damaged += decoded.damage is not None
            batches.add(row, decoded.pixels)
            del decoded  # before the next one takes its memory
        read.clear()

    def check(self, features: npt.NDArray[np.float32]) -> None:
        """Turns rows of features, float32[rows, width], that are not finite into errors."""
        for row in np.flatnonzero(~np.isfinite(features).all(axis=1)).tolist():
            if row not in self.errors:
                self.errors[row] = _error(ImageError("network", "not_finite"))

    def write(self, features: npt.NDArray[np.float32]) -> None:
        write_part(self._store, self._shard, self._recipe, self.rows, self.errors, features)


def _error(exc: ImageError) -> dict[str, Any]:
    retryable = schemas.REASONS[exc.reason].retryable
    return {
        "stage": exc.stage,
        "reason": exc.reason,
        "detail": exc.detail or None,
        "retryable": retryable,
    }
