"""Features: a shard of images → its files in the store, and images in memory → an array."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from pomona.backbones import cache, registry
from pomona.backbones.overrides import ModelOverrides
from pomona.backbones.runtime import Network
from pomona.backbones.spec import Backbone
from pomona.errors import BackboneError, ImageError, PomonaError, StoreDamagedError, UsageError
from pomona.images.decode import MAX_PIXELS, Pixels, array_to_rgb, decode, resize, to_rgb
from pomona.images.fetch import fetch
from pomona.images.prefetch import ImageRequest
from pomona.images.reader import IMAGE_TIMEOUT_S, CarefulReader, Reader, ReadsImages
from pomona.images.sources.base import Source
from pomona.stopwatch import Stopwatch
from pomona.store import schemas
from pomona.store.folders.base import Folder
from pomona.store.plan import Shard
from pomona.store.recipe import Recipe
from pomona.store.store import Store, derived_files, matrix, part_name, provenance

TABLES = ("metadata", "errors", "features")
# Images that are read, then decoded, then run, one after another: each work finds its own in the
# caches. Fewer where their files, or the network's squares, are large.
WAITING = 64
READ_BYTES = 2**22
WAITING_BYTES = 2**25


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


class Batches:
    """Runs images through a network in batches; `features[row]` is there once `flush` returns.

    features: float32[rows, width].
    """

    def __init__(self, rows: int, network: Network, recipe: Recipe, watch: Stopwatch) -> None:
        side = network.input_size
        self.features = np.empty((rows, network.width), np.float32)
        self._network, self._recipe, self._watch = network, recipe, watch
        waiting = max(1, min(rows, WAITING, WAITING_BYTES // (3 * side**2)))
        self._buffer = np.empty((waiting, side, side, 3), np.uint8)
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
    """What the store's files of a part say of its images.

    Each file is true for itself, whatever the generation it was written for: metadata/ says which
    content a fingerprint stood for, features/ what a content gave with its recipe, errors/ what
    was wrong with a file of its fingerprint. A file that is missing or damaged says nothing.
    """

    def __init__(self, store: Store, shard: Shard, recipe: Recipe) -> None:
        self._metadata: dict[str, dict[str, Any]] = {}
        self._errors: dict[str, dict[str, Any]] = {}
        self._features: dict[tuple[str, str], npt.NDArray[np.float32]] = {}
        if shard.is_new:
            return
        self._metadata, self._errors = store.map_concurrent(
            lambda table: {row["path"]: row for row in _rows(store, shard.part, table)},
            ("metadata", "errors"),
        )
        name = part_name("features", shard.part)
        if (store.footer(name) or {}).get("recipe") == recipe.digest:
            with contextlib.suppress(StoreDamagedError):
                table = store.read_table(name)
                made_of = zip(table["path"].to_pylist(), table["sha256"].to_pylist(), strict=True)
                self._features = dict(zip(made_of, matrix(table, "features"), strict=True))

    def sha256(self, image: dict[str, Any]) -> str | None:
        """Of the image's file as it was read, if its fingerprint is the same now."""
        row = self._metadata.get(image["path"], {})
        return row["sha256"] if row.get("fingerprint") == image["fingerprint"] else None

    def recall(self, image: dict[str, Any]) -> dict[str, Any] | npt.NDArray[np.float32] | None:
        """What became of this content: an error row, or features float32[width], or not known.

        Brings width, height and format into `image`.
        """
        path, sha256 = image["path"], image["sha256"]
        row = self._metadata.get(path)
        if row is None or row["sha256"] != sha256:
            return None
        if sha256 is None and row["fingerprint"] != image["fingerprint"]:
            return None  # it could not be read then; now perhaps it can
        error = self._errors.get(path)
        if error and error["fingerprint"] not in (image["fingerprint"], row["fingerprint"]):
            error = None
        found = self._features.get((path, sha256), error)
        if found is not None:
            image.update({key: row[key] for key in ("width", "height", "format")})
        return found


def _rows(store: Store, part: int, table: str) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = store.read_table(part_name(table, part)).to_pylist()
    except (FileNotFoundError, StoreDamagedError):
        return []
    return rows


def is_extracted(store: Store, shard: Shard, recipe: Recipe) -> bool:
    """Whether the shard's files are what the plan says, with a row for each image."""
    if shard.is_new:
        return False
    wanted = part_footer(shard, recipe)
    footers = [store.footer(part_name(table, shard.part)) or {} for table in TABLES]
    if any({key: footer.get(key) for key in wanted} != wanted for footer in footers):
        return False
    _, errors, features = (int(footer["rows"]) for footer in footers)
    return errors + features == len(shard.images)


def part_footer(shard: Shard, recipe: Recipe) -> dict[str, str]:
    """What the footers of a shard's files say once they are done."""
    return {"generation": shard.generation, "recipe": recipe.digest}


def extract(shards: Sequence[Shard], work: ExtractTask, attempt: int = 1) -> ExtractResult:
    """Brings shards' files to their generations: metadata/, errors/ and, on a disk last, features/.

    An image whose fingerprint, or else whose content, is what the store's files were made of
    keeps its row; the others run through the network. One that gives no features becomes a row
    of errors/. Where a worker died of these shards, the next attempt reads them carefully.
    """
    watch, done = Stopwatch(), ExtractResult()
    store = Store(work.files)
    parts = store.map_concurrent(lambda shard: _Part(store, shard, work.recipe), shards)
    reader = Reader(work.source, work.image_timeout_s, work.max_pixels, work.recipe.side)
    with (
        reader if attempt == 1 else CarefulReader(reader) as images,
        ThreadPoolExecutor(1) as thread,
    ):
        images.expect(image for part in parts for image in part.to_fetch())
        writing: Future[None] | None = None
        for part in parts:
            batches = Batches(len(part.rows), work.network, work.recipe, watch)
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
    """A shard in work. rows: its images with what is known of each; errors: row → its error."""

    def __init__(self, store: Store, shard: Shard, recipe: Recipe) -> None:
        self._store, self._shard, self._recipe = store, shard, recipe
        self._known = _Known(store, shard, recipe)
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


def find_errors(store: Store, plan: pa.Table, catalog: pa.Table, which: str) -> set[str]:
    """The paths of the catalog's images that have an error row; which: "retryable" or "all"."""
    tables = [schemas.ERRORS.empty_table()]
    for part, rows in store.rows_by_part("errors", plan).items():
        if rows:
            tables.append(store.read_table(part_name("errors", part)))
    errors = pa.concat_tables(tables)
    if which != "all":
        errors = errors.filter(pc.field("retryable"))
    return set(catalog["path"].filter(pc.is_in(catalog["path"], errors["path"])).to_pylist())


def drop_errors(store: Store, plan: pa.Table, paths: set[str]) -> None:
    """Takes the rows of these images out of errors/.

    A part that lacks a row is not done: `extract` reads these images again, in this run or, if
    it is stopped, in the next.
    """
    for part, rows in store.rows_by_part("errors", plan).items():
        name = part_name("errors", part)
        table = store.read_table(name) if rows else schemas.ERRORS.empty_table()
        stays = [path not in paths for path in table["path"].to_pylist()]
        kept = table.filter(pa.array(stays, pa.bool_()))
        if kept.num_rows < table.num_rows:
            store.write_table(name, kept, provenance(store.footer(name)))


def count_unknown(
    store: Store, shard: Shard, recipe: Recipe, besides: Set[str] = frozenset()
) -> int:
    """How many of the shard's images `extract` would read: new ones, and those that may differ.

    besides: paths that do not count.
    """
    known = _Known(store, shard, recipe)
    images = [image for image in shard.images.to_pylist() if image["path"] not in besides]
    for image in images:
        image["sha256"] = known.sha256(image)
    return sum(known.recall(image) is None for image in images)


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
    """Writes a part's metadata/, errors/ and features/.

    rows: the shard's images with what is known of each; errors: row → its error;
    features: float32[rows, width].
    """
    if not shard.is_new:
        # What was made of the files to be replaced goes first; `pca.project` writes it again.
        store.files.delete(*derived_files(shard.part))
    footer = part_footer(shard, recipe)
    failed = [{**errors[row], **_identity(rows[row])} for row in sorted(errors)]
    good = np.array([row for row in range(len(rows)) if row not in errors], np.int64)
    metadata = pa.Table.from_pylist(rows, schemas.METADATA)
    numbers = pa.FixedSizeListArray.from_arrays(features[good].ravel(), recipe.width)
    columns = ["path", "label", "split", "width", "height", "sha256"]
    table = metadata.select(columns).take(pa.array(good)).append_column("features", numbers)
    tables = {
        "metadata": metadata,
        "errors": pa.Table.from_pylist(failed, schemas.ERRORS),
        "features": table.cast(schemas.features(recipe.width)),
    }
    store.map_concurrent(
        lambda name: store.write_table(part_name(name, shard.part), tables[name], footer), TABLES
    )


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
    network is not to be had, UsageError for a single image.
    """
    if isinstance(images, (str, bytes, os.PathLike, Image.Image)):
        raise UsageError("featurize takes a list of images: put the one into brackets")
    if not isinstance(recipe, Recipe | None):
        raise UsageError(f"featurize takes a Recipe, as store.recipe, not {recipe!r}")
    if recipe is not None and recipe.input_size is None:
        raise BackboneError("these features were imported: only what made them can make more")
    name = recipe.backbone if recipe else registry.DEFAULT
    try:
        backbone = registry.get(
            name, ModelOverrides(input_size=recipe.input_size if recipe else None)
        )
    except PomonaError as exc:
        if not name.endswith(".onnx"):
            raise
        raise BackboneError(
            f"these features are of a file {name}: `pomona backbones export FILE.onnx {name}` with "
            "the flags of its run makes one, in the current folder, that says how it is read"
        ) from exc
    network = cache.load(backbone)
    if recipe is not None:
        runtime, precision = (
            recipe.runtime or network.runtime,
            recipe.precision or network.precision,
        )
        network = dataclasses.replace(network, runtime=runtime, precision=precision)
    if recipe is None:
        recipe = make_recipe(backbone, network, "stretch")
    elif recipe.model_sha256 != network.digest:
        raise BackboneError(
            f"the recipe's {recipe.backbone} is not the one that this pomona has: "
            "use the version and the weights that made the store"
        )
    batches = Batches(len(images), network, recipe, Stopwatch())
    for row, image in enumerate(images):
        try:
            batches.add(row, _pixels(image, recipe.side))
        except ImageError as exc:
            name = f" ({image})" if isinstance(image, (str, os.PathLike)) else ""
            detail = f"image {row}{name}: {exc.detail}".removesuffix(": ")
            raise ImageError(exc.stage, exc.reason, detail) from exc
    batches.flush()
    return batches.features


def _pixels(
    image: str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8], side: int | None
) -> Pixels:
    if isinstance(image, bytes):
        return decode(image, side=side).pixels
    if isinstance(image, Image.Image):
        return to_rgb(image)
    if isinstance(image, np.ndarray):
        return array_to_rgb(image)
    path = Path(image)
    data = fetch(str(path.parent), schemas.encode_path(path.name))
    return decode(data, side=side).pixels
