"""DataFrames of the active Spark application, and a map over their Arrow batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import StructType
from pyspark.sql.udf import UserDefinedFunction

Task = Callable[[Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]]

# Spark's own number for it, in all versions; the module that names it is another in each.
_MAP_ARROW_ITER_UDF = 207


def map_in_arrow(dataset: DataFrame, task: Task, schema: StructType) -> DataFrame:
    """Maps as `DataFrame.mapInArrow` does, also where there is no pandas.

    Parameters
    ----------
    dataset : DataFrame
        The rows.
    task : callable
        Takes the record batches of a partition, and yields others.
    schema : StructType
        The columns that it yields.
    """
    try:
        return dataset.mapInArrow(task, schema)
    except ImportError:
        return _map_in_arrow(dataset, task, schema)


def _map_in_arrow(dataset: DataFrame, task: Task, schema: StructType) -> DataFrame:
    # As pyspark's own, which asks for pandas first, although neither it nor its workers use it.
    udf = UserDefinedFunction(task, schema, evalType=_MAP_ARROW_ITER_UDF)
    call: Any = udf(*(dataset[name] for name in dataset.columns))._jc
    java: Any = dataset._jdf
    if dataset.sparkSession.version.startswith("3."):
        mapped = java.pythonMapInArrow(call.expr(), False)
    else:
        mapped = java.mapInArrow(call, False, None)
    return DataFrame(mapped, dataset.sparkSession)
