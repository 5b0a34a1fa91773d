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

import dataclasses
import hashlib
import io
import json
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pomona.errors import ImageError, ObjectStoreError, PomonaError, SourceError, StoreError
from pomona.images.fetch import MAX_BYTES, OBJECT_REASONS
from pomona.images.scan import NOT_INCLUDED, Scan
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

    files: Folder
    images: int
    catalog: str
    parts: tuple[Part, ...]

    def part_of(self, path: str) -> Part | None:
        """The file that an image is in, if it is in the pack."""
        at = bisect_right(self.parts, path, key=lambda part: part.first)
        return self.parts[at - 1] if at else None


def open_pack(files: Folder) -> Pack | None:
    """The pack that lies there, None where there is none.

    Raises SourceError for one that is damaged or unfinished, ObjectStoreError.
    """
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
    except ObjectStoreError:
        raise
    except StoreError as exc:
        raise SourceError(str(exc)) from exc
    raise SourceError(
        f"{files} is a pack of format {version}, this pomona reads {VERSION}: "
        "use the pomona that made it, or a later one"
    )


def is_unfinished(files: Folder) -> bool:
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
        "parts": [dataclasses.asdict(part) for part in parts],
    }


def _damaged(files: Folder, name: str) -> SourceError:
    return SourceError(
        f"{files}/{name} is damaged: restore it from a copy, "
        "or pack the images again into another folder"
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


def read_part(files: Folder, name: str) -> tuple[Part, Index]:
    """A part as it lies there. Raises FileNotFoundError, StoreError, or one of `DAMAGED`."""
    with files.open(name, footer=True) as file:
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


def _index(files: Folder, part: Part) -> Index:
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
        self._pack, self.expected = pack, sorted(expected)
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
        at = bisect_right(self.expected, index.firsts[group])
        for path in self.expected[at:]:
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
    except ObjectStoreError as exc:
        if exc.reason not in OBJECT_REASONS:
            raise
        raise ImageError("fetch", OBJECT_REASONS[exc.reason]) from None
    except StoreError as exc:
        denied = isinstance(exc.__cause__, PermissionError)
        raise ImageError("fetch", "permission_denied" if denied else "io_error") from exc
    except DAMAGED as exc:
        raise _damaged_image(part) from exc


def _damaged_image(part: Part) -> ImageError:
    name = part.name.rpartition("/")[2]
    return ImageError("fetch", "io_error", f"{name} of the pack is damaged: pack it again")


class PackSource:
    """A pack as a source of images; their fingerprints are those that they had when it was made."""

    ahead = 1

    def __init__(self, pack: Pack, expected: Sequence[str] = ()) -> None:
        self.pack = pack
        self._reader = PackReader(pack, expected)

    def __str__(self) -> str:
        return str(self.pack.files)

    def __reduce__(self) -> tuple[type[PackSource], tuple[Pack, Sequence[str]]]:
        return type(self), (self.pack, self._reader.expected)  # and not what was read of it

    def absolute(self) -> PackSource:
        """This source for a worker, whatever its working directory."""
        return PackSource(dataclasses.replace(self.pack, files=self.pack.files.absolute()))

    def scan(self, include: Sequence[str] = ()) -> Scan:
        """Its catalog. Raises SourceError, ObjectStoreError."""
        catalog, left_out = read_catalog(self.pack, include)
        return Scan(catalog, Counter({NOT_INCLUDED: left_out} if left_out else {}))

    def expect(self, paths: Iterable[str]) -> None:
        """Takes what is fetched next, in this order, in as few pieces as may be."""
        self._reader.expected = sorted(paths)

    def fetch(self, path: str, expected: str | None = None) -> bytes:
        """The bytes of one image, if it has the fingerprint that is expected.

        Raises ImageError (stage "fetch"), ObjectStoreError where no other image could be read.
        """
        return self._reader.fetch(path, expected)

    def find_problem(self, path: str, expected: str | None) -> str | None:
        """Why the pack is not seen from here as where it was found, with the way out."""
        try:
            seen = open_pack(self.pack.files)
        except PomonaError as exc:
            return f"cannot read SOURCE: {exc}"
        if seen is None or seen.parts != self.pack.parts:
            return f"does not see the pack {self}: put SOURCE on a disk that all nodes share"
        return None
