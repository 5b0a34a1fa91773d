"""The files of search/: rows that can be compared, the images they belong to, what they are of.

Their names contain the key of what they were made from, so that files of two states of a store
never mix, and search.json is written last: without it there is no index.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from pomona.errors import StoreDamagedError
from pomona.store.folders.base import Folder
from pomona.store.layout import SEARCH, SEARCH_FOLDER, part_name, provenance
from pomona.store.manifest import encode_json, read_json
from pomona.store.store import Store

FORMAT = 1
# A file is read so many bytes at a time for its digest.
PIECE_BYTES = 2**24


def parts_to_search(store: Store, projection: str) -> dict[int, dict[str, str]]:
    """Returns the parts whose rows of pca/ are what the store holds now, with their footers.

    Parameters
    ----------
    store : Store
        The store.
    projection : str
        The id of its projection.
    """

    def ask(part: int) -> dict[str, str] | None:
        footer = store.footer(part_name("pca", part))
        features = store.footer(part_name("features", part))
        is_current = (
            footer is not None
            and features is not None
            and footer.get("projection") == projection
            and provenance(footer) == provenance(features)
            and footer["rows"] == features["rows"]
        )
        return footer if is_current else None

    parts = store.part_numbers("pca")
    found = zip(parts, store.map_concurrent(ask, parts), strict=True)
    return {part: footer for part, footer in found if footer is not None}


def key_of(parts: dict[int, dict[str, str]]) -> str:
    """Returns a digest of what decides the rows of some parts: 16 hexadecimal digits."""
    told = json.dumps([FORMAT, sorted(parts.items())], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def file_name(key: str, kind: str) -> str:
    """Returns the name of a file of search/.

    Parameters
    ----------
    key : str
        Of what it was made from.
    kind : str
        Its name's end, such as "rows.npy".
    """
    return f"{SEARCH_FOLDER}/{key}-{kind}"


def read_facts(store: Store) -> dict[str, Any] | None:
    """Returns the content of search.json, or None where a store has no index.

    Raises
    ------
    StoreDamagedError
        If it is not what was written.
    StoreError
        If it is of a later version, or cannot be read.
    """
    facts = read_json(
        store.files, SEARCH, FORMAT, damaged(store, SEARCH), f"delete {store.files}/{SEARCH_FOLDER}"
    )
    if facts is None:
        return None
    if not _is_complete(facts):
        raise damaged(store, SEARCH)
    return facts


def _is_complete(facts: dict[str, Any]) -> bool:
    """Whether search.json says all that it must."""
    files = facts.get("files")
    return (
        isinstance(facts.get("key"), str)
        and isinstance(files, dict)
        and all(
            isinstance(told, dict)
            and type(told.get("size_bytes")) is int
            and isinstance(told.get("sha256"), str)
            for told in files.values()
        )
    )


def write_facts(store: Store, key: str, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes search.json, and removes the files that it does not name.

    Parameters
    ----------
    store : Store
        The store, open for writing.
    key : str
        Of what the files were made from.
    files : mapping
        `size_bytes` and `sha256` of each file, by its name.
    """
    store.files.write(SEARCH, encode_json({"format": FORMAT, "key": key, "files": dict(files)}))
    store.files.delete(*(set(store.files.names(SEARCH_FOLDER)) - {SEARCH, *files}))


def is_whole(store: Store, name: str, told: Mapping[str, Any]) -> bool:
    """Returns whether a file has the SHA-256 that search.json tells of it."""
    digest = hashlib.sha256()
    try:
        for piece in read_pieces(store.files, name, told["size_bytes"]):
            digest.update(piece)
    except FileNotFoundError:
        return False
    return bool(digest.hexdigest() == told["sha256"])


def read_pieces(files: Folder, name: str, size_bytes: int) -> Iterator[bytes]:
    """Yields the bytes of a file, some at a time; raises as `Folder.read_range` does."""
    for start in range(0, size_bytes, PIECE_BYTES):
        yield files.read_range(name, start, min(PIECE_BYTES, size_bytes - start))


def damaged(store: Store, name: str) -> StoreDamagedError:
    """Returns the error for a file of search/ that is missing or damaged."""
    return StoreDamagedError(
        f"{store.files}/{name} is missing or damaged: delete {store.files}/{SEARCH_FOLDER}; the "
        "next `pomona search` makes it again"
    )
