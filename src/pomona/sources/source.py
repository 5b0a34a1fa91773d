"""Source: where images come from. What a run needs of it is `Source`; each kind is a class here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pomona.errors import ImageError, ObjectChangedError, ObjectStoreError, SourceError
from pomona.s3.address import Access, Address, is_address
from pomona.schemas import decode_path, encode_path
from pomona.sources.fetch import MAX_BYTES, OBJECT_REASONS, fetch, fingerprint
from pomona.sources.pack import PackSource, is_unfinished, open_pack
from pomona.sources.scan import Row, Scan, Wanted, folder_label, scan, to_catalog
from pomona.storage import open_folder

if TYPE_CHECKING:
    from pomona.s3.objects import Bucket


class Source(Protocol):
    """Picklable, without credentials; `str` of it is its name in the manifest.

    expect: tells what will be fetched next, in this order; ahead: how many images are fetched at
    once, ahead of the one that is wanted; 1: none.
    """

    @property
    def ahead(self) -> int: ...

    def absolute(self) -> Source: ...

    def scan(self, include: Sequence[str] = ()) -> Scan: ...

    def expect(self, paths: Iterable[str]) -> None: ...

    def fetch(self, path: str, expected: str | None = None) -> bytes: ...

    def find_problem(self, path: str, expected: str | None) -> str | None: ...


def open_source(where: str | Path, access: Access | None = None) -> Source:
    """The source at a path or an address: a pack, or a folder of images.

    Raises ObjectStoreError for a bucket of no use, SourceError for a pack that is not whole.

    access: how buckets are used.
    """
    folder = open_folder(where, access)
    if (found := open_pack(folder)) is not None:
        return PackSource(found)
    if is_unfinished(folder):
        raise SourceError(f"{folder} is no whole pack: give its `pomona pack` again first")
    if not is_address(where):
        return LocalSource(str(where))
    from pomona.s3.objects import open_bucket

    address = Address.parse(str(where))
    return BucketSource(open_bucket(address, access), address)


@dataclass(frozen=True)
class LocalSource:
    """A folder on disk."""

    root: str
    ahead: int = 1

    def __str__(self) -> str:
        return self.root

    def absolute(self) -> LocalSource:
        """This source for a worker, whatever its working directory."""
        return LocalSource(os.path.abspath(self.root))

    def scan(self, include: Sequence[str] = ()) -> Scan:
        """Finds its images. Raises SourceError."""
        return scan(Path(self.root), include)

    def expect(self, paths: Iterable[str]) -> None:
        """One image is fetched as well as many."""

    def fetch(self, path: str, expected: str | None = None) -> bytes:
        """The bytes of one image, if it has the fingerprint that is expected.

        Raises ImageError (stage "fetch").
        """
        return fetch(self.root, path, expected)

    def find_problem(self, path: str, expected: str | None) -> str | None:
        """Why an image is not seen from here as where it was found, with the way out."""
        image = Path(self.root, decode_path(path))
        if not os.access(image, os.R_OK):
            return f"cannot read {image}: put SOURCE on a disk that all nodes share"
        if expected not in (None, fingerprint(image.stat())):
            return f"sees another size or time of {image}: let all nodes see SOURCE in the same way"
        return None


@dataclass(frozen=True)
class BucketSource:
    """The objects under a prefix of a bucket. An image's fingerprint is its ETag and size."""

    bucket: Bucket
    address: Address
    ahead: int = 16

    def __str__(self) -> str:
        return str(self.address)

    def absolute(self) -> BucketSource:
        return self

    def scan(self, include: Sequence[str] = ()) -> Scan:
        """Finds its images by their keys. Raises ObjectStoreError."""
        found = Scan()
        found.catalog = to_catalog(self._rows(Wanted(include), found))
        return found

    def _rows(self, wanted: Wanted, found: Scan) -> Iterator[Row]:
        start = len(self.address.folder)
        for each in self.bucket.list_all(self.address.folder):
            name = each.key[start:]
            if not name or name.endswith("/"):  # what some tools make for a folder
                continue
            why_not = wanted.why_not(name)
            if why_not is not None:
                found.skipped[why_not] += 1
                continue
            label, split = folder_label(name.rpartition("/")[0])
            state = f"{each.etag}-{each.size_bytes:x}"
            yield encode_path(name), label, split, each.size_bytes, state

    def expect(self, paths: Iterable[str]) -> None:
        """One image is fetched as well as many."""

    def fetch(self, path: str, expected: str | None = None) -> bytes:
        """The bytes of one image, if it has the fingerprint that is expected.

        Raises ImageError (stage "fetch"), ObjectStoreError where no other image could be read.
        """
        etag = None if expected is None else expected.rpartition("-")[0]
        try:
            got = self.bucket.get(self._key(path), if_match=etag, limit=MAX_BYTES)
        except FileNotFoundError:
            raise ImageError("fetch", "not_found") from None
        except ObjectChangedError:
            raise ImageError("fetch", "changed") from None
        except ObjectStoreError as exc:
            if exc.reason not in OBJECT_REASONS:
                raise
            raise ImageError("fetch", OBJECT_REASONS[exc.reason]) from None
        return got.data

    def find_problem(self, path: str, expected: str | None) -> str | None:
        """Why an image is not seen from here as where it was found, with the way out."""
        try:
            self.bucket.head(self._key(path))
        except FileNotFoundError:
            return None  # gone since: its row will say so
        except ObjectStoreError as exc:
            return f"cannot read SOURCE: {exc}"
        return None

    def _key(self, path: str) -> str:
        return self.address.key(decode_path(path))
