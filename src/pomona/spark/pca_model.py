"""PCAModel: a fitted PCA, applied to a column of vectors, saved and loaded."""

# ruff: noqa: N802 - named as pyspark.ml names
from __future__ import annotations

from functools import partial

import numpy as np
from pyspark import Broadcast, SparkContext
from pyspark.ml import Model
from pyspark.ml.linalg import DenseMatrix, DenseVector
from pyspark.ml.util import (
    DefaultParamsReader,
    DefaultParamsWriter,
    MLReadable,
    MLReader,
    MLWritable,
    MLWriter,
)
from pyspark.sql import DataFrame
from pyspark.sql.types import (
    ArrayType,
    DoubleType,
    IntegerType,
    StringType,
    StructField,
    StructType,
)

from pomona.engines.spark.frames import map_in_arrow
from pomona.pca.projection import Projection
from pomona.spark.batches import project_batches
from pomona.spark.columns import VectorColumns, vector_field

ARRAYS = StructType(
    [
        StructField("name", StringType(), False),
        StructField("row", IntegerType(), False),
        StructField("values", ArrayType(DoubleType(), False), False),
    ]
)


class PCAModel(Model, VectorColumns, MLReadable["PCAModel"], MLWritable):
    """A fitted PCA: transforms vectors, float64[width] → float32[k] as doubles; null stays null.

    It subtracts the mean first, as scikit-learn and `pomona run` do and MLlib's PCAModel does not.

    Parameters
    ----------
    projection : Projection
        The components.

    Raises
    ------
    UsageError
        By `transform`, for columns that cannot be, and for Spark Connect; by its tasks, for vectors
        of another width.
    """

    def __init__(self, projection: Projection) -> None:
        super().__init__()
        self._projection = projection
        self._sent: tuple[SparkContext, Broadcast[Projection]] | None = None
        self._setDefault(outputCol="pca")

    @property
    def k(self) -> int:
        """The number of components."""
        return self._projection.k

    @property
    def mean(self) -> DenseVector:
        """The mean of the vectors that it was fitted on: [width]."""
        return DenseVector(self._projection.mean)

    @property
    def pc(self) -> DenseMatrix:
        """The components as columns: [width, k]."""
        components = self._projection.components
        return DenseMatrix(components.shape[1], components.shape[0], components.ravel())

    @property
    def explainedVariance(self) -> DenseVector:
        """The share of the total variance that each component explains: [k]."""
        return DenseVector(self._projection.explained[: self.k])

    def setInputCol(self, value: str) -> PCAModel:
        return self._set(inputCol=value)

    def setOutputCol(self, value: str) -> PCAModel:
        return self._set(outputCol=value)

    def _transform(self, dataset: DataFrame) -> DataFrame:
        column = self._check_columns(dataset)
        sent = self._broadcast(dataset.sparkSession.sparkContext)
        task = partial(project_batches, column=column, sent=sent)
        fields = [*dataset.schema.fields, vector_field(self.getOutputCol(), self.k)]
        return map_in_arrow(dataset, task, StructType(fields))

    def _broadcast(self, context: SparkContext) -> Broadcast[Projection]:
        if self._sent is None or self._sent[0] is not context:
            self._sent = context, context.broadcast(self._projection)
        return self._sent[1]

    def write(self) -> MLWriter:
        """Returns a writer of metadata/ (JSON) and data/ (Parquet), wherever Spark can write."""
        return _Writer(self)

    @classmethod
    def read(cls) -> MLReader[PCAModel]:
        return _Reader()


class _Writer(MLWriter):
    def __init__(self, model: PCAModel) -> None:
        super().__init__()
        self._model = model

    def saveImpl(self, path: str) -> None:
        model, session = self._model, self.sparkSession
        projection = model._projection
        extra = {"n": projection.n, "requested": list(projection.requested)}
        DefaultParamsWriter.saveMetadata(model, path, session.sparkContext, extra)
        arrays = {
            "mean": projection.mean[None],
            "variances": projection.variances[None],
            "components": projection.components,
        }
        rows = [
            (name, row, values.tolist())
            for name, array in arrays.items()
            for row, values in enumerate(array)
        ]
        session.createDataFrame(rows, ARRAYS).coalesce(1).write.parquet(f"{path}/data")


class _Reader(MLReader[PCAModel]):
    def load(self, path: str) -> PCAModel:
        session = self.sparkSession
        metadata = DefaultParamsReader.loadMetadata(path, session.sparkContext)
        rows = session.read.schema(ARRAYS).parquet(f"{path}/data").orderBy("name", "row").collect()
        arrays = {
            name: np.array([row["values"] for row in rows if row["name"] == name])
            for name in ("mean", "variances", "components")
        }
        name, amount = metadata["requested"]
        projection = Projection(
            arrays["mean"][0],
            arrays["components"],
            arrays["variances"][0],
            metadata["n"],
            (name, amount),
        )
        model = PCAModel(projection)
        model._resetUid(metadata["uid"])
        DefaultParamsReader.getAndSetParams(model, metadata)
        return model
