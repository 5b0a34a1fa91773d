"""Rows of a lesson on the executors: read there from the store's parts, not sent by the driver.

Which rows a partition has, and in which order, is a function of the store and of the lesson alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import col
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    DoubleType,
    FloatType,
    IntegerType,
    StructField,
    StructType,
)

from pomona.engines.spark.application import active
from pomona.engines.spark.frames import map_in_arrow
from pomona.errors import EngineError, StoreError
from pomona.learning.models.base import Rows
from pomona.learning.models.scaling import PLAIN, find_scaling
from pomona.learning.rows import LabelledRows
from pomona.store.folders.base import Folder
from pomona.store.layout import part_name
from pomona.store.tables import matrix, read_with_footer

# A partition is one task of each pass over the rows.
PARTITION_ROWS = 32_768
_ITEMS = StructType(
    [
        StructField("part", IntegerType(), False),
        StructField("places", BinaryType(), False),
        StructField("codes", BinaryType(), False),
    ]
)
_READ = StructType(
    [
        StructField("label", DoubleType(), False),
        StructField("features", ArrayType(FloatType(), False), False),
    ]
)


@dataclass(frozen=True)
class Place:
    """Where the rows of a store lie, for an executor.

    Parameters
    ----------
    files : Folder
        The store.
    on : str
        The table: "pca" or "features".
    projection : str, optional
        The one that the rows of "pca" must be of.
    """

    files: Folder
    on: str
    projection: str | None

    def read(self, part: int) -> Rows:
        """Returns the rows of a part, float32[n, width].

        Raises
        ------
        StoreError
            If they are not there, or are not those that the driver saw.
        """
        name = part_name(self.on, part)
        try:
            table, footer = read_with_footer(self.files, name, [self.on])
        except FileNotFoundError as exc:
            raise StoreError(
                f"an executor does not see {self.files}/{name}: put the store on a disk that all "
                "nodes share, or into a bucket"
            ) from exc
        if self.projection is not None and footer.get("projection") != self.projection:
            raise StoreError(f"{self.files}/{name} was replaced meanwhile: run the command again")
        return matrix(table, self.on)


@dataclass(frozen=True)
class SparkRows:
    """Rows to learn from, as Spark reads them.

    Parameters
    ----------
    place : Place
        Where they lie.
    images : pyarrow.Table
        part and place of each row.
    y : int64[n]
        The class of each.
    classes, width : int
        How many classes, and how many numbers in a row, there are.
    spread : float
        What rows that are scaled plainly are divided by.
    slots : int
        How many tasks the application runs at a time.
    """

    place: Place
    images: pa.Table
    y: npt.NDArray[np.int64]
    classes: int
    width: int
    spread: float
    slots: int

    @classmethod
    def of(cls, place: Place, rows: LabelledRows, slots: int) -> SparkRows:
        """Describes rows that the driver has divided."""
        spread = float(find_scaling(rows.x, PLAIN)[1][0])
        places = rows.images.select(["part", "place"])
        return cls(place, places, rows.y, len(rows.names), rows.x.shape[1], spread, slots)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def parts(self) -> int:
        """How many parts of the store have them."""
        return len(self.images["part"].unique())

    def frame(self, partitions: int | None = None) -> DataFrame:
        """Returns the rows as a DataFrame of label (double) and features (vector).

        Parameters
        ----------
        partitions : int, optional
            Of how many partitions, no more than `parts`. None: what the number of rows says.
        """
        items = list(self._items())
        number = partitions or min(len(items), -(-len(self) // PARTITION_ROWS))
        session = find_session()
        given = session.sparkContext.parallelize(items, number)
        read = map_in_arrow(
            session.createDataFrame(given, _ITEMS, verifySchema=False),
            partial(read_parts, place=self.place),
            _READ,
        )
        classes = {"ml_attr": {"type": "nominal", "num_vals": self.classes}}
        return read.select(
            col("label").alias("label", metadata=classes),
            array_to_vector(col("features")).alias("features"),
        )

    def _items(self) -> Iterator[tuple[int, bytearray, bytearray]]:
        """Each part with the places of its rows and their classes, both int32."""
        parts = self.images["part"].to_numpy()
        places = self.images["place"].to_numpy().astype(np.int32)
        order = np.lexsort((places, parts))
        numbers, first = np.unique(parts[order], return_index=True)
        for part, rows in zip(numbers.tolist(), np.split(order, first[1:]), strict=True):
            codes = self.y[rows].astype(np.int32)
            yield part, bytearray(places[rows].tobytes()), bytearray(codes.tobytes())


def read_parts(batches: Iterable[pa.RecordBatch], place: Place) -> Iterator[pa.RecordBatch]:
    """Yields the label and the features of the rows that are named, part by part."""
    for batch in batches:
        for item in batch.to_pylist():
            rows = np.frombuffer(item["places"], np.int32)
            codes = np.frombuffer(item["codes"], np.int32).astype(np.float64)
            x = place.read(item["part"])[rows]
            yield pa.RecordBatch.from_arrays([pa.array(codes), to_lists(x)], ["label", "features"])


def to_lists(x: Rows) -> pa.ListArray:
    """Returns rows as a column of lists."""
    offsets = np.arange(len(x) + 1, dtype=np.int32) * x.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(x.ravel()))


def find_session() -> SparkSession:
    """Returns a session of the application that is active.

    Raises
    ------
    EngineError
        If it has ended.
    """
    context = active()
    if context is None:
        raise EngineError("the Spark application has ended: run the same command again")
    return SparkSession(context)
