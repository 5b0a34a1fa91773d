"""Storages: the kinds of place that a store can lie in, by the scheme of their addresses.

To add a storage, write a class with the methods of `base.Folder` and a function that opens one,
and give them an entry in `STORAGES`. The class takes its lock from `pomona.store.locks`. Every
command then takes such an address as OUT and STORE. To read images from there too, add a source to
`pomona.images.sources.registry`.

The command line imports this module when it starts, so an opener imports what it needs itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pomona.errors import UsageError
from pomona.s3.address import Access, Address, without_credentials

if TYPE_CHECKING:
    from pomona.store.folders.base import Folder


@dataclass(frozen=True)
class Storage:
    """A kind of place.

    Parameters
    ----------
    form : str
        How its addresses look, for people.
    open : callable
        Opens the folder at an address; it gets the access to buckets too.
    """

    form: str
    open: Callable[[str, Access | None], Folder]


def _open_local(path: str, access: Access | None) -> Folder:
    """Opens a folder on disk."""
    from pomona.store.folders.local import LocalFolder

    return LocalFolder(path)


def _open_s3(address: str, access: Access | None) -> Folder:
    """Opens a prefix of a bucket."""
    from pomona.s3.bucket import open_bucket
    from pomona.store.folders.s3 import S3Folder

    parsed = Address.parse(address)
    return S3Folder(open_bucket(parsed, access), parsed)


# By scheme; what has none is a path on disk.
STORAGES: dict[str, Storage] = {
    "": Storage("a folder", _open_local),
    "s3": Storage("s3://BUCKET/PREFIX", _open_s3),
}


def place(given: str | os.PathLike[str]) -> str | Path:
    """Returns the place that a user gave: an address as it is, else a path with `~` expanded.

    Parameters
    ----------
    given : str or path-like
        A path or an address.

    Raises
    ------
    UsageError
        If no storage has the address's scheme. As a path it would make an odd folder.
    """
    text = os.fspath(given)
    _find_storage(text)
    return text if is_address(text) else Path(text).expanduser()


def is_address(place: object) -> bool:
    """Returns whether a place has an address, such as s3://BUCKET, and is not a path on disk.

    Parameters
    ----------
    place : str or Path
        What `place` returned.
    """
    return isinstance(place, str) and _scheme(place) != ""


def open_folder(where: str | Path, access: Access | None = None) -> Folder:
    """Opens the folder at a path or an address.

    Parameters
    ----------
    where : str or Path
        The path or the address.
    access : Access, optional
        How buckets are used.

    Raises
    ------
    UsageError
        If no storage has the address's scheme.
    ObjectStoreError
        If the bucket cannot be used.
    """
    return _find_storage(str(where)).open(str(where), access)


def _find_storage(place: str) -> Storage:
    """Returns the storage of a place; raises UsageError for an unknown scheme."""
    storage = STORAGES.get(_scheme(place))
    if storage is None:
        raise UsageError(
            f"{without_credentials(place)} has an unknown scheme: "
            f"give {', or '.join(known.form for known in STORAGES.values())}"
        )
    return storage


def _scheme(place: str) -> str:
    """Returns an address's scheme; empty for a path."""
    match = re.match(r"([A-Za-z][\w+.-]*)://", place)
    return "" if match is None else match[1]
