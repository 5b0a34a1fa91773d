"""The format of packs: millions of small image files as few large ones.

    PACK/
      pomona-pack.json                    the manifest; written last, in one step
      catalog/part-00000-DIGEST.parquet   the catalog, as a scan of the source gave it
      images/part-00012-DIGEST.parquet    `SCHEMA`: the files' bytes, sorted by path

The digest in a name is that of the planned content, so a pack that is made again never mixes with
the one before. Nothing is compressed, and the bytes of a row group are contiguous: a worker reads
several row groups as one range of a file, no larger in memory than on disk. The manifest has the
offset of each file's footer and the path of its first image, the footer those of each row group.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pomona.errors import ObjectStoreError, SourceError, StoreError
from pomona.images.fetch import MAX_BYTES
from pomona.images.select import GlobPatterns
from pomona.store import schemas
from pomona.store.folders.base import Folder
from pomona.store.schemas import decode_path

MANIFEST = "pomona-pack.json"
PACKING = "_pomona/packing.json"
VERSION = 1
SCHEMA = pa.schema(
    [
        *schemas.IDENTITY,
        pa.field("fingerprint", pa.string()),
        pa.field("sha256", pa.string()),
        # Why an image could not be packed; null where it has its bytes.
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("image", pa.binary()),
    ]
)
# The most rows of a row group, and its most bytes in addition to those of its largest image.
MAX_ROWS = 4096
MAX_OTHER_BYTES = 32 * 2**20
# Read at once from the end of a file, in the hope that the footer is no longer.
_TAIL_BYTES = 64 * 2**10
# The exceptions that a damaged pack raises.
DAMAGED = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError)


@dataclass(frozen=True)
class Part:
    """A file of images, as the manifest describes it.

    Attributes
    ----------
    name : str
        Its name relative to the pack.
    first : str
        The path of its first image.
    images, errors : int
        Its rows, and how many of them have no bytes.
    size_bytes, footer_bytes : int
        The sizes of the file, and of its footer with the 8 bytes that follow.
    footer_sha256 : str
        Of these `footer_bytes`.
    """

    name: str
    first: str
    images: int
    errors: int
    size_bytes: int
    footer_bytes: int
    footer_sha256: str


@dataclass(frozen=True)
class Pack:
    """A pack, as its manifest was when it was opened.

    Attributes
    ----------
    files : Folder
        Where it is.
    images : int
        The number of its images, with those that could not be read.
    catalog : str
        The name of its catalog's file.
    parts : tuple of Part
        Its files of images, sorted by their first paths.
    """

    files: Folder
    images: int
    catalog: str
    parts: tuple[Part, ...]

    def part_of(self, path: str) -> Part | None:
        """The file that has an image of this path, if the pack has one."""
        at = bisect_right(self.parts, path, key=lambda part: part.first)
        return self.parts[at - 1] if at else None


def open_pack(files: Folder) -> Pack | None:
    """Opens the pack in a folder.

    Parameters
    ----------
    files : Folder
        The folder.

    Returns
    -------
    Pack or None
        None where the folder holds no manifest of a pack.

    Raises
    ------
    SourceError
        If the manifest is damaged, cannot be read, or is of another format.
    ObjectStoreError
        If the bucket cannot be used.
    """
    try:
        content = json.loads(files.read(MANIFEST))
        version = content["pomona_pack"]
        if version == VERSION:
            parts = tuple(Part(**part) for part in content["parts"])
            return Pack(files, int(content["totals"]["images"]), str(content["catalog"]), parts)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as exc:
        raise _damaged(files, MANIFEST) from exc
    except ObjectStoreError:
        raise
    except StoreError as exc:
        raise SourceError(str(exc)) from exc
    raise SourceError(
        f"{files} is a pack of format {version}, this pomona reads {VERSION}: "
        "use the pomona that made it, or a later one"
    )


def is_unfinished(files: Folder) -> bool:
    """Whether `pomona pack` was stopped in a folder before it wrote the manifest."""
    try:
        return bool(files.read(PACKING))
    except (OSError, StoreError):
        return False


def manifest(catalog: str, parts: Sequence[Part], **totals: int) -> dict[str, Any]:
    """The content of a pack's manifest.

    Parameters
    ----------
    catalog : str
        The name of its catalog's file.
    parts : sequence of Part
        Its files of images, sorted by their first paths.
    **totals : int
        Of all files: images, errors, labels and size_bytes.

    Returns
    -------
    dict
        What `open_pack` reads, to be written as JSON.
    """
    return {
        "pomona_pack": VERSION,
        "totals": totals,
        "catalog": catalog,
        "parts": [dataclasses.asdict(part) for part in parts],
    }


def _damaged(files: Folder, name: str) -> SourceError:
    """The error of a file of a pack that does not hold what was written."""
    return SourceError(
        f"{files}/{name} is damaged: restore it from a copy, "
        "or pack the images again into another folder"
    )


def read_catalog(pack: Pack, include: Sequence[str] = ()) -> tuple[pa.Table, int]:
    """Reads the catalog of a pack.

    Parameters
    ----------
    pack : Pack
        The pack.
    include : sequence of str
        Glob patterns of the images that are wanted. Empty: all images.

    Returns
    -------
    catalog : pyarrow.Table
        Of schema `schemas.CATALOG`, sorted by path.
    left_out : int
        The number of images that `include` leaves out.

    Raises
    ------
    SourceError
        If it cannot be read or is damaged.
    """
    try:
        data = pa.BufferReader(pack.files.read(pack.catalog))
        catalog = pq.read_table(data, use_threads=False, page_checksum_verification=True)
        catalog = catalog.replace_schema_metadata().combine_chunks()
        paths = catalog["path"]
        in_order = pc.all(pc.less(paths.slice(0, max(len(paths) - 1, 0)), paths.slice(1))).as_py()
        is_whole = catalog.schema.equals(schemas.CATALOG) and in_order is not False
        if not is_whole or catalog.num_rows != pack.images:
            raise _damaged(pack.files, pack.catalog)
    except StoreError as exc:
        raise SourceError(str(exc)) from exc
    except DAMAGED as exc:
        raise _damaged(pack.files, pack.catalog) from exc
    if not include:
        return catalog, 0
    patterns = GlobPatterns(include)
    wanted = [patterns.matches(decode_path(path)) for path in catalog["path"].to_pylist()]
    taken = catalog.filter(pa.array(wanted, pa.bool_())).combine_chunks()
    return taken, catalog.num_rows - taken.num_rows


@dataclass(frozen=True)
class Index:
    """The row groups of a part, as its footer describes them.

    Attributes
    ----------
    metadata : pyarrow.parquet.FileMetaData
        The footer.
    generation : str
        Of the shard that the part was made from (`plan.Shard`).
    firsts : list of str
        The path of each row group's first image.
    ranges : list of (int, int)
        Where each row group's bytes start and end.
    """

    metadata: pq.FileMetaData
    generation: str
    firsts: list[str]
    ranges: list[tuple[int, int]]


def read_part(files: Folder, name: str) -> tuple[Part, Index]:
    """Reads the footer of a part.

    Parameters
    ----------
    files : Folder
        The pack's folder.
    name : str
        The part's name in it.

    Returns
    -------
    part : Part
        As a manifest would describe the file.
    index : Index
        Its row groups.

    Raises
    ------
    FileNotFoundError, StoreError
        If it cannot be read.
    ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError
        `DAMAGED`: if it is not a file that pomona writes.
    """
    with files.open(name, footer=True) as file:
        size = file.size()
        tail = file.read_at(min(size, _TAIL_BYTES), max(0, size - _TAIL_BYTES))
        length = 8 + int.from_bytes(tail[-8:-4], "little")
        if length > size:
            raise ValueError("its footer is longer than the file")
        footer = tail[-length:] if length <= len(tail) else file.read_at(length, size - length)
    index = parse_footer(footer, size)
    images, errors = index.metadata.num_rows, int(index.metadata.metadata[b"pomona.errors"])
    digest = hashlib.sha256(footer).hexdigest()
    return Part(name, index.firsts[0], images, errors, size, length, digest), index


def parse_footer(footer: bytes, size_bytes: int) -> Index:
    """Checks and reads the footer of a part.

    Parameters
    ----------
    footer : bytes
        With the 8 bytes after it.
    size_bytes : int
        The size of the file.

    Returns
    -------
    Index
        The row groups.

    Raises
    ------
    ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError
        `DAMAGED`: if it is not a footer that pomona writes.
    """
    metadata = pq.read_metadata(pa.BufferReader(b"PAR1" + footer))
    own = metadata.metadata or {}
    if not metadata.schema.to_arrow_schema().remove_metadata().equals(SCHEMA):
        raise ValueError("other columns")
    firsts = json.loads(own[b"pomona.firsts"])
    ranges = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = [group.column(column) for column in range(group.num_columns)]
        start = min(column.data_page_offset for column in columns)
        end = max(column.data_page_offset + column.total_compressed_size for column in columns)
        is_plain = all(
            column.compression == "UNCOMPRESSED" and not column.has_dictionary_page
            for column in columns
        )
        # Uncompressed, it takes no more memory than its bytes.
        is_small = group.num_rows <= MAX_ROWS and end - start <= MAX_BYTES + MAX_OTHER_BYTES
        if not (is_plain and is_small and 0 < start < end <= size_bytes - len(footer)):
            raise ValueError("a row group that pomona does not make")
        ranges.append((start, end))
    if len(firsts) != len(ranges) or not firsts:
        raise ValueError("other row groups")
    return Index(metadata, own[b"pomona.generation"].decode(), firsts, ranges)
