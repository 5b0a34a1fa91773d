"""Images under a prefix of a bucket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pomona.errors import ImageError, ObjectChangedError, ObjectStoreError
from pomona.images.fetch import MAX_BYTES, OBJECT_REASONS
from pomona.images.scan import NameFilter, Row, Scan, folder_label, to_catalog
from pomona.s3.address import Address
from pomona.s3.bucket import Bucket
from pomona.store.schemas import decode_path, encode_path


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
        found.catalog = to_catalog(self._rows(NameFilter(include), found))
        return found

    def _rows(self, wanted: NameFilter, found: Scan) -> Iterator[Row]:
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
