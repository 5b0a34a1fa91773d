"""The store's earlier rows of a part, so that no image runs twice."""

from __future__ import annotations

import contextlib
from collections.abc import Set
from typing import Any

import numpy as np
import numpy.typing as npt

from pomona.errors import StoreDamagedError
from pomona.store.layout import part_name
from pomona.store.plan import Shard
from pomona.store.recipe import Recipe
from pomona.store.store import Store
from pomona.store.tables import matrix


class KnownRows:
    """The rows that the store already has for the images of a part.

    Each file can be trusted by itself, whatever generation it was written for: metadata/ maps a
    fingerprint to a content, features/ a content to its features under a recipe, errors/ a
    fingerprint to what was wrong with the file. A missing or damaged file contributes nothing.

    Parameters
    ----------
    store : Store
        Where the files are read.
    shard : Shard
        The images of the part.
    recipe : Recipe
        Features of any other recipe are ignored.
    """

    def __init__(self, store: Store, shard: Shard, recipe: Recipe) -> None:
        self._metadata: dict[str, dict[str, Any]] = {}
        self._errors: dict[str, dict[str, Any]] = {}
        self._features: dict[tuple[str, str], npt.NDArray[np.float32]] = {}
        if shard.is_new:
            return
        self._metadata, self._errors = store.map_concurrent(
            lambda table: {row["path"]: row for row in _rows(store, shard.part, table)},
            ("metadata", "errors"),
        )
        name = part_name("features", shard.part)
        if (store.footer(name) or {}).get("recipe") == recipe.digest:
            with contextlib.suppress(StoreDamagedError):
                table = store.read_table(name)
                contents = zip(table["path"].to_pylist(), table["sha256"].to_pylist(), strict=True)
                self._features = dict(zip(contents, matrix(table, "features"), strict=True))

    def sha256(self, image: dict[str, Any]) -> str | None:
        """The SHA-256 of the image's file as it was read, if its fingerprint is unchanged."""
        row = self._metadata.get(image["path"], {})
        return row["sha256"] if row.get("fingerprint") == image["fingerprint"] else None

    def recall(self, image: dict[str, Any]) -> dict[str, Any] | npt.NDArray[np.float32] | None:
        """Finds the result for the image's content, and fills in its width, height and format.

        Parameters
        ----------
        image : dict
            A catalog row with its sha256, or None for content that is not known.

        Returns
        -------
        dict, float32[width] or None
            Its error row, its features, or None where nothing is known.
        """
        path, sha256 = image["path"], image["sha256"]
        row = self._metadata.get(path)
        if row is None or row["sha256"] != sha256:
            return None
        if sha256 is None and row["fingerprint"] != image["fingerprint"]:
            return None  # it could not be read then, and may be readable now
        error = self._errors.get(path)
        if error and error["fingerprint"] not in (image["fingerprint"], row["fingerprint"]):
            error = None
        found = self._features.get((path, sha256), error)
        if found is not None:
            image.update({key: row[key] for key in ("width", "height", "format")})
        return found


def _rows(store: Store, part: int, table: str) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = store.read_table(part_name(table, part)).to_pylist()
    except (FileNotFoundError, StoreDamagedError):
        return []
    return rows


def count_unknown(
    store: Store, shard: Shard, recipe: Recipe, besides: Set[str] = frozenset()
) -> int:
    """Counts the images of a shard that `extract` would read: new ones, and those that may differ.

    Parameters
    ----------
    store, shard, recipe
        As `KnownRows` takes them.
    besides : set of str
        Paths that do not count.
    """
    known = KnownRows(store, shard, recipe)
    images = [image for image in shard.images.to_pylist() if image["path"] not in besides]
    for image in images:
        image["sha256"] = known.sha256(image)
    return sum(known.recall(image) is None for image in images)
