"""Images under a prefix of a bucket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar

from pomona.errors import ObjectStoreError
from pomona.images.fetch import MAX_BYTES, object_errors
from pomona.images.prefetch import ImageRequest
from pomona.images.scan import Row, Scan, folder_label, to_catalog
from pomona.images.select import NameFilter
from pomona.s3.address import Address
from pomona.s3.bucket import Bucket
from pomona.store.schemas import decode_path, encode_path


@dataclass(frozen=True)
class BucketSource:
    """The objects under a prefix of a bucket. An image's fingerprint is its ETag and size."""

    bucket: Bucket
    address: Address
    ahead: int = 16

    has_folders: ClassVar[bool] = False

    def __str__(self) -> str:
        return str(self.address)

    def absolute(self) -> BucketSource:
        """This source: an address is the same everywhere."""
        return self

    def scan(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Scan:
        """Finds the images by their keys. Raises ObjectStoreError."""
        result = Scan()
        result.catalog = to_catalog(self._rows(NameFilter(include, exclude), result))
        return result

    def look(
        self, names: Iterable[str], include: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> Scan:
        """Finds the images among some names, by a request for each. Raises ObjectStoreError."""
        wanted = NameFilter(include, exclude)
        images = [name for name in names if not _is_folder(name) and wanted.why_not(name) is None]
        with ThreadPoolExecutor(self.ahead) as threads:
            rows = filter(None, threads.map(self._find_row, images))
            return Scan(to_catalog(rows))

    def _find_row(self, name: str) -> Row | None:
        """The row of an image; None if there is no such object."""
        try:
            found = self.bucket.head(self.address.folder + name)
        except FileNotFoundError:
            return None
        return _row(name, found.etag, found.size_bytes)

    def _rows(self, wanted: NameFilter, result: Scan) -> Iterator[Row]:
        """The rows of images; counts all other objects in the result."""
        start = len(self.address.folder)
        for listed in self.bucket.list_all(self.address.folder):
            name = listed.key[start:]
            if _is_folder(name):
                continue
            why_not = wanted.why_not(name)
            if why_not is not None:
                result.skipped[why_not] += 1
                continue
            yield _row(name, listed.etag, listed.size_bytes)

    def expect(self, wanted: Iterable[ImageRequest]) -> None:
        """Does nothing: a `Prefetcher` sends the requests ahead."""

    def fetch(self, path: str, expected: str | None = None) -> bytes:
        """Reads an image. Raises ImageError (stage "fetch"), ObjectStoreError."""
        etag = None if expected is None else expected.rpartition("-")[0]
        with object_errors():
            response = self.bucket.get(self._key(path), if_match=etag, limit=MAX_BYTES)
        return response.data

    def find_problem(self, path: str, expected: str | None) -> str | None:
        """Why this machine does not see an image as the scan did, with the remedy."""
        try:
            self.bucket.head(self._key(path))
        except FileNotFoundError:
            return None  # deleted since the scan: it will be an error row
        except ObjectStoreError as exc:
            return f"cannot read SOURCE: {exc}"
        return None

    def _key(self, path: str) -> str:
        return self.address.key(decode_path(path))


def _row(name: str, etag: str, size_bytes: int) -> Row:
    label, split = folder_label(name.rpartition("/")[0])
    return encode_path(name), label, split, size_bytes, f"{etag}-{size_bytes:x}"


def _is_folder(name: str) -> bool:
    """Whether a name is the prefix itself, or of what some tools create for folders."""
    return not name or name.endswith("/")
