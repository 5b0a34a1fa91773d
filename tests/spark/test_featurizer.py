"""ImageFeaturizer against `featurize`, and against what a column of images may hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pyspark import TaskContext
from pyspark.errors import PythonException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import BinaryType, StructField, StructType

import pomona as pomona_package
from pomona import featurize
from pomona.backbones import cache, registry
from pomona.errors import BackboneError, EngineError, UsageError
from pomona.extraction.recipe import make_recipe
from pomona.spark import ImageFeaturizer
from pomona.spark.batches import network_of
from pomona.spark.columns import refuse_connect

pytest_plugins = ["spark_session"]


def images(spark: SparkSession, photos: Path) -> DataFrame:
    """The table of format "binaryFile": path, modificationTime, length, content."""
    reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
    return reader.load(str(photos))


def paths_of(photos: Path, count: int | None = None) -> list[str]:
    return sorted(str(path) for path in photos.rglob("*.*"))[:count]


def by_path(table: DataFrame) -> dict[str, npt.NDArray[np.float64]]:
    rows = table.select("path", "features").collect()
    return {row.path.removeprefix("file:"): row.features.toArray() for row in rows}


def test_vectors_equal_those_of_featurize(spark: SparkSession, photos: Path) -> None:
    table = images(spark, photos)
    done = ImageFeaturizer(inputCol="content").transform(table)
    found, paths = by_path(done), paths_of(photos)
    assert sorted(found) == paths
    np.testing.assert_array_equal([found[path] for path in paths], featurize(paths))
    assert done.columns == [*table.columns, "features", "reason"]
    assert done.schema["features"].metadata == {"ml_attr": {"num_attrs": 1280}}
    kept = done.select(table.columns).orderBy("path")
    assert kept.collect() == table.orderBy("path").collect()
    assert done.filter("reason IS NOT NULL").count() == 0


def test_vectors_equal_the_features_of_a_store(
    spark: SparkSession, photos: Path, finished: Path
) -> None:
    store = pomona_package.open(finished).features()
    found = by_path(ImageFeaturizer(inputCol="content").transform(images(spark, photos)))
    names = [str(photos / path) for path in store.table["path"].to_pylist()]
    np.testing.assert_array_equal([found[name] for name in names], store.array)


@pytest.mark.parametrize("scheme", ["", "file:", "file://"])
def test_paths_and_crop(spark: SparkSession, photos: Path, scheme: str) -> None:
    paths = paths_of(photos, 5)
    table = spark.createDataFrame([(scheme + path,) for path in paths], ["path"])
    stage = ImageFeaturizer(inputCol="path", fit="crop", outputCol="x").setReasonCol("why")
    rows = stage.transform(table).collect()
    backbone = registry.get(registry.DEFAULT)
    recipe = make_recipe(backbone, cache.load(backbone), "crop")
    assert [row.why for row in rows] == [None] * 5
    np.testing.assert_array_equal([row.x.toArray() for row in rows], featurize(paths, recipe))


@pytest.fixture(scope="module")
def mixed(spark: SparkSession, photos: Path) -> DataFrame:
    """Two good images and, between them, all that a column of bytes may hold besides."""
    first, last = (Path(path).read_bytes() for path in paths_of(photos, 2))
    contents = [first, None, b"", b"not an image", first[: len(first) // 2], last]
    rows = [(number, content) for number, content in enumerate(contents)]
    return spark.createDataFrame(rows, "id int, content binary").coalesce(1)


REASONS = [None, "empty", "empty", "not_an_image", "truncated", None]


def test_on_error_keep_leaves_a_null_and_the_reason(mixed: DataFrame) -> None:
    rows = ImageFeaturizer(inputCol="content").transform(mixed).collect()
    assert [row.id for row in rows] == list(range(6))
    assert [row.reason for row in rows] == REASONS
    assert [row.features is None for row in rows] == [reason is not None for reason in REASONS]
    good = [rows[0], rows[5]]
    np.testing.assert_array_equal(
        [row.features.toArray() for row in good], featurize([bytes(row.content) for row in good])
    )


def test_on_error_drop_leaves_the_row_out(mixed: DataFrame) -> None:
    done = ImageFeaturizer(inputCol="content", onError="drop").transform(mixed)
    assert done.columns == ["id", "content", "features"]
    assert [row.id for row in done.filter("features IS NOT NULL").collect()] == [0, 5]
    assert done.count() == 2


def test_a_crashing_codec_costs_one_image(
    spark: SparkSession, photos: Path, tmp_path: Path
) -> None:
    """Before tests that end workers: Spark 3.5 may hand an ended one to the last attempt."""
    crashing = tmp_path / "crashing.jpg"
    Image.new("RGB", (32, 32), "red").save(crashing, comment=b"crash")
    good = paths_of(photos, 1)[0]
    table = spark.createDataFrame([(path,) for path in (good, str(crashing), good)], ["path"])
    rows = ImageFeaturizer(inputCol="path").transform(table.coalesce(1)).collect()
    assert [(row.reason, row.features is None) for row in rows] == [
        (None, False),
        ("crashed", True),
        (None, False),
    ]


def test_on_error_fail_names_the_image_and_a_remedy(spark: SparkSession, tmp_path: Path) -> None:
    broken = tmp_path / "broken one.jpg"
    broken.write_bytes(b"no image")
    paths = spark.createDataFrame([(str(broken),)], ["image"])
    bytes_of = spark.createDataFrame([(b"no image", "b.jpg")], ["content", "path"])
    nameless = bytes_of.select("content")
    for table, named in [
        (paths, str(broken)),
        (bytes_of, "b.jpg"),
        (nameless, "an image of column 'content'"),
    ]:
        stage = ImageFeaturizer(inputCol=table.columns[0], onError="fail")
        with pytest.raises(PythonException) as failed:
            stage.transform(table).count()
        lines = [line for line in str(failed.value).splitlines() if "ImageError: " in line]
        assert lines[-1].endswith(
            f'ImageError: not_an_image: {named}: repair it, or set onError to "keep" or "drop"'
        )


def test_paths_that_cannot_be_read(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "there.jpg").write_bytes(b"")
    relative = str(tmp_path / "there.jpg").removeprefix("/")
    paths = [None, "", "/not/there.jpg", relative, "/a\0b", str(tmp_path)]
    table = spark.createDataFrame([(path,) for path in paths], "path string")
    rows = ImageFeaturizer(inputCol="path").transform(table).collect()
    assert [row.reason for row in rows] == ["not_found"] * 5 + ["io_error"]


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({}, "inputCol is not set"),
        ({"inputCol": "picture"}, "no column 'picture' (inputCol): there are id, content"),
        ({"inputCol": "id"}, "column 'id' (inputCol) is int, not paths (string)"),
        ({"outputCol": "id"}, "there is a column 'id' already: give outputCol another name"),
        ({"reasonCol": "id"}, "there is a column 'id' already: give reasonCol another name"),
        ({"reasonCol": "features"}, "outputCol and reasonCol are the same"),
        ({"fit": "squash"}, "fit 'squash': give stretch, crop"),
        ({"onError": "ignore"}, "onError 'ignore': give keep, drop, fail"),
        ({"backbone": "resnet"}, "unknown backbone 'resnet'"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(
    mixed: DataFrame, params: dict[str, str], complaint: str
) -> None:
    params = {"inputCol": "content", **params} if params else {}
    with pytest.raises(UsageError) as refused:
        ImageFeaturizer(**params).transform(mixed)
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_empty_table(spark: SparkSession) -> None:
    table = spark.createDataFrame([], StructType([StructField("content", BinaryType())]))
    assert ImageFeaturizer(inputCol="content").transform(table).collect() == []


def test_setters_and_getters() -> None:
    stage = ImageFeaturizer().setInputCol("a").setOutputCol("b").setReasonCol("c")
    stage = stage.setBackbone("net").setFit("crop").setOnError("drop")
    found = [stage.getInputCol(), stage.getOutputCol(), stage.getReasonCol()]
    assert found == ["a", "b", "c"]
    assert [stage.getBackbone(), stage.getFit(), stage.getOnError()] == ["net", "crop", "drop"]
    assert stage.setParams(fit="stretch").getFit() == "stretch"
    assert stage.getOnError() == "drop"
    assert stage.copy({stage.fit: "crop"}).getFit() == "crop"


def test_saved_and_loaded(spark: SparkSession, tmp_path: Path) -> None:
    stage = ImageFeaturizer(inputCol="content", fit="crop", onError="drop")
    stage.save(str(tmp_path / "stage"))
    loaded = ImageFeaturizer.load(str(tmp_path / "stage"))
    assert loaded.uid == stage.uid
    assert loaded.explainParams() == stage.explainParams()


def test_a_worker_has_one_network_for_all_tasks(spark: SparkSession) -> None:
    network = cache.load(registry.get(registry.DEFAULT))
    sent, digest = spark.sparkContext.broadcast(network), network.digest

    def load(_: int) -> tuple[int, int]:
        loaded = network_of(sent, digest, 1)
        context = TaskContext.get()
        assert context is not None
        return os.getpid(), id(loaded)

    found = spark.sparkContext.parallelize(range(12), 12).map(load).collect()
    workers = {process for process, _ in found}
    assert len(found) == 12
    assert len(set(found)) == len(workers) <= 2


def test_a_network_that_arrives_damaged_is_refused() -> None:
    network = cache.load(registry.get(registry.DEFAULT))
    sent: Any = SimpleNamespace(value=network)
    with pytest.raises(BackboneError, match="arrived damaged"):
        network_of(sent, "0" * 64, 1)


def test_spark_connect_is_refused() -> None:
    table: Any = type("DataFrame", (), {"__module__": "pyspark.sql.connect.dataframe"})()
    with pytest.raises(UsageError, match="use a classic session"):
        refuse_connect(table)


MISSING = """
import sys
sys.modules["pyspark"] = None
import pomona.spark
from pomona.errors import PomonaError
try:
    pomona.spark.ImageFeaturizer
except PomonaError as exc:
    print(type(exc).__name__, exc)
"""


def python(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_without_pyspark_one_line_says_how_to_get_it() -> None:
    wanted = f'{EngineError.__name__} pyspark is not installed: pip install "pomona[spark]"'
    assert python(MISSING) == wanted


def test_imports_are_light() -> None:
    assert python("import sys, pomona.spark; print('pyspark' in sys.modules)") == "False"
    tasks = "import sys, pomona.spark.batches; print('pyspark.ml' in sys.modules)"
    assert python(tasks) == "False"


def test_public_names() -> None:
    import pomona.spark

    assert dir(pomona.spark) == ["ImageFeaturizer", "PCA", "PCAModel"]
    assert all(hasattr(pomona.spark, name) for name in pomona.spark.__all__)
    assert not hasattr(pomona.spark, "nothing")
