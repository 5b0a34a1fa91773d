"""The work of the stages on the executors: Arrow batches in, Arrow batches out.

Nothing here imports `pyspark.ml`, which would cost each worker 0.7 s and 30 MB.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark import TaskContext

from pomona.backbones.network import Network
from pomona.errors import BackboneError, ImageError, UsageError
from pomona.extraction.batches import Batches
from pomona.images.reader import CarefulReader, Reader, ReadsImages
from pomona.pca.moments import Moments, measure, merge
from pomona.pca.projection import Projection
from pomona.spark.vectors import Matrix, to_matrix, to_vectors
from pomona.stopwatch import Stopwatch
from pomona.store.recipe import Recipe
from pomona.store.schemas import encode_path

if TYPE_CHECKING:
    from pyspark import Broadcast

# A task's results go in small batches, whatever Spark's are: 64 images make 0.7 MB.
IMAGE_ROWS = 64
VECTOR_ROWS = 2048

_networks: dict[tuple[str, int], Network] = {}


def network_of(sent: Broadcast[Network], digest: str, threads: int) -> Network:
    """Returns the broadcast network: one for all tasks of this process, so with one session.

    Parameters
    ----------
    sent : Broadcast
        The network.
    digest : str
        SHA-256 of its model, in hexadecimal.
    threads : int
        How many it may use.

    Raises
    ------
    BackboneError
        If it arrived damaged.
    """
    key = digest, threads
    if key not in _networks:
        network = sent.value
        if hashlib.sha256(network.model).hexdigest() != digest:
            raise BackboneError(
                f"the network arrived damaged (not SHA-256 {digest}): run the job again"
            )
        _networks[key] = network
    return _networks[key]


@dataclass(frozen=True)
class FeaturizeTask:
    """The payload of `featurize_batches`.

    Parameters
    ----------
    column : str
        The column of paths or of bytes.
    recipe : Recipe
        Decides the features.
    network : Broadcast
        What computes them.
    threads : int
        How many the network may use.
    on_error : {"keep", "drop", "fail"}
        What becomes of an image that gives no features.
    """

    column: str
    recipe: Recipe
    network: Broadcast[Network]
    threads: int
    on_error: str


def featurize_batches(
    batches: Iterable[pa.RecordBatch], payload: FeaturizeTask
) -> Iterator[pa.RecordBatch]:
    """Yields the batches in pieces, with a column of vectors and, to keep errors, one of reasons.

    If a worker died of a task (a codec crashed, or hung), its next attempt reads carefully.

    Parameters
    ----------
    batches : iterable of pyarrow.RecordBatch
        The rows of a partition.
    payload : FeaturizeTask
        What is done with them.

    Raises
    ------
    ImageError
        For the first image that gives no features, if `on_error` is "fail".
    """
    cv2.setNumThreads(payload.threads)
    network = network_of(payload.network, payload.recipe.model_sha256 or "", payload.threads)
    reader, context = Reader("/", side=payload.recipe.side), TaskContext.get()
    with CarefulReader(reader) if context and context.attemptNumber() else reader as images:
        for batch in _pieces(batches, IMAGE_ROWS):
            matrix, errors = _features(
                batch.column(payload.column), images, network, payload.recipe
            )
            if errors and payload.on_error == "fail":
                row = min(errors)
                raise _failure(errors[row], batch, row, payload.column)
            present = np.array([row not in errors for row in range(batch.num_rows)])
            matrix = matrix[present]
            columns = []
            if payload.on_error == "drop":
                batch, present = batch.filter(pa.array(present)), present[present]
            elif payload.on_error == "keep":
                of_rows = (errors.get(row) for row in range(batch.num_rows))
                columns = [pa.array([exc and exc.reason for exc in of_rows], pa.string())]
            yield _appended(batch, [to_vectors(matrix, present), *columns])


def _features(
    column: pa.Array, images: ReadsImages, network: Network, recipe: Recipe
) -> tuple[npt.NDArray[np.float32], dict[int, ImageError]]:
    """Returns float32[rows, width], and the errors of the rows that mean nothing in it."""
    batches = Batches(len(column), network, recipe, Stopwatch())
    errors: dict[int, ImageError] = {}
    for row, image in enumerate(column):
        try:
            batches.add(row, images.decode(_data(image.as_py(), column.type, images)).pixels)
        except ImageError as exc:
            errors[row] = exc
    batches.flush()
    for row in range(len(column)):
        if row not in errors and not np.isfinite(batches.features[row]).all():
            errors[row] = ImageError("network", "not_finite")
    return batches.features, errors


def _data(image: str | bytes | None, kind: pa.DataType, images: ReadsImages) -> bytes:
    if isinstance(image, bytes):
        return image
    if image is None and not _is_text(kind):
        raise ImageError("fetch", "empty")
    path = _local(image or "")
    if not path.startswith("/") or "\0" in path:
        raise ImageError("fetch", "not_found")
    return images.fetch(encode_path(path))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _local(path: str) -> str:
    """Returns a path as the file system knows it, of Spark's file:/a or file:///a."""
    return path.removeprefix("file://").removeprefix("file:")


def _failure(exc: ImageError, batch: pa.RecordBatch, row: int, column: str) -> ImageError:
    """Returns the error with the image's name in it, if the table has one, and a remedy."""
    texts = [field.name for field in batch.schema if _is_text(field.type)]
    named = next((name for name in (column, "path") if name in texts), None)
    name = named and batch.column(named)[row].as_py()
    detail = f"{name or f'an image of column {column!r}'}{exc.detail and f' ({exc.detail})'}"
    remedy = 'repair it, or set onError to "keep" or "drop"'
    return ImageError(exc.stage, exc.reason, f"{detail}: {remedy}")


def _pieces(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)


def _appended(batch: pa.RecordBatch, columns: list[pa.Array]) -> pa.RecordBatch:
    # By position: the names are those of the schema that Spark was given.
    names = [*batch.schema.names, *(f"_{index}" for index in range(len(columns)))]
    return pa.RecordBatch.from_arrays([*batch.columns, *columns], names)


def project_batches(
    batches: Iterable[pa.RecordBatch], column: str, sent: Broadcast[Projection]
) -> Iterator[pa.RecordBatch]:
    """Yields the batches in pieces, with a column of their projected vectors; null stays null.

    Parameters
    ----------
    batches : iterable of pyarrow.RecordBatch
        The rows of a partition.
    column : str
        The column of vectors.
    sent : Broadcast
        The projection.

    Raises
    ------
    UsageError
        If the vectors are not of the projection's width.
    """
    projection: Projection = sent.value
    for batch in _pieces(batches, VECTOR_ROWS):
        vectors = batch.column(column)
        present = vectors.is_valid().to_numpy(zero_copy_only=False)
        matrix = to_matrix(vectors)
        if len(matrix) and matrix.shape[1] != len(projection.mean):
            raise UsageError(
                f"the vectors of {column!r} have {matrix.shape[1]} numbers, those that the PCA "
                f"was fitted on {len(projection.mean)}: give it the column that it was fitted on"
            )
        matrix = matrix.reshape(-1, len(projection.mean))
        yield _appended(batch, [to_vectors(projection.apply(matrix), present)])


# Moments: of a partition, then of some partitions together, then of fewer, until there is one.


def measure_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yields one row: the pickled `summary` of a partition's vectors, its only column."""
    matrices = (to_matrix(batch.column(0)) for batch in _pieces(batches, VECTOR_ROWS))
    total = summary(matrix for matrix in matrices if len(matrix))
    if total is not None:
        pickled = pa.array([pickle.dumps(total, protocol=5)], pa.binary())
        yield pa.RecordBatch.from_arrays([pickled], ["summary"])


def merge_summaries(
    group: int, numbered: Iterable[tuple[int, bytes]]
) -> Iterator[tuple[int, bytes]]:
    """Yields one pickled summary of some partitions', merged in the order of their numbers."""
    ordered = sorted(numbered, key=itemgetter(0))
    # From this application's own tasks, through Spark's shuffle, which pickles as well.
    total = summary(pickle.loads(part) for _, part in ordered)  # noqa: S301
    if total is not None:
        yield group, pickle.dumps(total, protocol=5)


def summary(parts: Iterable[Matrix | Moments]) -> Matrix | Moments | None:
    """Merges the moments of parts in their order.

    Parameters
    ----------
    parts : iterable of float64[n, width] or Moments
        Of one width.

    Returns
    -------
    float64[n, width], Moments or None
        The rows themselves while they are fewer than they are wide, for they are smaller: a
        scatter of 1,280 is 13 MB, and a partition of `binaryFile` holds as few as 32 images. None
        without parts.
    """
    total: Moments | None = None
    waiting: list[Matrix] = []
    for part in parts:
        if isinstance(part, Moments):
            total = part if total is None else merge(total, part)
            continue
        waiting.append(part)
        if sum(map(len, waiting)) >= VECTOR_ROWS:
            total = moments_of(waiting, total)
            waiting = []
    if total is None and waiting and sum(map(len, waiting)) < waiting[0].shape[1]:
        return _joined(waiting)
    return moments_of(waiting, total) if waiting else total


def moments_of(rows: list[Matrix], total: Moments | None = None) -> Moments:
    """Returns the moments of `total` and of these rows together."""
    moments = measure(_joined(rows))
    return moments if total is None else merge(total, moments)


def _joined(rows: list[Matrix]) -> Matrix:
    widths = {each.shape[1] for each in rows}
    if len(widths) > 1:
        raise UsageError(f"vectors of one width wanted, not of {min(widths)} and {max(widths)}")
    return rows[0] if len(rows) == 1 else np.concatenate(rows)
