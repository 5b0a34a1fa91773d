"""The index of a store: its images as rows that can be compared, kept in search/.

Images are compared as in the report: by the cosine on the components of pca/, which are centred.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pomona.errors import ObjectStoreError, StoreBusyError, StoreError, StoreWriteError, UsageError
from pomona.pipeline.context import check_forgotten
from pomona.search.cells import MOST_TOP
from pomona.search.exact import Best, Rows, find_best, unit_rows
from pomona.search.files import Kept, build, keep, open_kept
from pomona.store.search import key_of, parts_to_search
from pomona.store.store import Store

TOP = 10
# So many queries are compared at once.
TOGETHER = 64


@dataclass(frozen=True)
class Neighbour:
    """An image of the store that is similar to one that was asked about.

    Attributes
    ----------
    path : str
        Its path in the store.
    label : str, optional
        Its label.
    sha256 : str, optional
        Of its file; None for imported features.
    similarity : float
        The cosine on the components, −1 to 1. Near-duplicates have 0.98 and more.
    """

    path: str
    label: str | None
    sha256: str | None
    similarity: float

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON has it."""
        return asdict(self)


@dataclass(frozen=True)
class Index:
    """The images of a store, to be searched.

    Attributes
    ----------
    key : str
        Of what it was made from: another state of the store has another, see `current_key`.
    kept : Kept
        The components of the images, each row with a length of 1; the images; cells, if the rows
        are too many to compare all.
    parts : tuple of int
        The numbers of the store's parts that it was made from, in order: one batch of images each.
    """

    key: str
    kept: Kept
    parts: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def rows(self) -> Rows:
        """The components of the images, each row with a length of 1: float32[n, k]."""
        return self.kept.rows

    @property
    def is_exact(self) -> bool:
        """Whether every row is compared. Otherwise a few of the nearest may be missing."""
        return self.kept.cells is None

    @property
    def width(self) -> int:
        """The number of components."""
        return int(self.rows.shape[1])

    def search(self, rows: npt.NDArray[np.float32], top: int = TOP) -> list[list[Neighbour]]:
        """Finds the nearest images of some rows.

        Parameters
        ----------
        rows : float32[q, k]
            Components, as `store.project` gives them.
        top : int
            How many images are wanted for each row.

        Returns
        -------
        list of list of Neighbour
            For each row its nearest images, the most similar first, and of those that are equally
            similar the first one by its path. They do not depend on the rows beside it.

        Raises
        ------
        UsageError
            If `top` is less than 1, or the rows are not as they should be.
        """
        check_top(top)
        if rows.ndim != 2 or rows.shape[1] != self.width or not np.isfinite(rows).all():
            raise UsageError(
                f"search takes finite rows of {self.width} components, as `store.project` gives "
                f"them, not an array of shape {rows.shape}"
            )
        found = []
        for start in range(0, len(rows), TOGETHER):
            queries = unit_rows(rows[start : start + TOGETHER])
            cells = self.kept.cells
            compare = find_best if cells is None or top > MOST_TOP else cells.find_best
            found += [self._in_order(best, top) for best in compare(self.rows, queries, top)]
        return found

    def find_path(self, sha256: str) -> str | None:
        """Returns the path of an image by the SHA-256 of its file.

        Parameters
        ----------
        sha256 : str
            As `Neighbour` has it.

        Returns
        -------
        str, optional
            Of the first one, if several files are the same. None: no image has it.

        Raises
        ------
        StoreDamagedError
            If the index is damaged.
        """
        image = self.kept.images.find(sha256)
        return None if image is None else str(image["path"])

    def _in_order(self, best: Best, top: int) -> list[Neighbour]:
        numbers = best.rows.tolist()
        neighbours = [
            Neighbour(**image, similarity=similarity)
            for image, similarity in zip(
                self.kept.images.at(numbers), best.similarities.tolist(), strict=True
            )
        ]
        return sorted(neighbours, key=lambda each: (-each.similarity, each.path))[:top]


def check_top(top: int) -> None:
    """Raises UsageError for a number of images that cannot be."""
    if top < 1:
        raise UsageError(f"`top` {top}: at least 1 image is needed")


def current_key(store: Store) -> str:
    """Returns the key of an index of the store as it is now.

    Raises
    ------
    StoreError
        If it has no components.
    """
    return key_of(_parts(store))


def open_index(store: Store) -> Index:
    """Opens the index of a store, and makes it where there is none of the store as it is now.

    It is made under the store's lock. Where that is held by a command, or the store cannot be
    written, it is made in memory, and not kept.

    Parameters
    ----------
    store : Store
        The store.

    Returns
    -------
    Index
        Of all images that have components.

    Raises
    ------
    StoreError
        If the store has no components, or they cannot be read.
    """
    parts = _parts(store)
    key = key_of(parts)
    kept = open_kept(store, key)
    if kept is None or kept.lacks_cells:
        try:
            with store.lock("pomona search") as (locked, _):
                check_forgotten(locked)
                parts = _parts(locked)
                key = key_of(parts)
                keep(locked, key, parts)
            kept = open_kept(store, key) or kept
        except (StoreBusyError, StoreWriteError, ObjectStoreError):
            pass
    return Index(key, kept or build(store, parts), tuple(sorted(parts)))


def _parts(store: Store) -> dict[int, dict[str, str]]:
    """The parts that can be searched. Raises StoreError where there are none."""
    parts = parts_to_search(store, store.projection.id)
    if not parts:
        raise StoreError(
            f"{store.files} has no components to search: run the store's `pomona run` again"
        )
    return parts
