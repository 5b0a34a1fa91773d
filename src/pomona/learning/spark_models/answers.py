"""What a model that Spark has fitted says of rows that the driver has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.ml import Transformer
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql.functions import col
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    FloatType,
    IntegerType,
    StructField,
    StructType,
)

from pomona.engines.spark.frames import map_in_arrow
from pomona.learning.models.base import Graph, Logits, Rows
from pomona.learning.spark_models.rows import find_session, to_lists

# A task has so many rows; so many tasks are collected at a time.
BLOCK_ROWS, ROUND_BLOCKS = 4_096, 32
_BLOCKS = StructType(
    [StructField("block", IntegerType(), False), StructField("rows", BinaryType(), False)]
)
_ROWS = StructType(
    [
        StructField("block", IntegerType(), False),
        StructField("features", ArrayType(FloatType(), False), False),
    ]
)
_ANSWERS = StructType(
    [
        StructField("block", IntegerType(), False),
        StructField("turn", IntegerType(), False),
        StructField("answers", BinaryType(), False),
    ]
)


@dataclass(frozen=True)
class OnSpark:
    """A model that Spark has fitted.

    Attributes
    ----------
    model : pyspark.ml.Transformer
        It answers with a vector for each row.
    column : str
        The column of its answers.
    to_logits : callable
        Turns these, float64[n, …], into logits float64[n, classes].
    to_graph : callable
        Makes the graph of the model's own numbers, as `Fitted.graph` does.
    """

    model: Transformer
    column: str
    to_logits: Callable[[npt.NDArray[np.float64]], Logits]
    to_graph: Callable[[str, str], Graph]

    def logits(self, x: Rows) -> Logits:
        """Returns float64[n, classes] of rows float32[n, width], by Spark."""
        size = BLOCK_ROWS * ROUND_BLOCKS
        rounds = [x[start : start + size] for start in range(0, len(x), size)]
        return self.to_logits(np.concatenate([self._ask(some) for some in rounds]))

    def graph(self, x: str, logits: str) -> Graph:
        """Returns what computes the same, without Spark."""
        return self.to_graph(x, logits)

    def _ask(self, x: Rows) -> npt.NDArray[np.float64]:
        blocks = [
            (at, bytearray(x[start : start + BLOCK_ROWS].tobytes()))
            for at, start in enumerate(range(0, len(x), BLOCK_ROWS))
        ]
        session = find_session()
        given = session.createDataFrame(
            session.sparkContext.parallelize(blocks, len(blocks)), _BLOCKS, verifySchema=False
        )
        rows = map_in_arrow(given, partial(unpack, width=x.shape[1]), _ROWS)
        vectors = rows.select("block", array_to_vector(col("features")).alias("features"))
        answered = self.model.transform(vectors).select(
            "block", vector_to_array(col(self.column)).alias("answers")
        )
        packed = map_in_arrow(answered, pack, _ANSWERS).collect()
        ordered = sorted((row.block, row.turn, bytes(row.answers)) for row in packed)
        return np.frombuffer(b"".join(data for *_, data in ordered)).reshape(len(x), -1)


def unpack(batches: Iterable[pa.RecordBatch], width: int) -> Iterator[pa.RecordBatch]:
    """Yields the rows of blocks, each with the number of its block."""
    for batch in batches:
        for block, data in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            x = np.frombuffer(data, np.float32).reshape(-1, width)
            numbers = pa.array(np.full(len(x), block, np.int32))
            yield pa.RecordBatch.from_arrays([numbers, to_lists(x)], ["block", "features"])


def pack(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yields one row for each batch of a block: its answers, and which batch it is."""
    for turn, batch in enumerate(batches):
        if not batch.num_rows:
            continue
        values = batch.column(1).flatten().to_numpy(zero_copy_only=False).astype(np.float64)
        columns = [
            pa.array([batch.column(0)[0].as_py()], pa.int32()),
            pa.array([turn], pa.int32()),
            pa.array([values.tobytes()], pa.binary()),
        ]
        yield pa.RecordBatch.from_arrays(columns, _ANSWERS.names)
