"""Packs: millions of small image files as few large ones, and how a worker reads them.

    PACK/
      pomona-pack.json                    what the pack holds; written last, in one step
      catalog/part-00000-DIGEST.parquet   the catalog, as a scan of the source gave it
      images/part-00012-DIGEST.parquet    `SCHEMA`: the files' bytes, sorted by path

The digest in a name is that of what it is to hold, so that a pack that is made anew never mixes
with what it was. Nothing is compressed, and the bytes of a row group lie together: the row groups
that a worker wants are one range of a file, no larger in memory than on disk. The manifest says
where each file's footer begins and which path is its first, the footer which is the first of each
row group.
"""

from __future__ import annotations

import hashlib
import io
import json
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pomona import schemas
from pomona.errors import ImageError, SourceError, StoreError
from pomona.schemas import decode_path
from pomona.sources.fetch import MAX_BYTES

MANIFEST = "pomona-pack.json"
PACKING = "_pomona/packing"
VERSION = 1
SCHEMA = pa.schema(
    [
        *schemas.IDENTITY,
        pa.field("fingerprint", pa.string()),
        pa.field("sha256", pa.string()),
        # Why an image could not be packed: then it has no bytes.
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("image", pa.binary()),
    ]
)
# What a worker holds of a pack, and what it reads in vain rather than ask once more.
WINDOW_BYTES = 16 * 2**20
HOLE_BYTES = 2**20
# Of rows, and of bytes besides an image, in a row group.
MAX_ROWS = 4096
MAX_OTHER_BYTES = 32 * 2**20
KEPT_FOOTERS = 8
_TAIL_BYTES = 64 * 2**10
# What reading a pack raises that is not what was written.
DAMAGED = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError)


class Files(Protocol):
    """Where a pack lies, as `storage.LocalFolder`; names are relative to it."""

    def read(self, name: str) -> bytes: ...

    def read_range(self, name: str, start: int, size: int) -> bytes: ...

    def open(self, name: str) -> AbstractContextManager[pa.NativeFile]: ...


@dataclass(frozen=True)
class Part:
    """A file of images: what the manifest says of it.

    first: the path of its first image; footer_bytes: with the 8 bytes after it.
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
    """A pack, as its manifest was when it was opened."""

    files: Files
    images: int
    catalog: str
    parts: tuple[Part, ...]

    def part_of(self, path: str) -> Part | None:
        """The file that an image is in, if it is in the pack."""
        at = bisect_right(self.parts, path, key=lambda part: part.first)
        return self.parts[at - 1] if at else None


def open_pack(files: Files) -> Pack | None:
    """The pack that lies there, None where there is none. Raises SourceError for a damaged one."""
    try:
        manifest = json.loads(files.read(MANIFEST))
        version = manifest["pomona_pack"]
        if version == VERSION:
            parts = tuple(Part(**part) for part in manifest["parts"])
            return Pack(files, int(manifest["totals"]["images"]), str(manifest["catalog"]), parts)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as exc:
        raise _damaged(files, MANIFEST) from exc
    except StoreError as exc:
        raise SourceError(str(exc)) from exc
    raise SourceError(
        f"{files} is a pack of format {version}, this pomona reads {VERSION}: "
        "use the pomona that made it, or a later one"
    )


def is_unfinished(files: Files) -> bool:
    """Whether a `pomona pack` was stopped there before there was a pack."""
    try:
        return bool(files.read(PACKING))
    except (OSError, StoreError):
        return False


def manifest(catalog: str, parts: Sequence[Part], **totals: int) -> dict[str, Any]:
    """What `open_pack` reads."""
    return {
        "pomona_pack": VERSION,
        "totals": totals,
        "catalog": catalog,
        "parts": [asdict(part) for part in parts],
    }


def _damaged(files: Files, name: str) -> SourceError:
    return SourceError(
        f"{files}/{name} is damaged: restore it from a copy, "
        "or give the `pomona pack` again that made it"
    )


def read_catalog(pack: Pack, include: Sequence[str] = ()) -> tuple[pa.Table, int]:
    """Table of `schemas.CATALOG` as of `scan`, and how many images `include` leaves out.

    Raises SourceError.
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
    patterns = [pattern.removeprefix("**/") for pattern in include]
    if not patterns:
        return catalog, 0
    names = (decode_path(path) for path in catalog["path"].to_pylist())
    wanted = [
        any(
            fnmatchcase(name, pattern) or fnmatchcase(name.rpartition("/")[2], pattern)
            for pattern in patterns
        )
        for name in names
    ]
    taken = catalog.filter(pa.array(wanted, pa.bool_())).combine_chunks()
    return taken, catalog.num_rows - taken.num_rows


@dataclass(frozen=True)
class Index:
    """A part's footer: which path is the first of each row group, and which bytes are its own."""

    metadata: pq.FileMetaData
    generation: str
    firsts: list[str]
    ranges: list[tuple[int, int]]


def read_part(files: Files, name: str) -> tuple[Part, Index]:
    """A part as it lies there. Raises FileNotFoundError, StoreError, or one of `DAMAGED`."""
    with files.open(name) as file:
        size = file.size()
        tail = file.read_at(min(size, _TAIL_BYTES), max(0, size - _TAIL_BYTES))
        length = 8 + int.from_bytes(tail[-8:-4], "little")
        if length > size:
            raise ValueError("its footer is longer than the file")
        footer = tail[-length:] if length <= len(tail) else file.read_at(length, size - length)
    index = _parse(footer, size)
    images, errors = index.metadata.num_rows, int(index.metadata.metadata[b"pomona.errors"])
    digest = hashlib.sha256(footer).hexdigest()
    return Part(name, index.firsts[0], images, errors, size, length, digest), index


def _parse(footer: bytes, size: int) -> Index:
    """Raises one of `DAMAGED` for what no pack's footer says."""
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
        # What is not compressed takes no more memory than its bytes.
        is_small = group.num_rows <= MAX_ROWS and end - start <= MAX_BYTES + MAX_OTHER_BYTES
        if not (is_plain and is_small and 0 < start < end <= size - len(footer)):
            raise ValueError("a row group that pomona does not make")
        ranges.append((start, end))
    if len(firsts) != len(ranges) or not firsts:
        raise ValueError("other row groups")
    return Index(metadata, own[b"pomona.generation"].decode(), firsts, ranges)


# This process's, by where the part lies and what it is: a worker reads a part's footer once.
_indexes: OrderedDict[tuple[str, Part], Index] = OrderedDict()


def _index(files: Files, part: Part) -> Index:
    key = (str(files), part)
    found = _indexes.get(key)
    if found is None:
        begins = part.size_bytes - part.footer_bytes
        footer = files.read_range(part.name, begins, part.footer_bytes)
        if hashlib.sha256(footer).hexdigest() != part.footer_sha256:
            raise ValueError("another footer")
        found = _indexes[key] = _parse(footer, part.size_bytes)
        if len(_indexes) > KEPT_FOOTERS:
            _indexes.popitem(last=False)
    _indexes.move_to_end(key)
    return found


class _Range(io.RawIOBase):
    """A file of which some bytes are there; Arrow asks for no others."""

    def __init__(self, data: bytes, start: int, size: int) -> None:
        super().__init__()
        self._data, self._start, self._size, self._at = memoryview(data), start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        begin = self._at - self._start
        if not 0 <= begin <= len(self._data):
            raise OSError("outside of what was read")
        piece = self._data[begin : begin + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


class PackReader:
    """Reads images of a pack, best in the order of their paths.

    expected: paths that will be asked for; their row groups are read together, `WINDOW_BYTES` at
    a time. Holds no more than that, and one row group (an image more, if it is larger).
    """

    def __init__(self, pack: Pack, expected: Sequence[str] = ()) -> None:
        self._pack, self._expected = pack, sorted(expected)
        self._part: Part | None = None
        self._held = (0, b"")
        self._group = -1
        self._rows: dict[str, int] = {}
        self._table = SCHEMA.empty_table()

    def fetch(self, path: str, fingerprint: str | None = None) -> bytes:
        """The bytes of one image; fingerprint: of its catalog row, if it is to be what it was.

        Raises ImageError (stage "fetch").
        """
        part = self._pack.part_of(path)
        if part is None:
            raise ImageError("fetch", "not_found", "not in the pack")
        with _fetch_errors(part):
            row = self._row(part, path)
        if row is None:
            raise ImageError("fetch", "not_found", "not in the pack")
        if fingerprint not in (None, row["fingerprint"]):
            raise ImageError("fetch", "changed")
        if row["reason"] is not None:
            known = row["reason"] if row["reason"] in schemas.REASONS else "io_error"
            raise ImageError("fetch", known, row["detail"] or "")
        data: bytes | None = row["image"]
        if data is None or hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise _damaged_image(part)
        return data

    def _row(self, part: Part, path: str) -> dict[str, Any] | None:
        index = _index(self._pack.files, part)
        group = bisect_right(index.firsts, path) - 1
        if group < 0:
            return None
        if (part, group) != (self._part, self._group):
            self._rows, self._table = {}, SCHEMA.empty_table()  # before the next ones take memory
            self._table = self._read(part, index, group)
            self._rows = {path: row for row, path in enumerate(self._table["path"].to_pylist())}
            self._part, self._group = part, group
        row = self._rows.get(path)
        return None if row is None else self._table.slice(row, 1).to_pylist()[0]

    def _read(self, part: Part, index: Index, group: int) -> pa.Table:
        """The rows of a row group."""
        start, end = index.ranges[group]
        offset, held = self._held
        if part != self._part or not offset <= start <= end <= offset + len(held):
            self._held, held = (0, b""), b""
            last = self._window(part, index, group)
            offset, held = start, self._pack.files.read_range(part.name, start, last - start)
            if len(held) <= WINDOW_BYTES:
                self._held = (offset, held)
        piece = pa.PythonFile(_Range(held, offset, part.size_bytes), mode="r")
        with pq.ParquetFile(piece, metadata=index.metadata, pre_buffer=False) as file:
            return file.read_row_group(group, use_threads=False)

    def _window(self, part: Part, index: Index, group: int) -> int:
        """Where to stop reading that begins at a row group: what is expected next, if near."""
        start, end = index.ranges[group]
        at = bisect_right(self._expected, index.firsts[group])
        for path in self._expected[at:]:
            wanted = bisect_right(index.firsts, path) - 1
            begins, ends = index.ranges[wanted]
            is_near = begins - end <= HOLE_BYTES and ends - start <= WINDOW_BYTES
            if not is_near or self._pack.part_of(path) != part:
                break
            end = max(end, ends)
        return end


@contextmanager
def _fetch_errors(part: Part) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as exc:
        raise ImageError("fetch", "not_found", "the pack was made anew or lacks a file") from exc
    except PermissionError as exc:
        raise ImageError("fetch", "permission_denied") from exc
    except StoreError as exc:
        denied = isinstance(exc.__cause__, PermissionError)
        raise ImageError("fetch", "permission_denied" if denied else "io_error") from exc
    except DAMAGED as exc:
        raise _damaged_image(part) from exc


def _damaged_image(part: Part) -> ImageError:
    name = part.name.rpartition("/")[2]
    return ImageError("fetch", "io_error", f"{name} of the pack is damaged: pack it again")
