"""The source at a path or an address."""

from __future__ import annotations

from pathlib import Path

from pomona.errors import SourceError
from pomona.images.sources.base import Source
from pomona.images.sources.bucket import BucketSource
from pomona.images.sources.local import LocalSource
from pomona.images.sources.pack import PackSource, is_unfinished, open_pack
from pomona.s3.address import Access, Address
from pomona.store.folders.registry import is_address, open_folder


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
    from pomona.s3.bucket import open_bucket

    address = Address.parse(str(where))
    return BucketSource(open_bucket(address, access), address)
