"""The files of a store's classifier: which they are, and how they are read and written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pomona.errors import StoreDamagedError, StoreError
from pomona.store.folders.base import Folder
from pomona.store.layout import CLASSIFIER, CLASSIFIER_FOLDER
from pomona.store.manifest import encode_json

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
    try:
        facts = json.loads(files.read(CLASSIFIER))
        number = facts["format"]
        if type(number) is not int:
            raise TypeError("format")
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        raise damaged(files, CLASSIFIER) from exc
    if number > FORMAT:
        raise StoreError(
            f"{files}/{CLASSIFIER} is of a later version of pomona (format {number}): upgrade "
            f"pomona, or `pomona train {files}` again"
        )
    if not {"id", "labels", "model", "on", "projection", "temperature", "files"} <= facts.keys():
        raise damaged(files, CLASSIFIER)
    return dict(facts)


def read_file(files: Folder, facts: Mapping[str, Any], name: str) -> bytes:
    """Returns a file of the classifier.

    Raises
    ------
    StoreDamagedError
        If it is missing, or is not what was written.
    StoreError
        If it cannot be read.
    """
    try:
        data = files.read(name)
    except FileNotFoundError as exc:
        raise damaged(files, name) from exc
    if hashlib.sha256(data).hexdigest() != facts["files"].get(name):
        raise damaged(files, name)
    return data


def write(files: Folder, facts: Mapping[str, Any], contents: Mapping[str, bytes]) -> dict[str, Any]:
    """Writes a classifier's files. classifier.json comes last: without it there is none.

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
        If they cannot be written; nothing half-written is taken for a classifier then.
    """
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    files.delete(CLASSIFIER)
    for name, data in contents.items():
        files.write(name, data)
    told = {"format": FORMAT, **facts, "files": digests}
    files.write(CLASSIFIER, encode_json(told))
    for name in set(files.names(CLASSIFIER_FOLDER)) - {CLASSIFIER, *contents}:
        files.delete(name)
    return told


def damaged(files: Folder, name: str) -> StoreDamagedError:
    """Returns the error for a file of the classifier that is missing or damaged."""
    return StoreDamagedError(f"{files}/{name} is missing or damaged: `pomona train {files}` again")
