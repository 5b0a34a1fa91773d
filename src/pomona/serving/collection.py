"""Collection: what the pages of a store's images show, read when it is asked for.

Whatever the size of the store, a look reads a bounded number of its parts and keeps little.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pomona.errors import StoreError
from pomona.images.select import spread_sample
from pomona.pca.projection import Projection
from pomona.report.formatting import natural_key
from pomona.report.projected import Projected
from pomona.report.sections.map import MAP_IMAGES, Map, draw
from pomona.search.browse import (
    count_labels,
    files_of_paths,
    row_of_path,
    rows_of_file,
    rows_of_label,
)
from pomona.search.index import Index, Neighbour
from pomona.serving.suspects import Suspect
from pomona.store.layout import part_name
from pomona.store.store import Store
from pomona.store.tables import matrix

Row: TypeAlias = npt.NDArray[np.float32]

# So many labels are told apart.
MOST_LABELS = 10_000
# The map's images are drawn from so many parts, which are spread over the store.
MAP_PARTS = 128
MOST_COPIES, NEAREST = 20, 12
IMAGE_COLUMNS = ["path", "split", "width", "height", "sha256", "features"]


@dataclass(frozen=True)
class Stored:
    """An image of the store. sha256: of its file; None for imported features."""

    row: int
    path: str
    label: str | None
    sha256: str | None


@dataclass(frozen=True)
class Details:
    """What is known of an image.

    Attributes
    ----------
    copies : list of Stored
        The images whose files have these bytes: usually one.
    nearest : list of Neighbour
        The nearest other images, the most similar first.
    split : str, optional
        Of the first copy.
    width, height : int, optional
        In pixels. None: the store's tables have changed since they were indexed.
    features : float32[width], optional
        Of the first copy; None as above.
    """

    copies: list[Stored]
    nearest: list[Neighbour]
    split: str | None = None
    width: int | None = None
    height: int | None = None
    features: Row | None = None

    @property
    def labels(self) -> list[str]:
        """The labels of the copies, each once."""
        return list(dict.fromkeys(each.label for each in self.copies if each.label is not None))


class Collection:
    """The images of a store as its index has them, and the suspects of its classifier.

    Its methods read files: they belong on a thread.

    Parameters
    ----------
    store : Store
        The store.
    index : Index
        Of its images.
    suspects : sequence of Suspect, optional
        The most suspect first. None: there is no list of them.
    """

    def __init__(self, store: Store, index: Index, suspects: Sequence[Suspect] | None) -> None:
        self._store, self._index = store, index
        self.suspects = suspects
        self._images = index.kept.images

    def __len__(self) -> int:
        return len(self._index)

    @cached_property
    def labels(self) -> dict[str | None, int]:
        """How many images each label has, in the order of the report; at most `MOST_LABELS`."""
        return {name: self._counted[0][name] for name in sorted(self._counted[0], key=natural_key)}

    @property
    def others(self) -> int:
        """How many images have further labels."""
        return self._counted[1]

    @cached_property
    def _counted(self) -> tuple[dict[str | None, int], int]:
        return count_labels(self._images, MOST_LABELS)

    @cached_property
    def map(self) -> Map | None:
        """The map of the report, or of images from `MAP_PARTS` parts of a large store.

        Raises
        ------
        StoreError
            If a part cannot be read.
        """
        projection = self._store.find_projection()
        if projection is None:
            return None
        parts = self._index.parts
        numbers = np.unique(np.linspace(0, len(parts) - 1, MAP_PARTS).round().astype(int)).tolist()
        tables = [
            pa.table(self._images.batch(number)).append_column(
                "part", pa.repeat(pa.scalar(parts[number]), self._images.batch(number).num_rows)
            )
            for number in numbers
        ]
        sample = spread_sample(pa.concat_tables(tables).combine_chunks(), MAP_IMAGES, seed=0)
        projected = self._project(sample, projection)
        return draw(projected, projection) if len(projected) else None

    def _project(self, sample: pa.Table, projection: Projection) -> Projected:
        """The images of a sample whose components are still in the store, with these."""
        found = list(self._components(sample, projection))
        empty = np.empty((0, projection.k), np.float32)
        images = pa.concat_tables([sample.slice(0, 0), *(images for images, _ in found)])
        images = images.drop_columns(["part"]).append_column(
            "split", pa.nulls(images.num_rows, pa.string())
        )
        array = np.concatenate([empty, *(rows for _, rows in found)])
        return Projected(images.combine_chunks(), array, len(self._index))

    def _components(
        self, sample: pa.Table, projection: Projection
    ) -> Iterator[tuple[pa.Table, Row]]:
        """The images of each part of a sample, with their components."""
        for part in sorted(set(sample["part"].to_pylist())):
            own = sample.filter(pc.equal(sample["part"], part))
            try:
                table, footer = self._store.read_with_footer(
                    part_name("pca", part), ["path", "pca"]
                )
            except FileNotFoundError:
                continue
            if footer.get("projection") == projection.id:
                at = pc.index_in(own["path"], value_set=table["path"])
                own, at = own.filter(pc.is_valid(at)), pc.drop_null(at)
                yield own, matrix(table, "pca")[at.to_numpy()]

    @cached_property
    def suspect_files(self) -> list[str | None]:
        """The SHA-256 of the file of each suspect; None where it is not in the store any more."""
        return files_of_paths(self._images, [suspect.path for suspect in self.suspects or ()])

    def of_label(self, label: str | None, start: int, count: int) -> list[Stored]:
        """Returns `count` images of a label after the first `start`. None: those without one."""
        return self._at(rows_of_label(self._images, label, start, count))

    def find_copies(self, sha256: str) -> list[Stored]:
        """Returns the images whose file has a SHA-256, at most `MOST_COPIES`."""
        return self._at(rows_of_file(self._images, sha256, MOST_COPIES))

    def find_path(self, path: str) -> Stored | None:
        """Returns the image of a path, if there is one."""
        row = row_of_path(self._images, path)
        return None if row is None else self._at([row])[0]

    def describe(self, copies: list[Stored]) -> Details:
        """Returns what is known of an image, by what `find_copies` gives: at least one."""
        first = copies[0]
        wanted = NEAREST + len(copies)
        [found] = self._index.search(np.array(self._index.rows[first.row : first.row + 1]), wanted)
        others = [near for near in found if near.sha256 != first.sha256 or near.sha256 is None]
        return Details(copies, others[:NEAREST], **self._read_facts(first))

    def _read_facts(self, image: Stored) -> dict[str, Any]:
        """Split, size and features of an image; nothing if the store's tables have changed."""
        part = self._index.parts[self._images.batch_of(image.row)]
        try:
            table = self._store.read_table(part_name("features", part), IMAGE_COLUMNS)
        except (FileNotFoundError, StoreError):
            return {}
        at = pc.index(table["path"], image.path).as_py()
        if at < 0:
            return {}
        one = table.slice(at, 1)
        facts: dict[str, Any] = one.drop_columns(["features", "path"]).to_pylist()[0]
        if facts.pop("sha256") != image.sha256:
            return {}
        return {**facts, "features": np.array(matrix(one, "features")[0])}

    def _at(self, rows: list[int]) -> list[Stored]:
        images = self._images.at(rows)
        return [Stored(row, **image) for row, image in zip(rows, images, strict=True)]
