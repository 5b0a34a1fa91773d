"""ImageFeaturizer: a column of images → a column of features."""

# ruff: noqa: N802, N803, N815 - named as pyspark.ml names
from __future__ import annotations

import dataclasses
from functools import lru_cache, partial
from typing import Any

from pyspark import Broadcast, SparkContext, keyword_only
from pyspark.ml import Transformer
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasInputCol, HasOutputCol
from pyspark.ml.util import DefaultParamsReadable, DefaultParamsWritable
from pyspark.sql import DataFrame
from pyspark.sql.types import BinaryType, StringType, StructField, StructType

from pomona.backbones import cache, registry
from pomona.backbones.network import Network
from pomona.engines.spark.frames import map_in_arrow
from pomona.errors import UsageError
from pomona.extraction.recipe import make_recipe
from pomona.spark.batches import FeaturizeTask, featurize_batches
from pomona.spark.columns import (
    refuse_connect,
    require_column,
    require_new,
    vector_field,
)

_CHOICES = {"fit": ("stretch", "crop"), "onError": ("keep", "drop", "fail")}


def _text_param(name: str, doc: str) -> Param[str]:
    return Param(Params._dummy(), name, doc, TypeConverters.toString)


class ImageFeaturizer(
    Transformer,
    HasInputCol,
    HasOutputCol,
    DefaultParamsReadable["ImageFeaturizer"],
    DefaultParamsWritable,
):
    """A transformer of images into features: a DenseVector[width] each.

    The features (embeddings) are those of `pomona.featurize`, to the bit. All other columns stay.

    Parameters
    ----------
    inputCol : str
        A column of bytes, each an image file (the `content` of format "binaryFile"), or of
        absolute paths that every executor can read.
    outputCol : str
        The column of the vectors.
    backbone, fit : str
        As in `pomona.run`.
    reasonCol : str
        The column of the reasons for missing vectors, if onError is "keep".
    onError : {"keep", "drop", "fail"}
        What becomes of an image that gives no features. "keep": its vector is null, and reasonCol
        holds one of `pomona.store.schemas.REASONS`, null for all others. "drop": its row is left
        out. "fail": the job fails with an ImageError that names it.

    Raises
    ------
    UsageError
        By `transform`, for columns or settings that cannot be, and for Spark Connect.
    BackboneError
        By `transform`, if the network is missing.
    """

    _input_kwargs: dict[str, Any]
    backbone = _text_param("backbone", "the pretrained network")
    fit = _text_param("fit", "how an image becomes a square: stretch or crop")
    reasonCol = _text_param("reasonCol", "column of why an image gave no features (onError keep)")
    onError = _text_param(
        "onError", "what becomes of an image that gives no features: keep, drop or fail"
    )

    @keyword_only
    def __init__(
        self,
        *,
        inputCol: str | None = None,
        outputCol: str = "features",
        backbone: str = registry.DEFAULT,
        fit: str = "stretch",
        reasonCol: str = "reason",
        onError: str = "keep",
    ) -> None:
        super().__init__()
        self._setDefault(
            outputCol="features",
            backbone=registry.DEFAULT,
            fit="stretch",
            reasonCol="reason",
            onError="keep",
        )
        self._set(**self._input_kwargs)

    @keyword_only
    def setParams(
        self,
        *,
        inputCol: str | None = None,
        outputCol: str = "features",
        backbone: str = registry.DEFAULT,
        fit: str = "stretch",
        reasonCol: str = "reason",
        onError: str = "keep",
    ) -> ImageFeaturizer:
        """Sets what is given; the rest stays as it is."""
        return self._set(**self._input_kwargs)

    def setInputCol(self, value: str) -> ImageFeaturizer:
        return self._set(inputCol=value)

    def setOutputCol(self, value: str) -> ImageFeaturizer:
        return self._set(outputCol=value)

    def setBackbone(self, value: str) -> ImageFeaturizer:
        return self._set(backbone=value)

    def setFit(self, value: str) -> ImageFeaturizer:
        return self._set(fit=value)

    def setReasonCol(self, value: str) -> ImageFeaturizer:
        return self._set(reasonCol=value)

    def setOnError(self, value: str) -> ImageFeaturizer:
        return self._set(onError=value)

    def getBackbone(self) -> str:
        return self.getOrDefault(self.backbone)

    def getFit(self) -> str:
        return self.getOrDefault(self.fit)

    def getReasonCol(self) -> str:
        return self.getOrDefault(self.reasonCol)

    def getOnError(self) -> str:
        return self.getOrDefault(self.onError)

    def _transform(self, dataset: DataFrame) -> DataFrame:
        refuse_connect(dataset)
        self._check(dataset)
        column = self.getInputCol()
        context = dataset.sparkSession.sparkContext
        backbone = registry.get(self.getBackbone())
        threads = int(context.getConf().get("spark.task.cpus", "1") or 1)
        network = dataclasses.replace(cache.load(backbone), threads=threads)
        recipe = make_recipe(backbone, network, self.getFit())
        payload = FeaturizeTask(
            column, recipe, _broadcast(context, network), threads, self.getOnError()
        )
        fields = [*dataset.schema.fields, vector_field(self.getOutputCol(), network.width)]
        if self.getOnError() == "keep":
            fields.append(StructField(self.getReasonCol(), StringType()))
        return map_in_arrow(
            dataset, partial(featurize_batches, payload=payload), StructType(fields)
        )

    def _check(self, dataset: DataFrame) -> None:
        for name, choices in _CHOICES.items():
            value = self.getOrDefault(name)
            if value not in choices:
                raise UsageError(f"{name} {value!r}: give {', '.join(choices)}")
        column = self.getInputCol() if self.isDefined("inputCol") else None
        images = (StringType(), BinaryType())
        require_column(dataset, "inputCol", column, "paths (string) or images (binary)", images)
        require_new(dataset, "outputCol", self.getOutputCol())
        if self.getOnError() == "keep":
            require_new(dataset, "reasonCol", self.getReasonCol())
            if self.getReasonCol() == self.getOutputCol():
                raise UsageError("outputCol and reasonCol are the same: give one another name")


@lru_cache(maxsize=4)
def _broadcast(context: SparkContext, network: Network) -> Broadcast[Network]:
    # Once per application, however many pipelines use it. (Networks compare by their digest.)
    return context.broadcast(network)
