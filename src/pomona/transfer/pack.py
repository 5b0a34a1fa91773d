"""Pack: the image files of a source become a few large files, which `pomona run` takes as a source.

Each part of the pack is a task: its file is written whole, under a name that is the digest of its
content, and is done once it exists. The manifest comes last, so that the pack that was there before
stays whole until the new one is; files that no manifest names are removed after that.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pomona.errors import ImageError, SourceError, StoreError, UsageError
from pomona.images.catalog import find_images
from pomona.images.folders import PARENT, FolderRules, check_labelling
from pomona.images.prefetch import ImageRequest
from pomona.images.reader import CarefulReader, Reader
from pomona.images.sources import pack_format
from pomona.images.sources.base import Source
from pomona.images.sources.pack_format import MANIFEST, PACKING, Part
from pomona.images.sources.registry import open_source
from pomona.pipeline.context import RunSettings, run_tasks
from pomona.progress import count, duration
from pomona.store import schemas
from pomona.store.folders.base import Folder
from pomona.store.manifest import is_new
from pomona.store.plan import Shard, label_count, shards
from pomona.store.store import Store

IMAGES, CATALOG = "images", "catalog"
_OWN = re.compile(r"(images|catalog)/part-[0-9]{5,}-[0-9a-f]{12}\.parquet")
SIZE_BYTES = 128_000_000
# Small enough that a worker reads little beside what it needs, and that a footer stays small.
ROW_GROUPS, LEAST_GROUP_BYTES = 512, 256 * 2**10


@dataclass(frozen=True)
class PackSettings:
    """Which images to pack, and how.

    Parameters
    ----------
    source, include, exclude, labels, label_from, splits
        As in `ExtractSettings`.
    size_bytes : int
        About how many bytes of images make a file.
    yes : bool
        Whether to replace a pack most of whose images are not in the source.
    """

    source: str | Path
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    labels: Path | None = None
    label_from: str = PARENT
    splits: bool | None = None
    size_bytes: int = SIZE_BYTES
    yes: bool = False

    def __post_init__(self) -> None:
        if self.size_bytes < 1:
            raise UsageError(f"`size` {self.size_bytes}: at least 1 byte is needed")
        check_labelling(self.labels, self.label_from)


@dataclass(frozen=True)
class PackSummary:
    """What a pack holds, or in a dry run would hold.

    Attributes
    ----------
    errors : int
        Images that could not be read.
    written : int
        Files that were written, or would be.
    """

    pack: str
    images: int
    errors: int
    labels: int
    size_bytes: int
    files: int
    written: int
    seconds: float
    dry_run: bool

    def in_words(self) -> str:
        """The text for a person."""
        labels = f" of {count(self.labels, 'label')}" if self.labels else ""
        files = count(self.files, "file")
        size = f"{count(self.images, 'image')}{labels}, {self.size_bytes / 1e6:,.1f} MB, in {files}"
        if self.dry_run:
            return f"{size}, {self.written:,} of them to write\nNothing was written."
        lines = [f"{size} of {self.pack}, {self.written:,} written in {duration(self.seconds)}"]
        if self.errors:
            lines.append(
                f"  errors  {count(self.errors, 'image')} could not be read: a run lists that in "
                "errors/; run the same command again to try those that may be read now"
            )
        return "\n".join(lines)


def make_pack(
    dest: str | Path, packing: PackSettings, settings: RunSettings, *, dry_run: bool = False
) -> PackSummary:
    """Packs the images of a source, or what is left to do of it.

    Parameters
    ----------
    dest : str or Path
        Where the pack goes.
    packing : PackSettings
        Which images to pack, and how.
    settings : RunSettings
        How the command runs.
    dry_run : bool
        Whether to write nothing.

    Raises
    ------
    SourceError
        If the source cannot be used, or has mostly other images than the pack.
    StoreError
        If `dest` holds something else.
    StoreBusyError, StoreWriteError, EngineError
        As every command that writes.
    """
    start = time.perf_counter()
    store = Store(dest, settings.access)
    source = open_source(packing.source, settings.access)
    _check_dest(store)  # before the source is listed, which may take long
    catalog = _find_images(source, packing, settings)
    parts = list(shards(_plan(catalog, packing.size_bytes)))
    done, kept = _find_done(store, catalog, parts, yes=packing.yes)
    todo = [shard for shard in parts if shard.part not in done]
    if not dry_run:
        with settings.engine, store.lock(settings.command) as (store, notice):
            if notice:
                settings.progress.note(notice)
            # Again, since another command may have been here.
            done, kept = _find_done(store, catalog, parts, yes=packing.yes)
            todo = [shard for shard in parts if shard.part not in done]
            group_bytes = max(LEAST_GROUP_BYTES, packing.size_bytes // ROW_GROUPS)
            writing = PackTask(source.absolute(), store.files.absolute(), group_bytes, kept)
            if todo:
                store.files.write(PACKING, b"made by pomona pack\n")
            for shard, part in run_tasks(settings, "pack", pack_part, todo, writing, images=_rows):
                done[shard.part] = part
            _finish(store, catalog, [done[shard.part] for shard in parts])
    return PackSummary(
        pack=str(dest),
        images=catalog.num_rows,
        errors=sum(part.errors for part in done.values()),
        labels=label_count(catalog),
        size_bytes=pc.sum(catalog["size_bytes"]).as_py(),
        files=len(parts),
        written=len(todo),
        seconds=round(time.perf_counter() - start, 3),
        dry_run=dry_run,
    )


def _find_done(
    store: Store, catalog: pa.Table, parts: list[Shard], *, yes: bool
) -> tuple[dict[int, Part], frozenset[str]]:
    """As `_find_parts`, once the destination may be written to."""
    before = _check_dest(store)
    _check_replaces(before, catalog, store, yes=yes)
    return _find_parts(store.files, parts, before)


def _rows(shard: Shard) -> int:
    return int(shard.images.num_rows)


def _find_images(source: Source, packing: PackSettings, settings: RunSettings) -> pa.Table:
    return find_images(
        source,
        settings.progress,
        include=packing.include,
        exclude=packing.exclude,
        labels=packing.labels,
        folders=FolderRules(packing.label_from, packing.splits),
    )


def _check_dest(store: Store) -> pack_format.Pack | None:
    """The pack at the destination, if there is one. Raises StoreError for something else."""
    found = pack_format.open_pack(store.files)
    if found is not None:
        return found
    if not pack_format.is_unfinished(store.files) and not is_new(store.files, "pack"):
        raise StoreError(f"{store.files} is a pomona store: choose another folder for the pack")
    return None


def _check_replaces(
    before: pack_format.Pack | None, catalog: pa.Table, store: Store, *, yes: bool
) -> None:
    """Refuses to replace a pack of other images, which may be their only copy."""
    if before is None or yes:
        return
    paths = pack_format.read_catalog(before)[0]["path"]
    gone = len(paths) - (pc.sum(pc.is_in(paths, catalog["path"])).as_py() or 0)
    if gone * 2 > len(paths):
        raise SourceError(
            f"{store.files} is a pack of other images: {gone:,} of its {len(paths):,} are not "
            "in the source; choose another folder, or give `yes` to replace them"
        )


def _plan(catalog: pa.Table, size_bytes: int) -> pa.Table:
    """Table of `schemas.PLAN`: the part of each image, by the sum of sizes alone."""
    sizes = catalog["size_bytes"].to_numpy().astype(np.int64)
    at = (np.cumsum(sizes) - sizes) // size_bytes
    _, parts = np.unique(at, return_inverse=True)
    column = pa.array(parts.astype(np.int32))
    return catalog.append_column(schemas.PLAN.field("part"), column)


def _part_names(shard: Shard) -> list[str]:
    """Two names for the shard's file, used in turn: trying again leaves the old pack whole."""
    again = hashlib.sha256(f"{shard.generation} again".encode()).hexdigest()
    return [
        f"{IMAGES}/part-{shard.part:05d}-{digest[:12]}.parquet"
        for digest in (shard.generation, again)
    ]


def _find_parts(
    files: Folder, parts: list[Shard], before: pack_format.Pack | None
) -> tuple[dict[int, Part], frozenset[str]]:
    """The files of shards that are done, and the names that the present pack still needs.

    A file is done if it is whole and none of its errors can be retried.
    """
    present = set(files.names(IMAGES))
    named = {part.name for part in before.parts} if before else set()
    done, kept = {}, set()
    for shard in parts:
        for name in _part_names(shard):
            found = _read_part(files, name, shard) if name in present else None
            if found is None:
                continue
            part, is_done = found
            if is_done:
                done[shard.part] = part
                break
            if name in named:
                kept.add(name)
    return done, frozenset(kept)


def _read_part(files: Folder, name: str, shard: Shard) -> tuple[Part, bool] | None:
    """The shard's file if it is whole, and whether none of its errors can be retried."""
    try:
        part, index = pack_format.read_part(files, name)
        is_done = index.metadata.metadata[b"pomona.retryable"] == b"0"
    except pack_format.DAMAGED:
        return None
    is_whole = index.generation == shard.generation and part.images == shard.images.num_rows
    return (part, is_done) if is_whole else None


@dataclass(frozen=True)
class PackTask:
    """The payload of `pack_part`.

    Attributes
    ----------
    source : Source
        Where the images are read.
    files : Folder
        Where the pack is written.
    group_bytes : int
        About how large a row group grows.
    kept : frozenset of str
        Names that must not be overwritten.
    """

    source: Source
    files: Folder
    group_bytes: int
    kept: frozenset[str]


def pack_part(shard: Shard, payload: PackTask, attempt: int = 1) -> Part:
    """Writes the file of a part, a row group at a time, and returns its entry of the manifest.

    An image that cannot be read becomes a row with its reason.
    """
    name = next(name for name in _part_names(shard) if name not in payload.kept)
    with payload.files.create(name) as file:
        _write(file, shard, payload, attempt)
    part, _ = pack_format.read_part(payload.files, name)
    return part


def _write(file: BinaryIO, shard: Shard, payload: PackTask, attempt: int) -> None:
    firsts, errors, retryable = [], 0, 0
    with pq.ParquetWriter(
        file,
        pack_format.SCHEMA,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    ) as writer:
        for rows in _groups(shard, payload, attempt):
            firsts.append(rows[0]["path"])
            reasons = [row["reason"] for row in rows if row["reason"]]
            errors += len(reasons)
            retryable += sum(schemas.REASONS[reason].retryable for reason in reasons)
            table = pa.Table.from_pylist(rows, pack_format.SCHEMA)
            writer.write_table(table, row_group_size=len(rows))
        writer.add_key_value_metadata(
            {
                "pomona.generation": shard.generation,
                "pomona.firsts": json.dumps(firsts, ensure_ascii=False),
                "pomona.errors": str(errors),
                "pomona.retryable": str(retryable),
            }
        )


def _groups(shard: Shard, payload: PackTask, attempt: int) -> Iterator[list[dict[str, Any]]]:
    """The rows of each row group, with the bytes of their images."""
    rows: list[dict[str, Any]] = []
    size = 0
    reader = Reader(payload.source)
    with reader if attempt == 1 else CarefulReader(reader) as images:
        rows_wanted = shard.images.to_pylist()
        images.expect(
            ImageRequest(row["path"], row["fingerprint"], row["size_bytes"] or 0)
            for row in rows_wanted
        )
        for image in rows_wanted:
            row = {name: image.get(name) for name in pack_format.SCHEMA.names}
            try:
                data = images.fetch(image["path"], image["fingerprint"])
                row.update(image=data, sha256=hashlib.sha256(data).hexdigest())
                size += len(data)
            except ImageError as exc:
                row.update(reason=exc.reason, detail=exc.detail or None)
            rows.append(row)
            if size >= payload.group_bytes or len(rows) == pack_format.MAX_ROWS:
                yield rows
                rows, size = [], 0
    if rows:
        yield rows


def _finish(store: Store, catalog: pa.Table, parts: list[Part]) -> None:
    """Writes the catalog and the manifest, then removes files that the manifest does not name."""
    sink = pa.BufferOutputStream()
    pq.write_table(catalog, sink, compression="zstd", write_page_checksum=True)
    data = sink.getvalue()
    name = f"{CATALOG}/part-00000-{hashlib.sha256(data).hexdigest()[:12]}.parquet"
    manifest = pack_format.manifest(
        name,
        parts,
        images=catalog.num_rows,
        errors=sum(part.errors for part in parts),
        labels=label_count(catalog),
        size_bytes=pc.sum(catalog["size_bytes"]).as_py(),
    )
    if not _is_written(store, manifest):
        store.files.write(name, memoryview(data))
        store.write_json(MANIFEST, manifest)
    named = {name, *(part.name for part in parts)}
    for folder in (IMAGES, CATALOG):
        for other in store.files.names(folder):
            if other not in named and _OWN.fullmatch(other):
                store.files.delete(other)
    store.files.delete(PACKING)


def _is_written(store: Store, manifest: dict[str, Any]) -> bool:
    """Whether the pack has this manifest, and the catalog that it names."""
    try:
        found = json.loads(store.files.read(MANIFEST))
    except (FileNotFoundError, ValueError):
        return False
    return found == manifest and store.files.exists(manifest["catalog"])
