"""Projected: the images that the report compares, on the kept components."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pomona.images.select import spread_sample
from pomona.pca.projection import Projection
from pomona.store.schemas import IDENTITY
from pomona.store.store import Store
from pomona.store.tables import matrix

# Where images form no clusters, each is compared with every other: beyond these a sample stands
# for all.
MOST_IMAGES = 100_000
MOST_NUMBERS = 50_000_000


@dataclass(frozen=True)
class ImageRef:
    """An image as the report names it. sha256: of its file, None where it was not read."""

    path: str
    label: str | None
    split: str | None
    sha256: str | None


@dataclass(frozen=True)
class Projected:
    """Images on the kept components, all of a store or a sample.

    Attributes
    ----------
    images : pyarrow.Table
        path, label, split and sha256 of n images.
    array : numpy.ndarray
        float32[n, k]: their coordinates.
    total : int
        How many images the store has on these components.
    """

    images: pa.Table
    array: npt.NDArray[np.float32]
    total: int

    def __len__(self) -> int:
        return len(self.array)

    @property
    def is_sample(self) -> bool:
        """Whether the store has more of them."""
        return len(self) < self.total

    def image(self, row: int) -> ImageRef:
        """The image of a row."""
        [image] = self.images.slice(row, 1).to_pylist()
        return ImageRef(**image)

    def distinct(self) -> npt.NDArray[np.int64]:
        """int64[m]: the first row of each file content. A row of unknown content is its own."""
        seen: set[str] = set()
        rows = []
        for row, digest in enumerate(self.images["sha256"].to_pylist()):
            if digest is None or digest not in seen:
                rows.append(row)
            seen.add(digest)
        return np.array(rows, np.int64)


def load(store: Store, projection: Projection, metadata: pa.Table) -> Projected:
    """Loads the rows of a projection, or a sample of them that is spread evenly over the labels.

    The sample depends on the store's images alone.

    Parameters
    ----------
    store : Store
        The store to read.
    projection : Projection
        Its PCA: rows of another one are left out.
    metadata : pyarrow.Table
        path and sha256 of the store's images.

    Raises
    ------
    StoreError
        If a part cannot be read.
    """
    columns = [field.name for field in IDENTITY]
    names = store.part_names("pca")
    read = store.map_concurrent(lambda name: store.read_with_footer(name, columns), names)
    parts = {
        name: table
        for name, (table, footer) in zip(names, read, strict=True)
        if footer.get("projection") == projection.id
    }
    identity = pa.concat_tables([pa.schema(IDENTITY).empty_table(), *parts.values()])
    chosen = spread_sample(identity, min(MOST_IMAGES, MOST_NUMBERS // projection.k), seed=0)
    array = np.empty((chosen.num_rows, projection.k), np.float32)
    is_chosen = pc.is_in(identity["path"], chosen["path"]).to_numpy()
    edges = np.cumsum([0, *(table.num_rows for table in parts.values())])
    places = np.concatenate([[0], np.cumsum(is_chosen)])

    def fill(part: tuple[str, int, int]) -> None:
        name, start, end = part
        rows = matrix(store.read_table(name), "pca")
        array[places[start] : places[end]] = rows[is_chosen[start:end]]

    store.map_concurrent(fill, zip(parts, edges[:-1], edges[1:], strict=True))
    found = pc.index_in(chosen["path"], value_set=metadata["path"])
    images = chosen.append_column("sha256", metadata["sha256"].take(found))
    return Projected(images.combine_chunks(), array, identity.num_rows)
