"""The stages in a pipeline of Spark's: fitted, saved, loaded by a new process, without pandas."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.feature import StringIndexer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sql

from pomona.spark import PCA, ImageFeaturizer

pytest_plugins = ["spark_session"]


def labelled(spark: SparkSession, photos: Path) -> DataFrame:
    """path, content, name: the folder that each image is in."""
    reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
    name = sql.element_at(sql.split("path", "/"), -2)
    return reader.load(str(photos)).select("path", "content", name.alias("name"))


def predictions(table: DataFrame) -> dict[str, object]:
    """path → its components and prediction."""
    rows = table.select("path", "pca", "prediction").collect()
    return {row.path: [row.pca.toArray().tolist(), row.prediction] for row in rows}


IN_A_NEW_PROCESS = """
import json, sys
from pyspark.ml import PipelineModel
from pyspark.sql import SparkSession, functions as sql
spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
model = PipelineModel.load(sys.argv[1])
reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
name = sql.element_at(sql.split("path", "/"), -2)
table = reader.load(sys.argv[2]).select("path", "content", name.alias("name"))
done = model.transform(table).cache()
rows = done.select("path", "pca", "prediction").collect()
from pomona.spark import PCA
k = PCA(inputCol="pca", outputCol="x", k=2).fit(done).k
found = {row.path: [row.pca.toArray().tolist(), row.prediction] for row in rows}
print(json.dumps({"rows": found, "k": k, "pandas": sys.modules.get("pandas") is not None}))
"""


def test_a_saved_pipeline_predicts_the_same_here(
    spark: SparkSession, photos: Path, saved: tuple[Path, dict[str, object]]
) -> None:
    folder, wanted = saved
    model = PipelineModel.load(str(folder))
    assert predictions(model.transform(labelled(spark, photos))) == wanted


def test_a_saved_pipeline_predicts_the_same_in_a_new_process_without_pandas(
    photos: Path, saved: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    folder, wanted = saved
    # Neither for the driver nor for its workers.
    (tmp_path / "pandas.py").write_text("raise ImportError('no pandas here')\n")
    done = subprocess.run(
        [sys.executable, "-c", IN_A_NEW_PROCESS, str(folder), str(photos)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"rows": wanted, "k": 2, "pandas": False}


@pytest.fixture(scope="module")
def saved(
    spark: SparkSession, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, object]]:
    """A fitted pipeline's folder, and what it says of each photo."""
    table = labelled(spark, photos)
    pipeline = Pipeline(
        stages=[
            StringIndexer(inputCol="name", outputCol="label", handleInvalid="skip"),
            ImageFeaturizer(inputCol="content", onError="drop"),
            PCA(inputCol="features", variance=0.9),
            LogisticRegression(featuresCol="pca", maxIter=20),
        ]
    )
    model = pipeline.fit(table)
    done = model.transform(table).cache()
    assert done.count() == 40
    evaluator = MulticlassClassificationEvaluator(metricName="accuracy")
    assert evaluator.evaluate(done) > 0.9  # of what it was fitted on
    folder = tmp_path_factory.mktemp("pipeline") / "model"
    model.save(str(folder))
    pipeline.save(str(folder.parent / "pipeline"))
    assert [
        type(stage) for stage in Pipeline.load(str(folder.parent / "pipeline")).getStages()
    ] == [type(stage) for stage in pipeline.getStages()]
    return folder, predictions(done)
