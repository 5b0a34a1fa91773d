"""Manifest: pomona.json, which says what a store holds and how it was made."""

from __future__ import annotations

import json
from typing import Any

from pomona.errors import StoreDamagedError, StoreError
from pomona.store.folders.base import Folder, encode_text
from pomona.store.layout import MANIFEST
from pomona.store.recipe import Recipe

FORMAT_VERSION = 1


def read_manifest(files: Folder) -> dict[str, Any]:
    """Reads and checks a store's manifest.

    Parameters
    ----------
    files : Folder
        The folder of the store.

    Returns
    -------
    dict
        The source, the recipe, the totals, the PCA and the runs.

    Raises
    ------
    StoreError
        If there is none, it is damaged or cannot be read, or it is of another version.
    """
    try:
        manifest = json.loads(files.read(MANIFEST))
        version = manifest["format_version"]
        if version == FORMAT_VERSION:
            Recipe.from_dict(manifest["recipe"])
            _ = manifest["source"], manifest["totals"], manifest["pca"], manifest["runs"]
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise StoreError(
            f"{files} is not a pomona store: it has no {MANIFEST}; "
            "check the path, or make a store with `pomona run`"
        ) from exc
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise StoreError(f"{files}/{MANIFEST} is damaged: restore it from a copy") from exc
    except OSError as exc:
        raise StoreError(f"cannot read {files}/{MANIFEST}: {exc.strerror}") from exc
    if version != FORMAT_VERSION:
        raise StoreError(
            f"{files} has format {version}, but this pomona reads format {FORMAT_VERSION}: "
            "use the version of pomona that made it, or a later one"
        )
    return manifest  # type: ignore[no-any-return]


def new_manifest(source: str, recipe: Recipe) -> dict[str, Any]:
    """Returns the manifest of a store that holds nothing yet.

    Parameters
    ----------
    source : str
        Where the images are.
    recipe : Recipe
        How they become features.
    """
    return {
        "format_version": FORMAT_VERSION,
        "source": source,
        "recipe": recipe.to_dict(),
        "totals": {"images": 0, "features": 0, "errors": 0, "labels": 0},
        "pca": None,
        "csv": None,
        "thumbnails": None,
        "folders": "tree",
        "runs": [],
    }


def is_new(files: Folder, kind: str = "pomona store") -> bool:
    """Returns whether a folder is absent or empty, so that a store may begin in it.

    Parameters
    ----------
    files : Folder
        The folder.
    kind : str
        What is to begin in it, for the message of the error.

    Raises
    ------
    StoreError
        If it holds something else.
    """
    names = files.top()
    if names and MANIFEST not in names and names != ["_pomona"]:
        raise StoreError(
            f"{files} is not a {kind} and not empty (it holds {min(names)!r}): "
            "choose another folder"
        )
    return MANIFEST not in names


def read_json(
    files: Folder, name: str, newest: int, damaged: StoreDamagedError, way_out: str
) -> dict[str, Any] | None:
    """Reads a JSON object that has a format of its own, or None where there is no such file.

    Parameters
    ----------
    files : Folder
        The folder of the store.
    name : str
        The file.
    newest : int
        The newest format that this pomona reads.
    damaged : StoreDamagedError
        What to raise if it is not what was written.
    way_out : str
        What to do about a file of a later version, besides upgrading.

    Raises
    ------
    StoreDamagedError
        If it is not what was written.
    StoreError
        If it is of a later version, or cannot be read.
    """
    try:
        facts = json.loads(files.read(name))
        number = facts["format"]
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        raise damaged from exc
    if type(number) is not int:
        raise damaged
    if number > newest:
        raise StoreError(
            f"{files}/{name} is of a later version of pomona (format {number}): upgrade pomona, "
            f"or {way_out}"
        )
    return dict(facts)


def encode_json(content: dict[str, Any]) -> bytes:
    """Returns a JSON object as a store's files hold it: indented, in UTF-8.

    Parameters
    ----------
    content : dict
        What `json` can write.
    """
    return encode_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
