"""Upload: images of a source become objects of a bucket, by default without their metadata.

An image is sent unless the object has its content already, by its ETag or, where that does not
tell, by its bytes. So the same command goes on after a stop, and sends nothing if nothing changed.
"""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from pomona.errors import ImageError, ObjectStoreError, UsageError
from pomona.images.catalog import find_images
from pomona.images.prefetch import ImageRequest
from pomona.images.reader import CarefulReader, Reader, ReadsImages
from pomona.images.sources.base import Source
from pomona.images.sources.registry import open_source
from pomona.images.stripping.strip import strip_decodable
from pomona.pipeline.context import RunSettings, run_tasks
from pomona.progress import count, duration
from pomona.s3.address import Address, is_bucket
from pomona.s3.bucket import Bucket, open_bucket
from pomona.s3.etag import etag_of
from pomona.s3.objects import Listed
from pomona.store.plan import Shard, make_plan, shards
from pomona.store.schemas import decode_path

AT_ONCE, AHEAD_BYTES = 16, 64 * 2**20
MAX_KEY_BYTES = 1024
DAY_S = 86_400.0
# Reasons why pomona reads no pixels of an image that may be sound.
_SOUND = ("unsupported", "too_large", "out_of_memory")


@dataclass(frozen=True)
class UploadSettings:
    """Which images to send, and whether without their metadata."""

    source: str | Path
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    strip_metadata: bool = True
    allow_damaged: bool = False


@dataclass(frozen=True)
class Refused:
    """An image that was not sent; reason: one of `schemas.REASONS`, or "name"."""

    path: str
    reason: str
    detail: str


@dataclass(frozen=True)
class UploadSummary:
    """What was sent, or in a dry run would be; there: images that were up to date already."""

    source: str
    to: str
    images: int
    sent: int
    sent_bytes: int
    there: int
    refused: list[Refused]
    seconds: float
    dry_run: bool

    def in_words(self) -> str:
        """The text for a person."""
        there = f"{self.there:,} are there already"
        size = f"{self.sent_bytes / 1e6:,.1f} MB"
        if self.dry_run:
            lines = [f"{count(self.images, 'image')}: {self.sent:,} to send, {size}; {there}"]
        else:
            lines = [
                f"{count(self.sent, 'image')} sent, {size} in {duration(self.seconds)}; {there}"
            ]
        if self.refused:
            lines.append(f"  not sent  {self.complaint()}")
        return "\n".join(lines + ["Nothing was sent."] * self.dry_run)

    def complaint(self) -> str:
        """How many were refused, and why."""
        reasons = Counter(refused.reason for refused in self.refused)
        counts = ", ".join(f"{number:,} {reason}" for reason, number in sorted(reasons.items()))
        return f"{len(self.refused):,} ({counts}), such as {self.refused[0].path}"


@dataclass(frozen=True)
class UploadBatch:
    """Some images, and for each the object under its key, or None."""

    shard: Shard
    found: list[Listed | None]


@dataclass(frozen=True)
class UploadTask:
    """The payload of `send`."""

    source: Source
    bucket: Bucket
    address: Address
    uploading: UploadSettings
    dry_run: bool


@dataclass(frozen=True)
class UploadResult:
    """Counts of a batch, and the images that were refused."""

    sent: int
    sent_bytes: int
    there: int
    refused: list[Refused]


def upload(
    to: str | Path, uploading: UploadSettings, settings: RunSettings, *, dry_run: bool = False
) -> UploadSummary:
    """Sends the images that are new or changed.

    An image is refused if it cannot be read or stripped, if it is damaged, by the rule that a run
    has, or if its name cannot be a key.

    Parameters
    ----------
    to : str or Path
        The address to send to.
    uploading : UploadSettings
        Which images to send.
    settings : RunSettings
        How the command runs.
    dry_run : bool
        Whether to send nothing.

    Raises
    ------
    UsageError, SourceError, ObjectStoreError, EngineError
        If source or bucket cannot be used.
    """
    start = time.perf_counter()
    if not is_bucket(to):
        raise UsageError(f"{to} is not an address: give s3://BUCKET or s3://BUCKET/PREFIX")
    address = Address.parse(str(to))
    bucket = open_bucket(address, settings.access)
    source = open_source(uploading.source, settings.access)
    catalog = find_images(
        source, settings.progress, include=uploading.include, exclude=uploading.exclude
    )
    objects = {each.key: each for each in bucket.list_all(address.folder)}
    if not dry_run:
        keys = {address.key(decode_path(path)) for path in catalog["path"].to_pylist()}
        _end_old_uploads(bucket, address, keys)
    batches = [
        UploadBatch(shard, [objects.get(address.key(decode_path(path))) for path in _paths(shard)])
        for shard in shards(make_plan(catalog))
    ]
    payload = UploadTask(source.absolute(), bucket, address, uploading, dry_run)
    results = _run(settings, batches, payload)
    refused = [refused for result in results for refused in result.refused]
    return UploadSummary(
        source=str(source),
        to=str(address),
        images=catalog.num_rows,
        sent=sum(result.sent for result in results),
        sent_bytes=sum(result.sent_bytes for result in results),
        there=sum(result.there for result in results),
        refused=sorted(refused, key=lambda each: each.path),
        seconds=round(time.perf_counter() - start, 3),
        dry_run=dry_run,
    )


def _run(
    settings: RunSettings, batches: list[UploadBatch], payload: UploadTask
) -> list[UploadResult]:
    with settings.engine:
        return [
            result
            for _, result in run_tasks(
                settings,
                "upload",
                send,
                batches,
                payload,
                images=lambda batch: batch.shard.images.num_rows,
                errors=lambda result: len(result.refused),
            )
        ]


def _paths(shard: Shard) -> list[str]:
    paths: list[str] = shard.images["path"].to_pylist()
    return paths


def _end_old_uploads(bucket: Bucket, address: Address, keys: set[str]) -> None:
    """Removes the pieces of killed uploads to these keys.

    Other keys belong to other programs, and uploads of this day may still be going on.
    """
    try:
        bucket.abort_uploads(address.folder, keys.__contains__, older_than_s=DAY_S)
    except ObjectStoreError:  # not everybody has the right to
        return


def send(part: UploadBatch, payload: UploadTask, attempt: int = 1) -> UploadResult:
    """Puts the images of a batch into the bucket, several at once, unless they are there."""
    refused: list[Refused] = []
    sent = sent_bytes = 0
    rows = part.shard.images.to_pylist()
    waiting: dict[Future[None], int] = {}
    # To find damage, the least size of a picture will do.
    reader = Reader(payload.source, side=1, allow_damaged=payload.uploading.allow_damaged)
    with (
        ThreadPoolExecutor(AT_ONCE) as threads,
        reader if attempt == 1 else CarefulReader(reader) as images,
    ):
        images.expect(
            ImageRequest(row["path"], row["fingerprint"], row["size_bytes"] or 0) for row in rows
        )
        for row, listed in zip(rows, part.found, strict=True):
            try:
                key = _key(payload.address, row["path"])
                data = images.fetch(row["path"], row["fingerprint"])
                if payload.uploading.strip_metadata:  # else files go as they are, whatever they are
                    _check(images, data)
                    data = strip_decodable(data)
            except ImageError as exc:
                refused.append(Refused(row["path"], exc.reason, exc.detail))
                continue
            if listed is not None and _is_there(payload.bucket, listed, data):
                continue
            sent, sent_bytes = sent + 1, sent_bytes + len(data)
            if payload.dry_run:
                continue
            waiting[threads.submit(_put, payload.bucket, key, data)] = len(data)
            while waiting and (len(waiting) >= 2 * AT_ONCE or sum(waiting.values()) > AHEAD_BYTES):
                _settle(waiting, wait(waiting, return_when=FIRST_COMPLETED).done)
        _settle(waiting, set(waiting))
    return UploadResult(sent, sent_bytes, len(rows) - sent - len(refused), refused)


def _check(images: ReadsImages, data: bytes) -> None:
    """Raises ImageError for a damaged image. What pomona merely cannot read may be sent."""
    try:
        images.decode(data)
    except ImageError as exc:
        if exc.reason not in _SOUND:
            raise


def _key(address: Address, path: str) -> str:
    """The key of an image. Raises ImageError for a name that cannot be a key."""
    key = address.key(decode_path(path))
    try:
        size = len(key.encode())
    except UnicodeEncodeError as exc:
        raise ImageError("send", "name", "keys are UTF-8, the name is not") from exc
    if size > MAX_KEY_BYTES:
        raise ImageError("send", "name", f"its key would have {size:,} bytes, 1,024 are allowed")
    return key


def _is_there(bucket: Bucket, listed: Listed, data: bytes) -> bool:
    """Whether an object has this content. Under KMS encryption its ETag does not tell."""
    if listed.size_bytes != len(data):
        return False
    if listed.etag == etag_of(io.BytesIO(data)):
        return True
    try:
        return bucket.get(listed.key, if_match=listed.etag, limit=len(data)).data == data
    except (FileNotFoundError, ObjectStoreError):
        return False


def _put(bucket: Bucket, key: str, data: bytes) -> None:
    bucket.put(key, data)


def _settle(waiting: dict[Future[None], int], done: set[Future[None]]) -> None:
    """Waits for no more than these, and raises the error of one that failed."""
    for future in done:
        future.result()
        del waiting[future]
