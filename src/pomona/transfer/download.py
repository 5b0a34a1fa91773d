"""Download: objects of a bucket become files of a folder, each of them whole or not there.

A file whose content matches the object's ETag is left alone, so that the same command goes on after
a stop.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pomona.errors import ObjectStoreError, SourceError, StoreError, UsageError
from pomona.images.select import GlobPatterns
from pomona.pipeline.context import RunSettings, run_tasks
from pomona.progress import count, duration
from pomona.s3.address import Address, is_bucket
from pomona.s3.bucket import Bucket, open_bucket
from pomona.s3.etag import etag_of
from pomona.s3.objects import Listed
from pomona.store.folders.local import LocalFolder
from pomona.store.folders.registry import is_address
from pomona.store.layout import LOCK, TEMPORARIES

AT_ONCE, PART_OBJECTS = 16, 256
# Larger objects come in pieces.
PIECE_BYTES = 8 * 2**20


@dataclass(frozen=True)
class DownloadSummary:
    """What was fetched, or in a dry run would be.

    Attributes
    ----------
    there : int
        Files that were up to date already.
    refused : list of str
        Keys that cannot be files below the folder.
    """

    source: str
    folder: str
    objects: int
    fetched: int
    fetched_bytes: int
    there: int
    refused: list[str]
    seconds: float
    dry_run: bool

    def in_words(self) -> str:
        """The text for a person."""
        there = f"{self.there:,} are there already"
        fetched = count(self.fetched, "file")
        size = f"{self.fetched_bytes / 1e6:,.1f} MB"
        if self.dry_run:
            lines = [f"{count(self.objects, 'object')}: {self.fetched:,} to fetch, {size}; {there}"]
        else:
            lines = [f"{fetched} fetched, {size} in {duration(self.seconds)}; {there}"]
        if self.refused:
            lines.append(
                f"  refused  {count(len(self.refused), 'key')} cannot be saved here, such as "
                f"{self.refused[0]!r}"
            )
        return "\n".join(lines + ["Nothing was written."] * self.dry_run)


@dataclass(frozen=True)
class DownloadTask:
    """The payload of `fetch`."""

    bucket: Bucket
    address: Address
    files: LocalFolder
    dry_run: bool


@dataclass(frozen=True)
class DownloadResult:
    """Counts of some objects."""

    fetched: int
    fetched_bytes: int
    refused: list[str]


def download(
    source: str | Path,
    folder: str | Path,
    settings: RunSettings,
    include: Sequence[str] = (),
    *,
    dry_run: bool = False,
) -> DownloadSummary:
    """Fetches the objects that are new or changed; removes nothing from the folder.

    Parameters
    ----------
    source : str or Path
        The address of the objects.
    folder : str or Path
        Where the files go.
    settings : RunSettings
        How the command runs.
    include : sequence of str
        Glob patterns that a key or its name must match. Empty: all objects.
    dry_run : bool
        Whether to write nothing.

    Raises
    ------
    UsageError, SourceError, ObjectStoreError, StoreWriteError, EngineError
        If source or folder cannot be used.
    """
    start = time.perf_counter()
    if not is_bucket(source):
        raise UsageError(f"{source} is not an address: give s3://BUCKET or s3://BUCKET/PREFIX")
    if is_address(folder):
        raise UsageError(f"{folder} is not a folder on this machine: give a path")
    folder = Path(folder)
    address = Address.parse(str(source))
    bucket = open_bucket(address, settings.access)
    objects = _find_objects(bucket, address, GlobPatterns(include))
    parts = [objects[at : at + PART_OBJECTS] for at in range(0, len(objects), PART_OBJECTS)]
    results = []
    with settings.engine, _held(folder, settings, dry_run=dry_run) as files:
        fetching = DownloadTask(bucket, address, files.absolute(), dry_run)
        for _, result in run_tasks(settings, "download", fetch, parts, fetching, images=len):
            results.append(result)
    refused = [key for result in results for key in result.refused]
    fetched = sum(result.fetched for result in results)
    return DownloadSummary(
        source=str(address),
        folder=str(folder),
        objects=len(objects),
        fetched=fetched,
        fetched_bytes=sum(result.fetched_bytes for result in results),
        there=len(objects) - fetched - len(refused),
        refused=sorted(refused),
        seconds=round(time.perf_counter() - start, 3),
        dry_run=dry_run,
    )


def _find_objects(bucket: Bucket, address: Address, patterns: GlobPatterns) -> list[Listed]:
    """The objects to fetch, by key. Raises SourceError where there are none."""
    listed = bucket.list_all(address.folder)
    objects = [each for each in listed if _is_wanted(each, address, patterns)]
    if not objects:
        raise SourceError(f"there is nothing at {address}: check the prefix and `include`")
    return sorted(objects, key=lambda each: each.key)


def _is_wanted(each: Listed, address: Address, patterns: GlobPatterns) -> bool:
    name = each.key[len(address.folder) :]
    if not name or name.endswith("/"):  # a placeholder that some tools make for a folder
        return False
    if name == LOCK or name.startswith(f"{TEMPORARIES}/"):  # of commands at work on a store there
        return False
    return patterns.matches(name)


@contextmanager
def _held(folder: Path, settings: RunSettings, *, dry_run: bool) -> Iterator[LocalFolder]:
    """The folder for this command alone, without what a dead one left in it; no trace is left."""
    if dry_run:
        yield LocalFolder(folder)
        return
    with LocalFolder(folder).lock(LOCK, settings.command) as (files, notice):
        if notice:
            settings.progress.note(notice)
        files.sweep()
        yield files
        files.delete(TEMPORARIES)
    own = (folder / LOCK).parent
    if os.listdir(own) == [LOCK.rpartition("/")[2]]:  # that of a store has more in it
        shutil.rmtree(own, ignore_errors=True)


def fetch(objects: list[Listed], payload: DownloadTask, attempt: int = 1) -> DownloadResult:
    """Brings files to the state of their objects, several at once."""
    refused = []
    with ThreadPoolExecutor(AT_ONCE) as threads:
        todo = []
        for each in objects:
            name = each.key[len(payload.address.folder) :]
            if not is_safe(name) or not _stays_inside(payload.files.root, name):
                refused.append(each.key)
            else:
                todo.append((each, threads.submit(_fetch_one, each, name, payload)))
        sizes = []
        for each, future in todo:
            try:
                sizes.append(each.size_bytes if future.result() else None)
            except _NoFileError:
                refused.append(each.key)
    fetched = sum(size is not None for size in sizes)
    return DownloadResult(fetched, sum(size or 0 for size in sizes), refused)


class _NoFileError(Exception):
    """A key that cannot be a file on this disk."""


def is_safe(name: str) -> bool:
    """Whether a key's rest is the name of a file below a folder, and comes back as it was."""
    components = name.split("/")
    return "\0" not in name and not {"", ".", ".."} & set(components)


def _stays_inside(root: Path, name: str) -> bool:
    """Whether no link on the way leads out of the folder."""
    return Path(os.path.realpath(root / name)).is_relative_to(os.path.realpath(root))


def _fetch_one(each: Listed, name: str, payload: DownloadTask) -> bool:
    """Whether the object was, or is to be, fetched. Raises _NoFileError, PomonaError."""
    try:
        if _is_there(payload.files.path(name), each):
            return False
    except OSError as exc:  # a name that is too long, or below another file
        raise _NoFileError from exc
    if payload.dry_run:
        return True
    try:
        with payload.files.create(name) as file:
            for start in range(0, each.size_bytes, PIECE_BYTES):
                size = min(PIECE_BYTES, each.size_bytes - start)
                file.write(_piece(each, start, size, payload.bucket))
    except StoreError as exc:
        if isinstance(exc.__cause__, (NotADirectoryError, IsADirectoryError, FileExistsError)):
            raise _NoFileError from exc
        raise
    return True


def _piece(each: Listed, start: int, size: int, bucket: Bucket) -> bytes:
    """`size` bytes of an object. Raises ObjectStoreError, also where it is gone or shorter."""
    try:
        piece = bucket.get(each.key, if_match=each.etag, start=start, size=size).data
    except FileNotFoundError as exc:
        raise ObjectStoreError(f"{bucket}/{each.key} is gone: run the same command again") from exc
    if len(piece) != size:
        raise ObjectStoreError(f"{bucket}/{each.key} ended too early: try again")
    return piece


def _is_there(path: Path, each: Listed) -> bool:
    """Whether a file has the object's content. Encrypted by KMS, an ETag does not say so."""
    try:
        if path.is_symlink() or path.stat().st_size != each.size_bytes:
            return False
        with path.open("rb") as file:
            return etag_of(file) == each.etag
    except FileNotFoundError:
        return False
