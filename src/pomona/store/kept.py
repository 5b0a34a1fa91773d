"""The classifiers of a store beside the one in use: candidates, and those that were in use.

Each is kept in models/ under its id. ID.json is what classifier.json says once it is in use; the
other files are ID-NAME. ID.json is written last and removed first: without it there is none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from pomona.errors import StoreDamagedError, UsageError
from pomona.store.classifier import FORMAT, names_are_safe
from pomona.store.folders.base import Folder
from pomona.store.layout import CLASSIFIER_FOLDER, MODELS_FOLDER
from pomona.store.manifest import encode_json, read_json


def facts_name(model: str) -> str:
    """Returns the name of the file that says what a kept classifier is."""
    return f"{MODELS_FOLDER}/{model}.json"


def file_name(model: str, name: str) -> str:
    """Returns where a kept classifier has the file that is `name` for the one in use."""
    return f"{MODELS_FOLDER}/{model}-{name.removeprefix(f'{CLASSIFIER_FOLDER}/')}"


def ids(files: Folder) -> list[str]:
    """Returns the ids of the classifiers that are kept."""
    prefix, suffix = f"{MODELS_FOLDER}/", ".json"
    return [
        name.removeprefix(prefix).removesuffix(suffix)
        for name in files.names(MODELS_FOLDER)
        if name.endswith(suffix) and "-" not in name
    ]


def read_facts(files: Folder, model: str) -> dict[str, Any]:
    """Returns what is known of a classifier that is kept.

    Raises
    ------
    UsageError
        If there is none of this id.
    StoreDamagedError
        If the file is not what was written.
    StoreError
        If it is of a later version, or cannot be read.
    """
    name = facts_name(model)
    if model not in ids(files):
        raise UsageError(f"{files} keeps no classifier {model!r}: see `pomona models {files}`")
    facts = read_json(files, name, FORMAT, damaged(files, model, name), "remove it")
    if facts is None or not {"id", "labels", "model", "on", "files"} <= facts.keys():
        raise damaged(files, model, name)
    if facts["id"] != model or not names_are_safe(facts):
        raise damaged(files, model, name)
    return facts


def read_file(files: Folder, facts: Mapping[str, Any], name: str) -> bytes:
    """Returns a file of a classifier that is kept.

    Raises
    ------
    StoreDamagedError
        If it is missing, or is not what was written.
    """
    place = file_name(facts["id"], name)
    try:
        data = files.read(place)
    except FileNotFoundError as exc:
        raise damaged(files, facts["id"], place) from exc
    if hashlib.sha256(data).hexdigest() != facts["files"].get(name):
        raise damaged(files, facts["id"], place)
    return data


def write(files: Folder, facts: Mapping[str, Any], contents: Mapping[str, bytes]) -> dict[str, Any]:
    """Keeps a classifier, and returns what its JSON file says.

    Parameters
    ----------
    files : Folder
        The folder of the store, open for writing.
    facts : mapping
        What classifier.json is to say; the format and the files' digests are added.
    contents : mapping of str to bytes
        The other files, by the names that they have for the classifier in use.

    Raises
    ------
    StoreWriteError
        If it cannot be written. Then it is not kept.
    """
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    told = {"format": FORMAT, **facts, "files": digests}
    remove(files, facts["id"])
    for name, data in contents.items():
        files.write(file_name(facts["id"], name), data)
    files.write(facts_name(facts["id"]), encode_json(told))
    return told


def remove(files: Folder, model: str) -> None:
    """Removes all files of a classifier that is kept."""
    files.delete(facts_name(model))
    prefix = file_name(model, "")
    files.delete(*(name for name in files.names(MODELS_FOLDER) if name.startswith(prefix)))


def damaged(files: Folder, model: str, name: str) -> StoreDamagedError:
    """Returns the error for a file of a kept classifier that is missing or damaged."""
    return StoreDamagedError(
        f"{files}/{name} is missing or damaged: `pomona models {files} --remove {model}`"
    )
