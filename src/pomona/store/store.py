"""Store: the folder that a run writes, with its tables, its PCA and its manifest."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pomona.errors import StoreDamagedError, StoreError
from pomona.pca.projection import Projection
from pomona.s3.address import Access
from pomona.store import manifest, schemas, tables
from pomona.store.folders.base import Folder
from pomona.store.folders.registry import open_folder
from pomona.store.layout import FOLDERS, LOCK, MANIFEST, PLAN, PROJECTION, part_name, part_number
from pomona.store.recipe import Recipe
from pomona.store.vectors import Vectors

Item = TypeVar("Item")
Answer = TypeVar("Answer")

# How many answers `map_prefetched` asks for ahead: each may be as large as a part.
PREFETCHED = 3


class Store:
    """A folder of features: `pomona.open` gives one to read, the pipeline writes through one.

    Parameters
    ----------
    files : str, Path or Folder
        A path, an address, or the folder itself.
    access : Access, optional
        How buckets are used: the store's own, and those of its images.
    """

    def __init__(self, files: str | Path | Folder, access: Access | None = None) -> None:
        self.access = access
        self.files = open_folder(files, access) if isinstance(files, (str, Path)) else files

    def __repr__(self) -> str:
        return f"<pomona store {self.files}>"

    # For users

    @property
    def manifest(self) -> dict[str, Any]:
        """The content of pomona.json: the recipe, the totals, the PCA and the runs.

        Raises
        ------
        StoreError
            If there is none, it is damaged, or it is of another version.
        """
        return manifest.read_manifest(self.files)

    @property
    def recipe(self) -> Recipe:
        """How the store's features were made."""
        return Recipe.from_dict(self.manifest["recipe"])

    @property
    def projection(self) -> Projection:
        """The fitted PCA.

        Raises
        ------
        StoreError
            If there is none, or it is damaged.
        """
        projection = self.find_projection()
        if projection is None:
            raise StoreError(
                f"{self.files} has no PCA: repeat its `pomona run` if that was stopped, "
                f"or else run `pomona reduce {self.files}`"
            )
        return projection

    def features(self) -> Vectors:
        """Returns the network's features: float32[n, width]."""
        return Vectors(self.read_all("features", schemas.features(self.recipe.width)), "features")

    def pca(self) -> Vectors:
        """Returns the features on the principal components: float32[n, k]."""
        return Vectors(self.read_all("pca", schemas.pca(self.projection.k)), "pca")

    def metadata(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Returns size, format and digests of the images.

        Parameters
        ----------
        columns : sequence of str, optional
            Names of `schemas.METADATA`; None for all.

        Returns
        -------
        pyarrow.Table
            One row per image of the source.
        """
        fields = [schemas.METADATA.field(name) for name in columns or schemas.METADATA.names]
        return self.read_all("metadata", pa.schema(fields))

    def errors(self) -> pa.Table:
        """Returns a table with one row per image that gave no features, and its reason."""
        return self.read_all("errors", schemas.ERRORS)

    def predictions(self) -> pa.Table:
        """Returns what `pomona predict` made of the images that gave features."""
        return self.read_all("predictions", schemas.PREDICTIONS)

    def project(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Projects features as the store would hold them.

        Parameters
        ----------
        features : ndarray
            float32[n, width].

        Returns
        -------
        ndarray
            float32[n, k].
        """
        return self.projection.apply(features)

    # For the steps

    def find_projection(self) -> Projection | None:
        """Returns the fitted PCA, or None where there is none.

        Raises
        ------
        StoreDamagedError
            If it is not what was written.
        """
        try:
            return Projection.from_bytes(self.files.read(PROJECTION))
        except FileNotFoundError:
            return None
        except (EOFError, KeyError, ValueError, BadZipFile) as exc:
            raise StoreDamagedError(
                f"{self.files}/{PROJECTION} is damaged: restore it from a copy, "
                f"or fit another with `pomona reduce {self.files} --refit`"
            ) from exc

    def read_all(self, table: str, schema: pa.Schema) -> pa.Table:
        """Returns all parts of a table, in their order, as `schema`."""
        parts = self.map_concurrent(
            lambda name: self.read_table(name, schema.names).cast(schema), self.part_names(table)
        )
        return pa.concat_tables([schema.empty_table(), *parts])

    def part_names(self, table: str) -> list[str]:
        """Returns the names of a table's files, in the order of their parts."""
        return [name for name in self.files.names(table) if part_number(name) is not None]

    def part_numbers(self, table: str) -> list[int]:
        """Returns the numbers of the parts that a table has files of, in their order."""
        numbers = map(part_number, self.files.names(table))
        return sorted(number for number in numbers if number is not None)

    def read_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Reads a Parquet file: `tables.read_with_footer` without the footer."""
        return self.read_with_footer(name, columns)[0]

    def read_with_footer(
        self, name: str, columns: list[str] | None = None
    ) -> tuple[pa.Table, dict[str, str]]:
        """Reads a Parquet file and its footer: `tables.read_with_footer`."""
        return tables.read_with_footer(self.files, name, columns)

    def footer(self, name: str) -> dict[str, str] | None:
        """Reads a Parquet file's footer alone: `tables.read_footer`."""
        return tables.read_footer(self.files, name)

    def write_table(self, name: str, table: pa.Table, footer: dict[str, str] | None = None) -> None:
        """Writes a Parquet file whole: `tables.write_table`."""
        tables.write_table(self.files, name, table, footer)

    def write_csv(self, name: str, table: pa.Table) -> None:
        """Writes a CSV file whole: `tables.write_csv`."""
        tables.write_csv(self.files, name, table)

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Writes a JSON file whole."""
        self.files.write(name, manifest.encode_json(content))

    def plan(self, columns: Sequence[str] = schemas.PLAN.names) -> pa.Table:
        """Returns the images of the store and the part of each.

        Parameters
        ----------
        columns : sequence of str
            The columns of `schemas.PLAN` to read.

        Returns
        -------
        pyarrow.Table
            Sorted by part, then path; without rows in a new store.
        """
        try:
            return self.read_table(PLAN, list(columns))
        except (FileNotFoundError, StoreDamagedError):
            return self.plan_of_metadata().select(columns)

    def plan_of_metadata(self) -> pa.Table:
        """Makes the plan again from metadata/, which has a row for each image of its part."""
        plan = [schemas.PLAN.empty_table()]
        for name in self.part_names("metadata"):
            images = self.read_table(name, schemas.CATALOG.names).select(schemas.CATALOG.names)
            parts = np.full(images.num_rows, part_number(name), np.int32)
            plan.append(images.append_column(schemas.PLAN.field("part"), pa.array(parts)))
        return pa.concat_tables(plan).combine_chunks()

    def remove_orphans(self, plan: pa.Table) -> int:
        """Removes the files of parts that the plan does not know; returns how many there were."""
        parts, orphans = plan["part"].unique().to_pylist(), []
        for (folder, suffix), names in zip(FOLDERS.items(), self._names_by_folder(), strict=True):
            known = {part_name(folder, part, suffix) for part in parts}
            orphans += [name for name in names if name not in known]
        self.files.delete(*orphans)
        return len(orphans)

    def parts_with_files(self) -> set[int]:
        """Returns the numbers of the parts that have any file."""
        numbers = map(part_number, itertools.chain.from_iterable(self._names_by_folder()))
        return {number for number in numbers if number is not None}

    def _names_by_folder(self) -> list[list[str]]:
        """Returns the names of the parts' files in each of `FOLDERS`."""
        return self.map_concurrent(self.part_names, FOLDERS)

    def rows_by_part(self, table: str, plan: pa.Table) -> dict[int, int]:
        """Returns how many rows of a table each of the plan's parts holds."""
        parts = plan["part"].unique().to_pylist()
        footers = self.map_concurrent(lambda part: self.footer(part_name(table, part)), parts)
        return {
            part: int(footer["rows"]) for part, footer in zip(parts, footers, strict=True) if footer
        }

    def map_concurrent(self, ask: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
        """Returns `ask` of each item, asked side by side where the folder takes long to answer."""
        if self.files.requests == 1:
            return [ask(item) for item in items]
        with ThreadPoolExecutor(self.files.requests) as threads:
            return list(threads.map(ask, items))

    def map_prefetched(
        self, ask: Callable[[Item], Answer], items: Iterable[Item]
    ) -> Iterator[Answer]:
        """Yields `ask` of each item, with the next ones asked ahead where answers take long."""
        if self.files.requests == 1:
            yield from map(ask, items)
            return
        with ThreadPoolExecutor(PREFETCHED) as threads:
            coming: deque[Future[Answer]] = deque()
            for item in items:
                coming.append(threads.submit(ask, item))
                if len(coming) > PREFETCHED:
                    yield coming.popleft().result()
            for last in coming:
                yield last.result()

    def begin(self, source: str, recipe: Recipe) -> None:
        """Writes the manifest of a store that holds nothing yet."""
        self.write_json(MANIFEST, manifest.new_manifest(source, recipe))

    def is_new(self) -> bool:
        """Returns whether the folder is absent or empty: `manifest.is_new`."""
        return manifest.is_new(self.files)

    def shared_lock(self) -> AbstractContextManager[None]:
        """Keeps commands that write from starting, without a write of its own.

        Raises
        ------
        StoreBusyError
            If one is at work.
        """
        return self.files.shared_lock(LOCK)

    @contextmanager
    def lock(self, command: str) -> Iterator[tuple[Store, str | None]]:
        """Holds the store for one command, and sweeps what a dead one left behind.

        Parameters
        ----------
        command : str
            What others are told of who holds it.

        Yields
        ------
        tuple
            The store to write to, whose writes are refused once another command has taken the lock
            over, and what a user should know of the lock, or None.

        Raises
        ------
        StoreBusyError
            If another command holds it.
        StoreWriteError
            If the folder cannot be written.
        """
        with self.files.lock(LOCK, command) as (files, notice):
            files.sweep()
            yield Store(files, self.access), notice
            # What a worker of this command left that was killed while it wrote.
            files.sweep()
