"""PCA: the principal components of a column of vectors."""

# ruff: noqa: N802, N803 - named as pyspark.ml names
from __future__ import annotations

import pickle
from typing import Any

import numpy as np
from pyspark import keyword_only
from pyspark.ml import Estimator
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.util import DefaultParamsReadable, DefaultParamsWritable
from pyspark.sql import DataFrame
from pyspark.sql.types import BinaryType, StructField, StructType

from pomona.engines.spark.frames import map_in_arrow
from pomona.errors import UsageError
from pomona.pca.moments import Moments, solve
from pomona.spark.batches import measure_batches, merge_summaries, moments_of
from pomona.spark.columns import VectorColumns
from pomona.spark.pca_model import PCAModel

DEFAULT_VARIANCE = 0.9
# How many moments a task merges: at a width of 1,280 they are 13 MB each.
FAN_IN = 8


class PCA(Estimator[PCAModel], VectorColumns, DefaultParamsReadable["PCA"], DefaultParamsWritable):
    """An estimator of the principal components of a column of vectors.

    It takes the same moments, and solves them in the same way, as `pomona run`; in float64.

    Parameters
    ----------
    inputCol : str
        A column of vectors, or of arrays of float or double, of one width. Nulls are left out.
    outputCol : str
        The column of the model's results.
    k : int
        How many components; no more than rows and width allow.
    variance : float
        Or: the fewest components that retain this share of the variance. 0.9 if neither is given.

    Raises
    ------
    UsageError
        By `fit`, for columns or settings that cannot be, for fewer than 2 vectors or numbers that
        are not finite, and for Spark Connect.
    """

    _input_kwargs: dict[str, Any]
    k: Param[int] = Param(
        Params._dummy(), "k", "the number of principal components", TypeConverters.toInt
    )
    variance: Param[float] = Param(
        Params._dummy(),
        "variance",
        "the share of the variance that the components explain at least",
        TypeConverters.toFloat,
    )

    @keyword_only
    def __init__(
        self,
        *,
        inputCol: str | None = None,
        outputCol: str = "pca",
        k: int | None = None,
        variance: float | None = None,
    ) -> None:
        super().__init__()
        self._setDefault(outputCol="pca", variance=DEFAULT_VARIANCE)
        self._set(**self._input_kwargs)

    @keyword_only
    def setParams(
        self,
        *,
        inputCol: str | None = None,
        outputCol: str = "pca",
        k: int | None = None,
        variance: float | None = None,
    ) -> PCA:
        """Sets what is given; the rest stays as it is."""
        return self._set(**self._input_kwargs)

    def setInputCol(self, value: str) -> PCA:
        return self._set(inputCol=value)

    def setOutputCol(self, value: str) -> PCA:
        return self._set(outputCol=value)

    def setK(self, value: int) -> PCA:
        return self._set(k=value)

    def setVariance(self, value: float) -> PCA:
        return self._set(variance=value)

    def getK(self) -> int:
        return self.getOrDefault(self.k)

    def getVariance(self) -> float:
        return self.getOrDefault(self.variance)

    def _requested(self) -> tuple[str, float]:
        if self.isSet("k") and self.isSet("variance"):
            raise UsageError("k and variance cannot be combined: give one")
        if self.isSet("k"):
            if self.getK() < 1:
                raise UsageError(f"k {self.getK()}: give a number of components, such as 64")
            return "components", self.getK()
        if not 0 < self.getVariance() <= 1:
            raise UsageError(
                f"variance {self.getVariance()}: give a share between 0 and 1, such as 0.9"
            )
        return "variance", self.getVariance()

    def _fit(self, dataset: DataFrame) -> PCAModel:
        requested = self._requested()
        column = self._check_columns(dataset)
        moments = _measure(dataset.select(dataset[column]))
        if moments is None or moments.n < 2:
            raise UsageError(
                f"PCA needs at least 2 vectors, {column!r} has {moments.n if moments else 0} "
                "that are not null: fit it on more"
            )
        if not np.isfinite(moments.mean).all():
            raise UsageError(f"{column!r} holds numbers that are not finite: leave them out")
        model = PCAModel(solve(moments, requested))
        model._resetUid(self.uid)
        return self._copyValues(model)


def _measure(vectors: DataFrame) -> Moments | None:
    """Returns the moments of the only column, merged in the order of its partitions.

    Each level of the tree is a shuffle of the one before, so that neither the driver nor a task
    ever holds more than `FAN_IN` scatters.
    """
    schema = StructType([StructField("summary", BinaryType())])
    measured = map_in_arrow(vectors, measure_batches, schema).rdd
    parts = measured.mapPartitionsWithIndex(
        lambda index, rows: ((index, bytes(row.summary)) for row in rows)
    )
    count = parts.getNumPartitions()
    while count > 1:
        count = -(-count // FAN_IN)
        groups = parts.partitionBy(count, lambda index: index // FAN_IN)
        parts = groups.mapPartitionsWithIndex(merge_summaries)
    merged = parts.values().collect()
    if not merged:
        return None
    # From this application's own tasks.
    summary: Any = pickle.loads(merged[0])  # noqa: S301
    return summary if isinstance(summary, Moments) else moments_of([summary])
