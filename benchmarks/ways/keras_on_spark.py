"""The original way: Keras in a pandas UDF over binaryFile. BATCHED and SINGLE are folders.

Each order says which: "batched" (a model for each Python worker, `predict` on batches) or "single"
(a model for each batch of Arrow, `predict` on each image: how pomona's predecessor was written).
Spark, its Python workers and TensorFlow have started before the clock does.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.functions import pandas_udf

from benchmarks import keras_model
from benchmarks.measuring import WORKERS
from benchmarks.ways import serve

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
BATCH = 32


def preprocess(content: bytes) -> Any:
    """float32[224, 224, 3] of a file's bytes, as MobileNetV2 takes them."""
    square = Image.open(io.BytesIO(content)).convert("RGB").resize((keras_model.SIDE,) * 2)
    return np.asarray(square, np.float32) / 127.5 - 1


def ways(spark: SparkSession) -> dict[str, Any]:
    """The user-defined function of either way, bytes → list of floats."""
    broadcast = spark.sparkContext.broadcast(keras_model.build().get_weights())

    @pandas_udf("array<float>")  # type: ignore[call-overload, untyped-decorator]
    def batched(contents: Iterator[pd.Series]) -> Iterator[pd.Series]:
        model = keras_model.loaded(broadcast.value)
        for files in contents:
            pixels = np.stack([preprocess(content) for content in files])
            yield pd.Series(list(model.predict(pixels, batch_size=BATCH, verbose=0)))

    @pandas_udf("array<float>")  # type: ignore[call-overload, untyped-decorator]
    def single(contents: pd.Series) -> pd.Series:
        model = keras_model.with_weights(broadcast.value)
        return contents.map(
            lambda content: model.predict(preprocess(content)[None], verbose=0)[0].tolist()
        )

    return {"batched": batched, "single": single}


def prepare() -> Callable[..., dict[str, Any]]:
    folders = dict(zip(("batched", "single"), sys.argv[1:], strict=True))
    spark = (
        SparkSession.builder.master(f"local[{WORKERS}]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.memory", "4g")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", str(BATCH * 4))
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("OFF")
    by_name = ways(spark)

    def extract(files: DataFrame, way: str) -> int:
        # Everything is computed, and comes to the driver as one row.
        found = files.select(by_name[way]("content").alias("features"))
        return int(found.selectExpr("count(features[0])").collect()[0][0])

    def measure(way: str) -> dict[str, Any]:
        files = (
            spark.read.format("binaryFile")
            .option("pathGlobFilter", "*.jpg")
            .option("recursiveFileLookup", "true")
            .load(folders[way])
            .select("content")
            .repartition(WORKERS)
        )
        extract(files.limit(WORKERS).repartition(WORKERS), way)
        start = time.perf_counter()
        images = extract(files, way)
        return {"images": images, "seconds": time.perf_counter() - start}

    return measure


if __name__ == "__main__":
    serve(prepare)
