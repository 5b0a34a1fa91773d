"""Store: the output folder, its names, its tables and its manifest."""

from __future__ import annotations

import itertools
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from pomona.errors import PomonaError, StoreDamagedError, StoreError
from pomona.pca.projection import Projection
from pomona.s3.address import Access
from pomona.store import schemas
from pomona.store.folders.base import Folder, encode_text
from pomona.store.folders.registry import open_folder
from pomona.store.recipe import Recipe

if TYPE_CHECKING:
    import pandas as pd

Item = TypeVar("Item")
Answer = TypeVar("Answer")

FORMAT_VERSION = 1
# So many answers are waited for while one is worked on: each may be as large as a part.
AHEAD = 3
MANIFEST = "pomona.json"
REPORT = "report.html"
PLAN = "_pomona/plan.parquet"
LOCK = "_pomona/lock"
FORGETTING = "_pomona/forgetting.json"
THUMBNAILS = "_pomona/thumbnails.parquet"
PROJECTION = "model_info/projection.npz"

# The folders of a store's parts, and what the files in them are. metadata/, of which a lost plan is
# made again, comes first: what it lacks is not known.
FOLDERS = {
    "metadata": "parquet",
    "errors": "parquet",
    "features": "parquet",
    "pca": "parquet",
    "csv/metadata": "csv",
    "csv/errors": "csv",
    "csv/pca": "csv",
}
CSV_TABLES = ("metadata", "errors", "pca")

# What Arrow raises of a file that is not what was written
_DAMAGED = (pa.ArrowException, ValueError, OSError)
_PART = re.compile(r".*/part-([0-9]+)\.(?:parquet|csv)")


def _own(metadata: dict[bytes, bytes] | None) -> dict[str, str]:
    """What pomona put into a file's key-value metadata."""
    pairs = (metadata or {}).items()
    return {key.decode()[7:]: value.decode() for key, value in pairs if key.startswith(b"pomona.")}


def part_name(table: str, part: int, suffix: str = "parquet") -> str:
    """The name of a table's part, the same for ever."""
    return f"{table}/part-{part:05d}.{suffix}"


def derived_files(part: int) -> list[str]:
    """The names of the files that are made of a part's metadata/, errors/ and features/."""
    csv = [part_name(f"csv/{table}", part, "csv") for table in CSV_TABLES]
    return [part_name("pca", part), *csv]


def provenance(footer: dict[str, str] | None) -> dict[str, str]:
    """What a footer says of what its file was made of: the generation and the recipe."""
    return {key: (footer or {}).get(key, "") for key in ("generation", "recipe")}


def spread(table: pa.Table, column: str, prefix: str) -> pa.Table:
    """path, label, split, then a column a number: `prefix`_1 …, for spreadsheets and pandas."""
    identity = table.select(["path", "label", "split"])
    for index, numbers in enumerate(matrix(table, column).T, start=1):
        identity = identity.append_column(f"{prefix}_{index}", pa.array(numbers))
    return identity


def matrix(table: pa.Table, column: str) -> npt.NDArray[np.float32]:
    """float32[n, width] of a column of fixed_size_list<float32>[width]."""
    width = table.schema.field(column).type.list_size
    flat = table[column].combine_chunks()
    if isinstance(flat, pa.ChunkedArray):
        flat = pa.concat_arrays(flat.chunks) if flat.num_chunks else pa.array([], flat.type)
    numbers: npt.NDArray[np.float32] = flat.flatten().to_numpy(zero_copy_only=False)
    return numbers.reshape(-1, width)


@dataclass(frozen=True)
class Vectors:
    """Rows of numbers with whose they are, sorted by path within each part of the store."""

    table: pa.Table
    column: str

    @cached_property
    def array(self) -> npt.NDArray[np.float32]:
        """float32[n, width]."""
        return matrix(self.table, self.column)

    @property
    def paths(self) -> list[str]:
        return self.table["path"].to_pylist()  # type: ignore[no-any-return]

    @property
    def labels(self) -> list[str | None]:
        return self.table["label"].to_pylist()  # type: ignore[no-any-return]

    @property
    def splits(self) -> list[str | None]:
        return self.table["split"].to_pylist()  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __repr__(self) -> str:
        return f"<{len(self)} rows of {self.column}, {self.array.shape[1]} numbers each>"

    def to_arrow(self) -> pa.Table:
        """Arrow table with the numbers as a fixed_size_list<float32>."""
        return self.table

    def to_pandas(self) -> pd.DataFrame:
        """path, label, split and a column a number: pc_1 …, or feature_1 …

        Raises PomonaError where pandas is not installed.
        """
        try:
            frame: pd.DataFrame = spread(self.table, self.column, PREFIXES[self.column]).to_pandas()
        except ModuleNotFoundError as exc:
            raise PomonaError('pandas is not installed: pip install "pomona[pandas]"') from exc
        return frame


PREFIXES = {"pca": "pc", "features": "feature"}


class Store:
    """An output folder. `pomona.open` gives one to read; the pipeline's steps write through it."""

    def __init__(self, files: str | Path | Folder, access: Access | None = None) -> None:
        """access: how buckets are used, that of an address and those of the store's images."""
        self.access = access
        self.files = open_folder(files, access) if isinstance(files, (str, Path)) else files

    def __repr__(self) -> str:
        return f"<pomona store {self.files}>"

    # What a user reads

    @property
    def manifest(self) -> dict[str, Any]:
        """What pomona.json says: the recipe, the totals, the PCA and the runs.

        Raises StoreError when there is none or it is of a later version.
        """
        try:
            manifest = json.loads(self.files.read(MANIFEST))
            version = manifest["format_version"]
            if version == FORMAT_VERSION:
                Recipe.from_dict(manifest["recipe"])
                _ = manifest["source"], manifest["totals"], manifest["pca"], manifest["runs"]
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise StoreError(
                f"{self.files} is no pomona store: it has no {MANIFEST}; make one with `pomona run`"
            ) from exc
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise StoreError(f"{self.files}/{MANIFEST} is damaged: restore it from a copy") from exc
        except OSError as exc:
            raise StoreError(f"cannot read {self.files}/{MANIFEST}: {exc.strerror}") from exc
        if version != FORMAT_VERSION:
            raise StoreError(
                f"{self.files} has format {version}, this pomona reads {FORMAT_VERSION}: "
                "use the pomona that made it, or a later one"
            )
        return manifest  # type: ignore[no-any-return]

    @property
    def recipe(self) -> Recipe:
        """How the store's features were made."""
        return Recipe.from_dict(self.manifest["recipe"])

    @property
    def projection(self) -> Projection:
        """The fitted PCA. Raises StoreError when there is none."""
        projection = self.find_projection()
        if projection is None:
            raise StoreError(
                f"{self.files} holds no PCA: give its `pomona run` again if that was stopped, "
                f"else `pomona reduce {self.files}`"
            )
        return projection

    def features(self) -> Vectors:
        """The network's features: float32[n, width]."""
        return Vectors(self.read_all("features", schemas.features(self.recipe.width)), "features")

    def pca(self) -> Vectors:
        """The features on the principal components: float32[n, k]."""
        return Vectors(self.read_all("pca", schemas.pca(self.projection.k)), "pca")

    def metadata(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Size, format and digests: one row per image of the source; columns: these alone."""
        fields = [schemas.METADATA.field(name) for name in columns or schemas.METADATA.names]
        return self.read_all("metadata", pa.schema(fields))

    def errors(self) -> pa.Table:
        """One row per image that gave no features, with its reason."""
        return self.read_all("errors", schemas.ERRORS)

    def project(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """float32[n, width] → float32[n, k], as the store would hold them."""
        return self.projection.apply(features)

    # What the steps read and write

    def find_projection(self) -> Projection | None:
        """The fitted PCA, or None where there is none. Raises StoreError for a damaged one."""
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
        """All parts of a table, in their order, as `schema`."""
        parts = self.map_concurrent(
            lambda name: self.read_table(name, schema.names).cast(schema), self.part_names(table)
        )
        return pa.concat_tables([schema.empty_table(), *parts])

    def part_names(self, table: str) -> list[str]:
        """The names of a table's parts, in their order."""
        return [name for name in self.files.names(table) if _PART.fullmatch(name)]

    def part_numbers(self, table: str) -> list[int]:
        """The numbers of a table's parts, in their order."""
        found = map(_PART.fullmatch, self.files.names(table))
        return sorted(int(match[1]) for match in found if match)

    def read_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Raises FileNotFoundError, StoreDamagedError, or StoreError where it cannot be read."""
        return self.read_with_footer(name, columns)[0]

    def read_with_footer(
        self, name: str, columns: list[str] | None = None
    ) -> tuple[pa.Table, dict[str, str]]:
        """A table and what `write_table` put into its footer; raises as `read_table`."""
        try:
            with self.files.open(name) as file:
                table = pq.read_table(
                    file, columns=columns, use_threads=False, page_checksum_verification=True
                )
                return table.replace_schema_metadata(), _own(table.schema.metadata)
        except FileNotFoundError:
            raise
        except _DAMAGED as exc:
            raise StoreDamagedError(
                f"{self.files}/{name} is damaged: delete it and give the store's `pomona run` again"
            ) from exc

    def write_table(self, name: str, table: pa.Table, footer: dict[str, str] | None = None) -> None:
        """Writes a Parquet file whole; `footer` lands in its key-value metadata."""
        numbers = [field.name for field in table.schema if pa.types.is_fixed_size_list(field.type)]
        texts = [field.name for field in table.schema if field.name not in numbers]
        sink = pa.BufferOutputStream()
        pq.write_table(
            table.replace_schema_metadata(
                {f"pomona.{key}": value for key, value in (footer or {}).items()}
            ),
            sink,
            # Floats of a network hardly compress, and a dictionary of them is larger than they are.
            compression={
                **dict.fromkeys(texts, "zstd"),
                **{f"{name}.list.element": "none" for name in numbers},
            },
            use_dictionary=["label", "split", "format", "stage", "reason"],
            write_statistics=texts,
            write_page_checksum=True,
        )
        self.files.write(name, memoryview(sink.getvalue()))

    def write_csv(self, name: str, table: pa.Table) -> None:
        """Writes a CSV file whole, with a header line, in UTF-8."""
        sink = pa.BufferOutputStream()
        pyarrow.csv.write_csv(table, sink)
        self.files.write(name, memoryview(sink.getvalue()))

    def plan(self, columns: Sequence[str] = schemas.PLAN.names) -> pa.Table:
        """The images of the store and the part of each: none in a new one; columns: these alone."""
        try:
            return self.read_table(PLAN, list(columns))
        except (FileNotFoundError, StoreDamagedError):
            return self.plan_of_metadata().select(columns)

    def plan_of_metadata(self) -> pa.Table:
        """The plan again from metadata/, which has a row for each image of its part."""
        plan = [schemas.PLAN.empty_table()]
        for name in self.part_names("metadata"):
            images = self.read_table(name, schemas.CATALOG.names).select(schemas.CATALOG.names)
            parts = np.full(images.num_rows, int(_PART.fullmatch(name)[1]), np.int32)  # type: ignore[index]
            plan.append(images.append_column(schemas.PLAN.field("part"), pa.array(parts)))
        return pa.concat_tables(plan).combine_chunks()

    def remove_orphans(self, plan: pa.Table) -> int:
        """Removes the files of parts that the plan does not know; returns how many."""
        parts, strays = plan["part"].unique().to_pylist(), []
        for (folder, suffix), names in zip(FOLDERS.items(), self._all_names(), strict=True):
            known = {part_name(folder, part, suffix) for part in parts}
            strays += [name for name in names if name not in known]
        self.files.delete(*strays)
        return len(strays)

    def parts_with_files(self) -> set[int]:
        """The parts of which there is any file."""
        names = itertools.chain.from_iterable(self._all_names())
        return {int(_PART.fullmatch(name)[1]) for name in names}  # type: ignore[index]

    def _all_names(self) -> list[list[str]]:
        """The names of the parts' files in each of `FOLDERS`."""
        return self.map_concurrent(self.part_names, FOLDERS)

    def rows_by_part(self, table: str, plan: pa.Table) -> dict[int, int]:
        """How many rows each of the plan's parts holds of a table."""
        parts = plan["part"].unique().to_pylist()
        footers = self.map_concurrent(lambda part: self.footer(part_name(table, part)), parts)
        return {
            part: int(footer["rows"]) for part, footer in zip(parts, footers, strict=True) if footer
        }

    def map_concurrent(self, ask: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
        """What `ask` says of each item, asked beside one another where answers take long."""
        if self.files.requests == 1:
            return [ask(item) for item in items]
        with ThreadPoolExecutor(self.files.requests) as threads:
            return list(threads.map(ask, items))

    def map_prefetched(
        self, ask: Callable[[Item], Answer], items: Iterable[Item]
    ) -> Iterator[Answer]:
        """What `ask` says of each item, the next ones asked meanwhile where answers take long."""
        if self.files.requests == 1:
            yield from map(ask, items)
            return
        with ThreadPoolExecutor(AHEAD) as threads:
            coming: deque[Future[Answer]] = deque()
            for item in items:
                coming.append(threads.submit(ask, item))
                if len(coming) > AHEAD:
                    yield coming.popleft().result()
            for last in coming:
                yield last.result()

    def begin(self, source: str, recipe: Recipe) -> None:
        """Writes the manifest of a store that holds nothing yet."""
        manifest = {
            "format_version": FORMAT_VERSION,
            "source": source,
            "recipe": recipe.to_dict(),
            "totals": {"images": 0, "features": 0, "errors": 0, "labels": 0},
            "pca": None,
            "csv": None,
            "thumbnails": None,
            "runs": [],
        }
        self.write_json(MANIFEST, manifest)

    def footer(self, name: str) -> dict[str, str] | None:
        """What `write_table` put there, with "rows"; None where the file is missing or damaged.

        Raises StoreError where it cannot be read.
        """
        try:
            with self.files.open(name, footer=True) as file:
                metadata = pq.read_metadata(file)
        except _DAMAGED:
            return None
        return {**_own(metadata.metadata), "rows": str(metadata.num_rows)}

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        self.files.write(
            name, encode_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        )

    def is_new(self) -> bool:
        """Whether the folder is absent or empty. Raises StoreError when it holds something else."""
        found = self.files.top()
        if found and MANIFEST not in found and found != ["_pomona"]:
            raise StoreError(
                f"{self.files} is no pomona store and not empty (it holds {min(found)!r}): "
                "choose another folder"
            )
        return MANIFEST not in found

    def shared_lock(self) -> AbstractContextManager[None]:
        """Keeps commands that write from starting, without a write of its own.

        Raises StoreBusyError when one is at work.
        """
        return self.files.shared_lock(LOCK)

    @contextmanager
    def lock(self, command: str) -> Iterator[str | None]:
        """Holds the store for one command, and sweeps what a dead one left behind.

        Yields what a user should know of the lock, if anything. Raises StoreBusyError when another
        command holds it, StoreWriteError.
        """
        open_to_all = self.files
        with open_to_all.lock(LOCK, command) as (self.files, notice):
            try:
                self.files.sweep()
                yield notice
                # What a worker of this command left that was killed while it wrote.
                self.files.sweep()
            finally:
                self.files = open_to_all
