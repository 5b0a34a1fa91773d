"""Features: a shard of images → its files in the store, and images in memory → an array."""

from __future__ import annotations

import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from pomona import schemas
from pomona.backbones import cache, registry
from pomona.backbones.registry import Backbone
from pomona.backbones.runtime import BATCH_SIZE, Network
from pomona.errors import BackboneError, ImageError
from pomona.plan import Shard
from pomona.recipe import Recipe
from pomona.sources.decode import Pixels, array_to_rgb, decode, resize, to_rgb
from pomona.sources.fetch import fetch
from pomona.store import Store, matrix, part_name


def make_recipe(backbone: Backbone, network: Network, fit: str) -> Recipe:
    """The recipe of features made by this network, with `fit` "stretch" or "crop"."""
    return Recipe(
        backbone=backbone.name,
        weights_sha256=backbone.weights_sha256,
        model_sha256=network.digest,
        input_size=network.input_size,
        width=network.width,
        fit=fit,
        crop_fraction=backbone.crop_fraction if fit == "crop" else None,
        runtime=network.runtime,
        precision=network.precision,
    )


@dataclass(frozen=True)
class Extraction:
    """What `extract` needs beside a shard."""

    source: str
    store_root: str
    recipe: Recipe
    network: Network


@dataclass(frozen=True)
class Extracted:
    """What became of a shard's images, and where the worker's time went.

    ran: how many went through the network; the others are as the store had them.
    """

    features: int
    errors: int
    ran: int
    seconds: dict[str, float]


@dataclass
class Stopwatch:
    """Seconds by what they were spent on."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += time.perf_counter() - start


class Batches:
    """Runs images through a network in batches; `features[row]` is there once `flush` returns.

    features: float32[rows, width].
    """

    def __init__(self, rows: int, network: Network, recipe: Recipe, watch: Stopwatch) -> None:
        side = network.input_size
        self.features = np.empty((rows, network.width), np.float32)
        self._network, self._recipe, self._watch = network, recipe, watch
        self._buffer = np.empty((min(rows, BATCH_SIZE), side, side, 3), np.uint8)
        self._rows: list[int] = []

    def add(self, row: int, pixels: Pixels) -> None:
        """Takes uint8[h, w, 3] for `row`."""
        square = self._buffer[len(self._rows)]
        with self._watch.timed("decode"):
            resize(pixels, square, fit=self._recipe.fit, crop_fraction=self._recipe.crop_fraction)
        self._rows.append(row)
        if len(self._rows) == len(self._buffer):
            self.flush()

    def flush(self) -> None:
        """Runs what is waiting."""
        if self._rows:
            with self._watch.timed("network"):
                batch = self._buffer[: len(self._rows)]
                self.features[self._rows] = self._network.features(batch)
            self._rows.clear()


class _Known:
    """What the store's files of a part say of its images, if they agree with one another."""

    def __init__(self, store: Store, part: int, recipe: Recipe) -> None:
        names = [part_name(table, part) for table in ("metadata", "errors", "features")]
        footers = [store.footer(name) or {} for name in names]
        origins = {(footer.get("generation"), footer.get("recipe")) for footer in footers}
        self.metadata: dict[str, dict[str, Any]] = {}
        self.errors: dict[str, dict[str, Any]] = {}
        self.features: dict[str, npt.NDArray[np.float32]] = {}
        if len(origins) == 1 and origins.pop()[1] == recipe.digest:
            metadata, errors, features = (store.read_table(name) for name in names)
            self.metadata = {row["path"]: row for row in metadata.to_pylist()}
            self.errors = {row["path"]: row for row in errors.to_pylist()}
            numbers = matrix(features, "features")
            self.features = dict(zip(features["path"].to_pylist(), numbers, strict=True))


def is_extracted(store: Store, shard: Shard, recipe: Recipe) -> bool:
    """Whether the shard's features are what the plan says."""
    wanted = _footer(shard, recipe)
    found = store.footer(part_name("features", shard.part)) or {}
    return {key: found.get(key) for key in wanted} == wanted


def _footer(shard: Shard, recipe: Recipe) -> dict[str, str]:
    return {"generation": shard.generation, "recipe": recipe.digest}


def extract(shard: Shard, work: Extraction) -> Extracted:
    """Brings a shard's files to its generation: metadata/, errors/ and, last, features/.

    An image whose fingerprint, or else whose content, is what the store's files were made of
    keeps its row; the others run through the network. One that gives no features becomes a row
    of errors/.
    """
    watch = Stopwatch()
    store = Store(work.store_root)
    known = _Known(store, shard.part, work.recipe)
    rows = shard.images.to_pylist()
    batches = Batches(len(rows), work.network, work.recipe, watch)
    errors: dict[int, dict[str, Any]] = {}
    ran = []
    for row, image in enumerate(rows):
        path = image["path"]
        old = known.metadata.get(path, {})
        try:
            if old and old["fingerprint"] == image["fingerprint"]:
                data, digest = b"", old["sha256"]
            else:
                with watch.timed("fetch"):
                    data = fetch(work.source, path)
                    digest = hashlib.sha256(data).hexdigest()
            image["sha256"] = digest
            if old and old["sha256"] == digest:
                image.update({key: old[key] for key in ("width", "height", "format")})
                if path in known.errors:
                    errors[row] = known.errors[path]
                else:
                    batches.features[row] = known.features[path]
                continue
            ran.append(row)
            with watch.timed("decode"):
                decoded = decode(data)
            image.update(width=decoded.width, height=decoded.height, format=decoded.format)
            batches.add(row, decoded.pixels)
        except ImageError as exc:
            errors[row] = _error(exc)
    batches.flush()
    for row in ran:
        if row not in errors and not np.isfinite(batches.features[row]).all():
            errors[row] = _error(ImageError("network", "not_finite"))
    with watch.timed("write"):
        write_part(store, shard, work.recipe, rows, errors, batches.features)
    return Extracted(len(rows) - len(errors), len(errors), len(ran), dict(watch.seconds))


def count_unknown(store: Store, shard: Shard, recipe: Recipe) -> int:
    """How many of the shard's images `extract` would read: new ones, and those that may differ."""
    known = _Known(store, shard.part, recipe).metadata
    return sum(
        known.get(image["path"], {}).get("fingerprint") != image["fingerprint"]
        for image in shard.images.to_pylist()
    )


def _error(exc: ImageError) -> dict[str, Any]:
    retryable, _ = schemas.REASONS[exc.reason]
    return {
        "stage": exc.stage,
        "reason": exc.reason,
        "detail": exc.detail or None,
        "retryable": retryable,
    }


def write_part(
    store: Store,
    shard: Shard,
    recipe: Recipe,
    rows: list[dict[str, Any]],
    errors: dict[int, dict[str, Any]],
    features: npt.NDArray[np.float32],
) -> None:
    """Writes a part's metadata/, errors/ and, last, features/.

    rows: the shard's images with what is known of each; errors: row → its error;
    features: float32[rows, width].
    """
    # What stands in csv/ is of the files to be replaced; `pca.project_part` writes it again.
    for name in ("metadata", "errors", "pca"):
        store.files.delete(part_name(f"csv/{name}", shard.part, "csv"))
    footer = _footer(shard, recipe)
    failed = [{**errors[row], **_identity(rows[row])} for row in sorted(errors)]
    good = np.array([row for row in range(len(rows)) if row not in errors], np.int64)
    metadata = pa.Table.from_pylist(rows, schemas.METADATA)
    numbers = pa.FixedSizeListArray.from_arrays(features[good].ravel(), recipe.width)
    columns = ["path", "label", "split", "width", "height"]
    table = metadata.select(columns).take(pa.array(good)).append_column("features", numbers)
    store.write_table(part_name("metadata", shard.part), metadata, footer)
    errors_table = pa.Table.from_pylist(failed, schemas.ERRORS)
    store.write_table(part_name("errors", shard.part), errors_table, footer)
    features_table = table.cast(schemas.features(recipe.width))
    store.write_table(part_name("features", shard.part), features_table, footer)


def _identity(image: dict[str, Any]) -> dict[str, Any]:
    return {key: image[key] for key in ("path", "label", "split", "fingerprint")}


def featurize(
    images: Sequence[str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8]],
    recipe: Recipe | None = None,
) -> npt.NDArray[np.float32]:
    """Images in memory → float32[n, width], exactly what a store of this recipe would hold.

    Each image is a path, the bytes of an image file, a Pillow image or a uint8[h, w, 3] array.
    Without a recipe: the default backbone, the whole image stretched.
    Raises ImageError for the first image that gives no features, BackboneError when the recipe's
    network is not to be had.
    """
    backbone = registry.get(recipe.backbone if recipe else registry.DEFAULT)
    network = cache.load(backbone)
    if recipe is None:
        recipe = make_recipe(backbone, network, "stretch")
    elif recipe.model_sha256 != network.digest:
        raise BackboneError(
            f"the recipe's {recipe.backbone} is not the one that this pomona builds: "
            "use the version of pomona that made the store"
        )
    batches = Batches(len(images), network, recipe, Stopwatch())
    for row, image in enumerate(images):
        try:
            batches.add(row, _pixels(image))
        except ImageError as exc:
            detail = f"image {row}: {exc.detail}".removesuffix(": ")
            raise ImageError(exc.stage, exc.reason, detail) from exc
    batches.flush()
    return batches.features


def _pixels(image: str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8]) -> Pixels:
    if isinstance(image, bytes):
        return decode(image).pixels
    if isinstance(image, Image.Image):
        return to_rgb(image)
    if isinstance(image, np.ndarray):
        return array_to_rgb(image)
    path = Path(image)
    return decode(fetch(str(path.parent), schemas.encode_path(path.name))).pixels
