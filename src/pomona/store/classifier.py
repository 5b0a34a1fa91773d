"""The files of a store's classifier: which they are, and how they are read and written.

classifier.json names the others by digest, so it alone decides which classifier there is. The files
of the next one are written to next/ first; they get their own names once classifier.json is theirs.
Until then they are read from next/. A stop anywhere leaves the former classifier or the new one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from pomona.errors import StoreDamagedError, StoreError
from pomona.store.folders.base import Folder
from pomona.store.layout import CLASSIFIER, CLASSIFIER_FOLDER, CLASSIFIER_NEXT
from pomona.store.manifest import encode_json, read_json

FORMAT = 1


def read_facts(files: Folder) -> dict[str, Any] | None:
    """Returns the content of classifier.json, or None where a store has no classifier.

    Raises
    ------
    StoreDamagedError
        If it is not what was written.
    StoreError
        If it is of a later version, or cannot be read.
    """
    facts = read_json(
        files, CLASSIFIER, FORMAT, damaged(files, CLASSIFIER), f"`pomona train {files}` again"
    )
    if facts is None:
        return None
    wanted = {"id", "labels", "model", "on", "projection", "temperature", "files"}
    if not wanted <= facts.keys() or not names_are_safe(facts):
        raise damaged(files, CLASSIFIER)
    return facts


def names_are_safe(facts: Mapping[str, Any]) -> bool:
    """Whether all files of a classifier lie in classifier/ itself: a store may be a stranger's."""
    files, prefix = facts["files"], f"{CLASSIFIER_FOLDER}/"
    return isinstance(files, dict) and all(
        name.startswith(prefix)
        and name.removeprefix(prefix) not in ("", ".", "..")
        and not {"/", "\\", "\0"} & set(name.removeprefix(prefix))
        for name in files
    )


def read_file(files: Folder, facts: Mapping[str, Any], name: str) -> bytes:
    """Returns a file of the classifier.

    Raises
    ------
    StoreDamagedError
        If it is missing, or is not what was written.
    StoreError
        If it cannot be read.
    """
    for place in (name, _next(name)):
        data = _find(files, facts, name, place)
        if data is not None:
            return data
    raise damaged(files, name)


def _find(files: Folder, facts: Mapping[str, Any], name: str, place: str) -> bytes | None:
    """The content of a file of the classifier, if it lies in this place."""
    try:
        data = files.read(place)
    except FileNotFoundError:
        return None
    return data if hashlib.sha256(data).hexdigest() == facts["files"].get(name) else None


def _next(name: str) -> str:
    """Where a file lies before classifier.json is its own."""
    return f"{CLASSIFIER_NEXT}/{name.removeprefix(f'{CLASSIFIER_FOLDER}/')}"


def write(files: Folder, facts: Mapping[str, Any], contents: Mapping[str, bytes]) -> dict[str, Any]:
    """Writes a classifier's files, in place of the former one's.

    Parameters
    ----------
    files : Folder
        The folder of the store, open for writing.
    facts : mapping
        What classifier.json says; the format and the files' digests are added.
    contents : mapping of str to bytes
        The other files, by their names.

    Returns
    -------
    dict
        What classifier.json says now.

    Raises
    ------
    StoreWriteError
        If they cannot be written. Then the store has the former classifier, or the new one.
    """
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    try:
        former = read_facts(files)
    except StoreError:  # whatever it was, it cannot be read
        former = None
    if former is not None:
        _settle(files, former)  # next/ may hold what a stop has left of it
    for name, data in contents.items():
        files.write(_next(name), data)
    told = {"format": FORMAT, **facts, "files": digests}
    files.write(CLASSIFIER, encode_json(told))
    _settle(files, told)
    return told


def _settle(files: Folder, facts: Mapping[str, Any]) -> None:
    """Gives the files of the classifier their own names, and removes all others."""
    if files.names(CLASSIFIER_NEXT):
        for name in facts["files"]:
            data = _find(files, facts, name, _next(name))
            if data is not None and _find(files, facts, name, name) is None:
                files.write(name, data)
    files.delete(*(set(files.names(CLASSIFIER_FOLDER)) - {CLASSIFIER, *facts["files"]}))


def damaged(files: Folder, name: str) -> StoreDamagedError:
    """Returns the error for a file of the classifier that is missing or damaged."""
    return StoreDamagedError(f"{files}/{name} is missing or damaged: `pomona train {files}` again")
