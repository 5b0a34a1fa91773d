"""Images in a pack, and how a worker reads them in few large pieces."""

from __future__ import annotations

import dataclasses
import hashlib
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pomona.errors import ImageError, ObjectStoreError, PomonaError, StoreError
from pomona.images.containers.blob import RangeFile
from pomona.images.fetch import OBJECT_REASONS
from pomona.images.prefetch import ImageRequest
from pomona.images.scan import Scan
from pomona.images.select import EXCLUDED, NOT_INCLUDED, GlobPatterns
from pomona.images.sources.pack_format import (
    DAMAGED,
    SCHEMA,
    Index,
    Pack,
    Part,
    open_pack,
    parse_footer,
    read_catalog,
)
from pomona.store import schemas
from pomona.store.folders.base import Folder

# The most bytes of a pack that a worker holds, and reads in vain rather than send a request.
WINDOW_BYTES = 16 * 2**20
HOLE_BYTES = 2**20
KEPT_FOOTERS = 8

# This process's footers, so that a worker reads each once: (pack, part) → index.
_indexes: OrderedDict[tuple[str, Part], Index] = OrderedDict()


def _index(files: Folder, part: Part) -> Index:
    """The row groups of a part, from its footer as the manifest knows it."""
    key = (str(files), part)
    index = _indexes.get(key)
    if index is None:
        begins = part.size_bytes - part.footer_bytes
        footer = files.read_range(part.name, begins, part.footer_bytes)
        if hashlib.sha256(footer).hexdigest() != part.footer_sha256:
            raise ValueError("another footer")
        index = _indexes[key] = parse_footer(footer, part.size_bytes)
        if len(_indexes) > KEPT_FOOTERS:
            _indexes.popitem(last=False)
    _indexes.move_to_end(key)
    return index


class PackReader:
    """Reads images of a pack, fastest in the order of their paths.

    Holds `WINDOW_BYTES` and one row group, or one that is larger by an image.

    Parameters
    ----------
    pack : Pack
        The pack.
    expected : sequence of str
        Paths that `fetch` will be asked for. Their row groups are read together.
    """

    def __init__(self, pack: Pack, expected: Sequence[str] = ()) -> None:
        self._pack, self.expected = pack, sorted(expected)
        self._part: Part | None = None
        self._held = (0, b"")
        self._group = -1
        self._rows: dict[str, int] = {}
        self._table = SCHEMA.empty_table()

    def fetch(self, path: str, fingerprint: str | None = None) -> bytes:
        """Reads an image.

        Parameters
        ----------
        path : str
            The path of its catalog row.
        fingerprint : str or None
            The fingerprint that it must have. None: any.

        Returns
        -------
        bytes
            Its file.

        Raises
        ------
        ImageError
            Stage "fetch".
        ObjectStoreError
            If the bucket cannot be used, for this image or any other.
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
        """The row of an image, None where the part has none."""
        index = _index(self._pack.files, part)
        group = bisect_right(index.firsts, path) - 1
        if group < 0:
            return None
        if (part, group) != (self._part, self._group):
            self._rows, self._table = (
                {},
                SCHEMA.empty_table(),
            )  # freed before the next ones take memory
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
        piece = pa.PythonFile(RangeFile(held, offset, part.size_bytes), mode="r")
        with pq.ParquetFile(piece, metadata=index.metadata, pre_buffer=False) as file:
            return file.read_row_group(group, use_threads=False)

    def _window(self, part: Part, index: Index, group: int) -> int:
        """The end of the range to read from a row group on: of the expected row groups nearby."""
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
    """Translates what reading a part raises into ImageError (stage "fetch")."""
    try:
        yield
    except FileNotFoundError as exc:
        raise ImageError("fetch", "not_found", "the pack was made again or lacks a file") from exc
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
    """The error of an image whose part does not hold what was written."""
    name = part.name.rpartition("/")[2]
    return ImageError("fetch", "io_error", f"{name} of the pack is damaged: pack it again")


class PackSource:
    """A pack as a source of images. Their fingerprints are those from when it was made.

    Parameters
    ----------
    pack : Pack
        The pack.
    expected : sequence of str
        As for `PackReader`.
    """

    ahead = 1

    def __init__(self, pack: Pack, expected: Sequence[str] = ()) -> None:
        self.pack = pack
        self._reader = PackReader(pack, expected)

    def __str__(self) -> str:
        return str(self.pack.files)

    def __reduce__(self) -> tuple[type[PackSource], tuple[Pack, Sequence[str]]]:
        return type(self), (self.pack, self._reader.expected)  # without the images in memory

    def absolute(self) -> PackSource:
        """This source for a worker, whatever its working directory."""
        return PackSource(dataclasses.replace(self.pack, files=self.pack.files.absolute()))

    def scan(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Scan:
        """Reads its catalog. Raises SourceError, ObjectStoreError."""
        catalog, left_out = read_catalog(self.pack, include)
        skipped = Counter({NOT_INCLUDED: left_out})
        if exclude:
            patterns, paths = GlobPatterns(exclude), catalog["path"].to_pylist()
            wanted = [not patterns.matches(schemas.decode_path(path)) for path in paths]
            catalog = catalog.filter(pa.array(wanted, pa.bool_()))
            skipped[EXCLUDED] = len(wanted) - sum(wanted)
        return Scan(catalog, +skipped, has_labels=True)

    def expect(self, wanted: Iterable[ImageRequest]) -> None:
        """Announces the images that `fetch` will be asked for, to be read in few large pieces."""
        self._reader.expected = sorted(image.path for image in wanted)

    def fetch(self, path: str, expected: str | None = None) -> bytes:
        """The bytes of an image, as `PackReader.fetch`."""
        return self._reader.fetch(path, expected)

    def find_problem(self, path: str, expected: str | None) -> str | None:
        """Why this machine does not see the pack as it was found, with the remedy."""
        try:
            pack = open_pack(self.pack.files)
        except PomonaError as exc:
            return f"cannot read SOURCE: {exc}"
        if pack is None or pack.parts != self.pack.parts:
            return f"does not see the pack {self}: put SOURCE on a disk that all nodes share"
        return None
