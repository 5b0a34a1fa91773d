"""The two sides of a comparison: the images that a projection knows, and the new ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pomona.errors import StoreError, UsageError
from pomona.s3.address import Access
from pomona.store.layout import part_name
from pomona.store.schemas import IDENTITY
from pomona.store.store import Store
from pomona.store.tables import matrix

# So many images of each side are compared, out of so many parts.
MOST_IMAGES, PARTS_READ = 2_000, 100


@dataclass(frozen=True)
class Side:
    """Images of one side, all or a sample.

    Attributes
    ----------
    store : Store
        The store that holds them.
    images : pyarrow.Table
        path, label, split and sha256 of n images.
    features : float32[n, width]
        Their features.
    total : int
        How many images there are on this side.
    """

    store: Store
    images: pa.Table
    features: npt.NDArray[np.float32]
    total: int

    def __len__(self) -> int:
        return len(self.features)

    @property
    def digests(self) -> list[str]:
        """What is the same for the same images: the SHA-256 of the file, or the path."""
        known = pc.coalesce(self.images["sha256"], self.images["path"])
        return known.to_pylist()  # type: ignore[no-any-return]


def read_sides(
    store: Store, since: str | None, against: str | Path | None, access: Access | None
) -> tuple[Side, Side, str]:
    """Reads the known and the new images of a store.

    Parameters
    ----------
    store : Store
        The store, with a projection.
    since : str, optional
        The id of a run, or how it begins: the images that came later are new.
    against : str or Path, optional
        Another store, whose images are new. Without both, those that came after the projection was
        fitted are.
    access : Access, optional
        How buckets are used.

    Returns
    -------
    known, new : Side
        The two sides.
    what : str
        Which images are new, as it reads after "images".

    Raises
    ------
    UsageError
        If both are given, or no such run is known.
    StoreError
        If there are no new images, or the other store has another recipe.
    """
    if since is not None and against is not None:
        raise UsageError("give `since` or `against`, not both")
    parts = store.part_numbers("features")
    if against is not None:
        other = _open_other(store, against, access)
        new = _read(other, other.part_numbers("features"))
        what, way_out = f"of {other.files}", "give a store with images"
        known = _read(store, parts)
    else:
        last = store.projection.last_part if since is None else _last_part(store, since)
        if last is None:
            raise StoreError(
                f"the PCA of {store.files} does not say what it was fitted on: give `since` or "
                "`against`"
            )
        known = _read(store, [part for part in parts if part <= last])
        new = _read(store, [part for part in parts if part > last])
        what = "added since the PCA was fitted" if since is None else f"added since the run {since}"
        way_out = "give `since` or `against` to name other new images"
    if not len(new):
        raise StoreError(f"there are no images {what}: {way_out}")
    if len(known) < 2:
        raise StoreError(f"{store.files} has fewer than two images from before: give another run")
    return known, new, what


def _open_other(store: Store, against: str | Path, access: Access | None) -> Store:
    """Opens another store, whose features must be made as those of `store` are."""
    other = Store(against, access)
    if other.recipe.digest != store.recipe.digest:
        differences = "; ".join(store.recipe.differences(other.recipe))
        raise StoreError(
            f"{other.files} has features of another recipe than {store.files} ({differences}): "
            "make them alike, as `pomona predict` does"
        )
    return other


def _last_part(store: Store, since: str) -> int:
    """The last part that a run has left.

    Raises
    ------
    UsageError
        If there is no such run, there are several, or it does not say so.
    """
    runs = store.manifest["runs"]
    found = [run for run in runs if run["id"].startswith(since)]
    if len(found) != 1:
        problem = "no run" if not found else f"{len(found):,} runs"
        ids = ", ".join(run["id"] for run in runs[-3:])
        raise UsageError(
            f"`since` {since}: {problem} of {store.files} so named; the last ones are {ids}"
        )
    last = found[0].get("last_part")
    if last is None:
        raise UsageError(
            f"`since` {since}: that run was recorded by an earlier pomona, without its parts; "
            "choose a later run, or `against`"
        )
    return int(last)


def _read(store: Store, parts: Sequence[int]) -> Side:
    """Images of some parts, or a sample of them. The same store gives the same sample."""
    footers = store.map_concurrent(lambda part: store.footer(part_name("features", part)), parts)
    rows = {
        part: int(footer["rows"]) if footer else 0
        for part, footer in zip(parts, footers, strict=True)
    }
    filled = [part for part in parts if rows[part]]
    total = sum(rows.values())
    read = sorted(
        {filled[at] for at in np.linspace(0, len(filled) - 1, PARTS_READ).astype(int)}
        if filled
        else ()
    )
    share = min(1.0, MOST_IMAGES / max(1, sum(map(rows.__getitem__, read))))

    def sample(part: int) -> tuple[pa.Table, npt.NDArray[np.float32]]:
        names = [*(field.name for field in IDENTITY), "sha256", "features"]
        table = store.read_table(part_name("features", part), names)
        order = np.random.default_rng(part).permutation(table.num_rows)
        kept = np.sort(order[: max(1, round(share * table.num_rows))])
        taken = table.take(pa.array(kept))
        return taken.drop_columns(["features"]), matrix(taken, "features")

    sampled = list(store.map_prefetched(sample, read))
    if not sampled:
        empty = np.empty((0, store.recipe.width), np.float32)
        return Side(store, pa.schema([*IDENTITY, ("sha256", pa.string())]).empty_table(), empty, 0)
    images = pa.concat_tables([table for table, _ in sampled]).combine_chunks()
    return Side(store, images, np.concatenate([rows for _, rows in sampled]), total)
