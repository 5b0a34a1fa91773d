"""MLlib's PCA of features/ of a STORE, cached in memory as vectors, with so many COMPONENTS."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from pyspark.ml.feature import PCA
from pyspark.ml.functions import array_to_vector
from pyspark.sql import SparkSession

from benchmarks.measuring import WORKERS
from benchmarks.ways import serve


def prepare() -> Callable[..., dict[str, Any]]:
    store, components = sys.argv[1], int(sys.argv[2])
    spark = (
        SparkSession.builder.master(f"local[{WORKERS}]")
        .config("spark.driver.memory", "6g")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("OFF")
    rows = spark.read.parquet(f"{store}/features")
    numbers = rows.features.cast("array<double>")
    vectors = rows.select("path", array_to_vector(numbers).alias("features")).cache()
    vectors.count()

    def measure() -> dict[str, Any]:
        start = time.perf_counter()
        model = PCA(k=components, inputCol="features", outputCol="pca").fit(vectors)
        fitted = time.perf_counter()
        model.transform(vectors).select("path", "pca").write.format("noop").mode("append").save()
        return {
            "fit": fitted - start,
            "project": time.perf_counter() - fitted,
            "explained": model.explainedVariance.toArray().tolist(),
            "components": model.pc.toArray().T.tolist(),
        }

    measure()  # the second time the JVM is warm
    return measure


if __name__ == "__main__":
    serve(prepare)
