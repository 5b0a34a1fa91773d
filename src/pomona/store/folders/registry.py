"""The folder at a path or an address."""

from __future__ import annotations

from pathlib import Path

from pomona.s3.address import Access, Address, is_address
from pomona.store.folders.base import Folder
from pomona.store.folders.local import LocalFolder


def open_folder(where: str | Path, access: Access | None = None) -> Folder:
    """The folder at a path or an address. Raises ObjectStoreError for a bucket that cannot be used.

    access: how buckets are used.
    """
    if not is_address(where):
        return LocalFolder(where)
    from pomona.s3.bucket import open_bucket
    from pomona.store.folders.s3 import S3Folder

    address = Address.parse(str(where))
    return S3Folder(open_bucket(address, access), address)
