"""Discovery: whether a place is a container, or a tree that holds containers and no images."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from pomona.images.containers.blob import Blob, FileBlob, ObjectBlob
from pomona.images.containers.kinds import check_kind, file_kind, name_kind
from pomona.images.select import NameFilter
from pomona.s3.address import SCHEME, Access, Address
from pomona.s3.bucket import Bucket
from pomona.s3.objects import Listed

# After so many folders with neither images nor containers it is the images that may be rare.
_MOST_EMPTY_FOLDERS = 1_000
# Of a folder, by its path in the tree: the paths of the folders and of the files in it. OSError if
# it cannot be listed.
Lister = Callable[[str], tuple[list[str], Iterable[str]]]


def on_disk(path: Path) -> dict[str, tuple[str, Blob]]:
    """Returns the containers of a path by their names, each with its kind; none for another path.

    Parameters
    ----------
    path : Path
        A file, whose name is then "", or a folder.

    Raises
    ------
    SourceError
        For containers that cannot be read in ranges.
    """
    if path.is_file():
        if (kind := file_kind(path)) is None:
            return {}
        return {"": (check_kind(str(path), kind), FileBlob(str(path)))}
    seen: set[tuple[int, int]] = set()

    def entries(folder: str) -> tuple[list[str], Iterable[str]]:
        here = path / folder
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:  # a link that leads back
            return [], []
        seen.add((status.st_dev, status.st_ino))
        folders: list[str] = []
        files: list[str] = []
        with os.scandir(here) as found:
            for entry in found:
                (folders if entry.is_dir() else files).append(_join(folder, entry.name))
        return folders, files

    return {name: (kind, FileBlob(str(path / name))) for name, kind in _find(entries).items()}


def in_bucket(where: str, access: Access | None) -> dict[str, tuple[str, Blob]]:
    """Returns the containers of an address, as `on_disk`; none for one that is not of S3.

    Parameters
    ----------
    where : str
        The address.
    access : Access, optional
        How buckets are used.

    Raises
    ------
    SourceError
        As by `on_disk`.
    ObjectStoreError
        If the bucket cannot be used.
    """
    if not where.startswith(SCHEME):
        return {}
    from pomona.s3.bucket import open_bucket

    address = Address.parse(where)
    bucket = open_bucket(address, access)
    if kind := name_kind(address.prefix):
        found = next(iter(bucket.list_folder(address.prefix)[1]), None)
        if found is not None and found.key == address.prefix:
            return {"": (check_kind(where, kind), _object(bucket, found))}
    start = len(address.folder)
    own: dict[str, Listed] = {}

    def entries(folder: str) -> tuple[list[str], Iterable[str]]:
        folders, listed = bucket.list_folder(address.folder + (folder and f"{folder}/"))
        files = {one.key[start:]: one for one in listed if not one.key.endswith("/")}
        own.update({name: one for name, one in files.items() if name_kind(name)})
        return [name[start:].rstrip("/") for name in folders], files

    return {name: (kind, _object(bucket, own[name])) for name, kind in _find(entries).items()}


def _object(bucket: Bucket, found: Listed) -> Blob:
    """The object that a listing has found."""
    return ObjectBlob(bucket, found.key, found.etag, found.size_bytes)


def _find(entries: Lister) -> dict[str, str]:
    """The kind of each container of a tree by its path; none if there is an image in it, too."""
    wanted = NameFilter()
    kinds: dict[str, str] = {}
    waiting, empty = deque([""]), 0
    while waiting and (kinds or empty < _MOST_EMPTY_FOLDERS):
        try:
            folders, files = entries(waiting.popleft())
        except OSError:
            return {}  # whoever reads the folder says why it cannot
        empty += 1
        for name in files:
            if wanted.is_hidden(name):
                continue
            if kind := name_kind(name):
                kinds[name] = kind
            elif wanted.why_not(name) is None:
                return {}
        waiting.extend(folder for folder in folders if not wanted.is_hidden(f"{folder}/"))
    return {name: check_kind(name, kind) for name, kind in kinds.items()}


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
