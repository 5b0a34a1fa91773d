"""Sources: the places that images can be read from; one entry in `OPENERS` for each kind.

To add a source, write a class with the methods of `base.Source` and a function that opens one, or
returns None for a place of another kind, and insert it into `OPENERS` before the folder. Every
command then takes such a place as SOURCE. An address of a new scheme needs an entry in
`pomona.store.folders.registry`, too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pomona.errors import SourceError
from pomona.images.containers.kinds import file_kind
from pomona.images.sources.base import Source
from pomona.images.sources.bucket import BucketSource
from pomona.images.sources.container import ContainerSource
from pomona.images.sources.discovery import in_bucket, on_disk
from pomona.images.sources.local import LocalSource
from pomona.images.sources.pack import PackSource
from pomona.images.sources.pack_format import is_unfinished, open_pack
from pomona.s3.address import SCHEME, Access, Address
from pomona.store.folders.registry import is_address, open_folder

Opener = Callable[[str | Path, Access | None], Source | None]


def _open_container(where: str | Path, access: Access | None) -> Source | None:
    """Opens a container, or a tree that holds containers and no images."""
    found = in_bucket(str(where), access) if is_address(where) else on_disk(Path(where))
    return ContainerSource(str(where), found) if found else None


def _open_pack(where: str | Path, access: Access | None) -> Source | None:
    """Opens a pack, in a folder or in a bucket."""
    folder = open_folder(where, access)
    if (pack := open_pack(folder)) is not None:
        return PackSource(pack)
    if is_unfinished(folder):
        raise SourceError(f"{folder} is not a complete pack: run its `pomona pack` again first")
    return None


def _open_bucket(where: str | Path, access: Access | None) -> Source | None:
    """Opens a prefix of a bucket."""
    if not str(where).startswith(SCHEME) or not is_address(where):
        return None
    from pomona.s3.bucket import open_bucket

    address = Address.parse(str(where))
    return BucketSource(open_bucket(address, access), address)


def _open_local(where: str | Path, access: Access | None) -> Source | None:
    """Opens a folder on disk."""
    return None if is_address(where) else LocalSource(str(where))


# Tried in this order; the first that returns a source opens the place.
OPENERS: list[Opener] = [_open_pack, _open_container, _open_bucket, _open_local]


def is_image_file(place: str | Path) -> bool:
    """Returns whether a place is a file on disk that is one image, and no container of images.

    Parameters
    ----------
    place : str or Path
        A path or an address.

    Raises
    ------
    SourceError
        As `file_kind`.
    """
    return not is_address(place) and Path(place).is_file() and file_kind(Path(place)) is None


def open_source(where: str | Path, access: Access | None = None) -> Source:
    """Opens the source at a path or an address.

    Parameters
    ----------
    where : str or Path
        The path or the address.
    access : Access, optional
        How buckets are used.

    Returns
    -------
    Source
        Of the first kind that knows the place.

    Raises
    ------
    UsageError
        If the address has an unknown scheme.
    SourceError
        If the place is a damaged or unfinished pack, or one that images cannot be read from.
    ObjectStoreError
        If the bucket cannot be used.
    """
    for opener in OPENERS:
        if (source := opener(where, access)) is not None:
            return source
    raise SourceError(
        f"cannot read images from {where}: give a folder, a pack, a zip, tar or Parquet file, or "
        f"{SCHEME}BUCKET/PREFIX"
    )
