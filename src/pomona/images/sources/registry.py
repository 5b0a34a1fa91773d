"""Sources: the places that images can be read from; one entry in `OPENERS` for each kind.

To add a source, write a class with the methods of `base.Source` and a function that opens one, or
returns None for a place of another kind, and insert it into `OPENERS` before the folder. Every
command then takes such a place as SOURCE. An address of a new scheme needs an entry in
`pomona.store.folders.registry`, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pomona.errors import SourceError
from pomona.images.containers.blob import Blob, FileBlob, ObjectBlob
from pomona.images.containers.kinds import check_kind, file_kind, name_kind
from pomona.images.select import NameFilter
from pomona.images.sources.base import Source
from pomona.images.sources.bucket import BucketSource
from pomona.images.sources.container import ContainerSource
from pomona.images.sources.local import LocalSource
from pomona.images.sources.pack import PackSource
from pomona.images.sources.pack_format import is_unfinished, open_pack
from pomona.s3.address import SCHEME, Access, Address
from pomona.s3.bucket import Bucket
from pomona.s3.objects import Listed
from pomona.store.folders.registry import is_address, open_folder

Opener = Callable[[str | Path, Access | None], Source | None]


def _open_container(where: str | Path, access: Access | None) -> Source | None:
    """Opens a container, or a folder that holds containers and nothing else of images."""
    found = (_in_bucket if is_address(where) else _on_disk)(where, access)
    return ContainerSource(str(where), found) if found else None


def _on_disk(where: str | Path, access: Access | None) -> dict[str, tuple[str, Blob]]:
    """The containers of a path by their names; none for another path."""
    path = Path(where)
    if path.is_file():
        if (kind := file_kind(path)) is None:
            return {}
        return {"": (check_kind(str(path), kind), FileBlob(str(path)))}
    try:
        entries = list(os.scandir(path))
    except OSError:
        return {}
    names = _containers([f"{one.name}/" if _is_folder(one) else one.name for one in entries])
    return {name: (kind, FileBlob(str(path / name))) for name, kind in names.items()}


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _in_bucket(where: str | Path, access: Access | None) -> dict[str, tuple[str, Blob]]:
    """The containers of an address by their names; none for another address."""
    if not str(where).startswith(SCHEME):
        return {}
    from pomona.s3.bucket import open_bucket

    address = Address.parse(str(where))
    bucket = open_bucket(address, access)
    if kind := name_kind(address.prefix):
        found = next(iter(bucket.list_folder(address.prefix)[1]), None)
        if found is not None and found.key == address.prefix:
            return {"": (check_kind(str(where), kind), _object(bucket, found))}
    folders, listed = bucket.list_folder(address.folder)
    start = len(address.folder)
    own = {one.key[start:]: one for one in listed if one.key[start:]}
    names = _containers([*own, *(folder[start:] for folder in folders)])
    return {name: (kind, _object(bucket, own[name])) for name, kind in names.items()}


def _object(bucket: Bucket, found: Listed) -> Blob:
    """The object that a listing has found."""
    return ObjectBlob(bucket, found.key, found.etag, found.size_bytes)


def _containers(names: list[str]) -> dict[str, str]:
    """The kind of each container, if there are neither images nor folders beside them."""
    wanted = NameFilter()
    kinds = {
        name: kind
        for name in names
        if not wanted.is_hidden(name) and not name.endswith("/") and (kind := name_kind(name))
    }
    others = [name for name in names if name not in kinds and not wanted.is_hidden(name)]
    has_images = any(name.endswith("/") or wanted.why_not(name) is None for name in others)
    return {} if has_images else {name: check_kind(name, kinds[name]) for name in kinds}


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
