"""PCA and PCAModel against MLlib's, against pomona's own, and against themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.errors import PythonException
from pyspark.ml import feature as mllib
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import DenseVector, Vectors, VectorUDT
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructField, StructType

from machine import DATA
from pomona.errors import UsageError
from pomona.pca.moments import Moments, measure, merge, solve
from pomona.spark import PCA, PCAModel
from pomona.spark.batches import summary
from pomona.spark.vectors import to_matrix, to_vectors

pytest_plugins = ["spark_session"]

WIDTH = 24
SCHEMA = StructType([StructField("features", VectorUDT())])

Matrix = npt.NDArray[np.float64]


def correlated(rows: int, width: int = WIDTH, seed: int = 0) -> Matrix:
    """Correlated, non-negative and off centre, as a network's features are: float32 as float64."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(rows, width)) * np.geomspace(5, 0.01, width)
    mixed = mixed @ np.linalg.qr(rng.normal(size=(width, width)))[0] + 3
    features: Matrix = np.maximum(mixed, 0).astype(np.float32).astype(np.float64)
    return features


def vectors(spark: SparkSession, matrix: Matrix, partitions: int = 3) -> DataFrame:
    rows = [(DenseVector(row),) for row in matrix]
    return spark.createDataFrame(spark.sparkContext.parallelize(rows, partitions), SCHEMA).cache()


def arrays(model: PCAModel) -> list[npt.NDArray[Any]]:
    return [model.mean.toArray(), model.pc.toArray(), model.explainedVariance.toArray()]


def fitted(table: DataFrame, **params: Any) -> PCAModel:
    return PCA(inputCol="features", **params).fit(table)


@pytest.mark.parametrize("partitions", [1, 9])
def test_explained_variance_and_components_equal_those_of_mllib(
    spark: SparkSession, partitions: int
) -> None:
    matrix = correlated(700)
    table = vectors(spark, matrix, partitions)
    ours = fitted(table, k=10)
    theirs = mllib.PCA(inputCol="features", outputCol="pca", k=10).fit(table)
    np.testing.assert_allclose(ours.explainedVariance, theirs.explainedVariance, rtol=0, atol=1e-9)
    ours_pc, theirs_pc = ours.pc.toArray(), theirs.pc.toArray()
    signs = np.sign((ours_pc * theirs_pc).sum(axis=0))
    np.testing.assert_allclose(ours_pc, theirs_pc * signs, rtol=0, atol=1e-7)
    assert ours.k == 10
    assert ours.pc.numRows == WIDTH


def test_the_model_equals_the_pca_of_a_store(spark: SparkSession) -> None:
    matrix = correlated(300)
    model = fitted(vectors(spark, matrix, 1), variance=0.95)
    projection = solve(measure(matrix), ("variance", 0.95))
    assert model.k == projection.k
    np.testing.assert_array_equal(model.mean, projection.mean)
    np.testing.assert_array_equal(model.pc.toArray(), projection.components.T)
    np.testing.assert_array_equal(model.explainedVariance, projection.explained[: projection.k])
    found = model.transform(vectors(spark, matrix, 3)).collect()
    wanted = projection.apply(matrix.astype(np.float32))
    np.testing.assert_array_equal([row.pca.toArray() for row in found], wanted)


def test_a_fit_repeats_to_the_bit(spark: SparkSession) -> None:
    table = vectors(spark, correlated(2000), 9)
    first, second = arrays(fitted(table, k=5)), arrays(fitted(table, k=5))
    assert [each.tobytes() for each in first] == [each.tobytes() for each in second]


def test_nulls_are_left_out_and_stay(spark: SparkSession) -> None:
    matrix = correlated(30)
    rows: list[tuple[DenseVector | None]] = [(DenseVector(row),) for row in matrix]
    rows[3:3] = [(None,)] * 2
    with_nulls = spark.createDataFrame(rows, SCHEMA).coalesce(1)
    model = fitted(with_nulls, k=2)
    whole = fitted(vectors(spark, matrix, 1), k=2)
    assert [each.tobytes() for each in arrays(model)] == [each.tobytes() for each in arrays(whole)]
    found = [row.pca for row in model.transform(with_nulls).collect()]
    assert [number for number, vector in enumerate(found) if vector is None] == [3, 4]
    wanted = [row.pca for row in whole.transform(vectors(spark, matrix, 1)).collect()]
    assert [vector for vector in found if vector is not None] == wanted


@pytest.mark.parametrize("kind", ["array<float>", "array<double>", "sparse"])
def test_other_kinds_of_column(spark: SparkSession, kind: str) -> None:
    matrix = correlated(40)
    if kind == "sparse":
        present = [np.flatnonzero(row) for row in matrix]
        sparse = [
            (Vectors.sparse(WIDTH, at.tolist(), row[at].tolist()),)
            for row, at in zip(matrix, present, strict=True)
        ]
        table = spark.createDataFrame(sparse, SCHEMA).coalesce(1)
    else:
        lists = [(row.tolist(),) for row in matrix]
        table = spark.createDataFrame(lists, f"features {kind}").coalesce(1)
    model, dense = fitted(table, k=3), vectors(spark, matrix, 1)
    assert [each.tobytes() for each in arrays(model)] == [
        each.tobytes() for each in arrays(fitted(dense, k=3))
    ]
    found = [row.pca for row in model.transform(table).collect()]
    assert found == [row.pca for row in model.transform(dense).collect()]


def test_k_is_cut_to_what_there_is(spark: SparkSession) -> None:
    model = fitted(vectors(spark, correlated(5)), k=100)
    assert model.k == 4
    assert model.explainedVariance.toArray().sum() == pytest.approx(1)


def test_variance_is_the_default(spark: SparkSession) -> None:
    table = vectors(spark, correlated(100))
    default, asked = fitted(table), fitted(table, variance=0.9)
    assert default.k == asked.k
    shares = default.explainedVariance.toArray()
    assert shares[:-1].sum() < 0.9 <= shares.sum()


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({"k": 2, "variance": 0.5}, "k and variance cannot be combined: give one"),
        ({"k": 0}, "k 0: give a number of components, such as 64"),
        ({"variance": 90}, "variance 90.0: give a share between 0 and 1, such as 0.9"),
        ({"inputCol": "x"}, "no column 'x' (inputCol): there are features"),
        ({"outputCol": "features"}, "there is a column 'features' already: give outputCol another"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(
    spark: SparkSession, params: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UsageError) as refused:
        PCA(**{"inputCol": "features", **params}).fit(vectors(spark, correlated(5)))
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_column_of_another_type(spark: SparkSession) -> None:
    with pytest.raises(UsageError, match="column 'id' \\(inputCol\\) is bigint, not vectors"):
        PCA(inputCol="id").fit(spark.range(3))
    with pytest.raises(UsageError, match="inputCol is not set"):
        PCA().fit(spark.range(3))


@pytest.mark.parametrize("rows", [[], [None, None], [None, [1.0, 2.0]]])
def test_too_few_vectors(spark: SparkSession, rows: list[list[float] | None]) -> None:
    table = spark.createDataFrame([(row,) for row in rows], "features array<double>")
    present = sum(row is not None for row in rows)
    with pytest.raises(UsageError, match=f"at least 2 vectors, 'features' has {present} that"):
        fitted(table)


def test_numbers_that_are_not_finite(spark: SparkSession) -> None:
    matrix = correlated(40)
    matrix[7, 3] = np.nan
    with pytest.raises(UsageError, match="'features' holds numbers that are not finite"):
        fitted(vectors(spark, matrix))


def test_vectors_of_two_widths(spark: SparkSession) -> None:
    rows = [([1.0, 2.0],), ([1.0, 2.0, 3.0],)]
    for partitions in (1, 2):
        table = spark.createDataFrame(rows, "features array<double>").coalesce(partitions)
        with pytest.raises(Exception, match="vectors of one width wanted, not of 2 and 3"):
            fitted(table)
    model = fitted(vectors(spark, correlated(9, 3)), k=1)
    with pytest.raises(PythonException, match="have 2 numbers, those that the PCA was fitted on 3"):
        model.transform(spark.createDataFrame(rows[:1], "features array<double>")).count()


def test_saved_and_loaded_to_the_bit(spark: SparkSession, tmp_path: Path) -> None:
    table = vectors(spark, correlated(200))
    model = fitted(table, variance=0.99, outputCol="x")
    model.save(str(tmp_path / "model"))
    loaded = PCAModel.load(str(tmp_path / "model"))
    assert [each.tobytes() for each in arrays(loaded)] == [each.tobytes() for each in arrays(model)]
    assert (loaded.uid, loaded.getInputCol(), loaded.getOutputCol()) == (model.uid, "features", "x")
    assert loaded._projection.requested == ("variance", 0.99)
    assert loaded._projection.n == 200
    assert loaded.transform(table).collect() == model.transform(table).collect()
    model.write().overwrite().save(str(tmp_path / "model"))
    estimator = PCA(inputCol="features", k=7)
    estimator.save(str(tmp_path / "estimator"))
    assert PCA.load(str(tmp_path / "estimator")).explainParams() == estimator.explainParams()


def test_setters_and_getters() -> None:
    stage = PCA().setInputCol("a").setOutputCol("b").setK(3).setVariance(0.5)
    assert [stage.getInputCol(), stage.getOutputCol()] == ["a", "b"]
    assert (stage.getK(), stage.getVariance()) == (3, 0.5)
    assert stage.setParams(k=4).getK() == 4


# Without Spark


def test_vectors_there_and_back() -> None:
    matrix, present = correlated(4), np.array([True, False, True, True, False, True])
    column = to_vectors(matrix, present)
    assert column.is_valid().to_pylist() == present.tolist()
    np.testing.assert_array_equal(to_matrix(column), matrix)
    np.testing.assert_array_equal(to_matrix(column.slice(1, 3)), matrix[1:3])
    assert to_matrix(column.slice(1, 1)).shape == (0, 0)


def test_a_null_among_numbers_is_refused() -> None:
    with pytest.raises(UsageError, match="a null among its numbers"):
        to_matrix(pa.array([[1.0, None]]))


def whole_of(parts: Sequence[Matrix | Moments]) -> Moments:
    found = summary(parts)
    assert found is not None
    return found if isinstance(found, Moments) else measure(found)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=6), st.integers(0, 5))
def test_a_summary_is_the_same_however_the_rows_are_cut(sizes: list[int], nested: int) -> None:
    matrix = correlated(sum(sizes), 8)
    parts: list[Matrix | Moments] = list(np.split(matrix, np.cumsum(sizes)[:-1]))
    inner = summary(parts[: nested + 1])
    assert inner is not None
    found, wanted = whole_of([inner, *parts[nested + 1 :]]), measure(matrix)
    assert found.n == wanted.n
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=1e-12)
    np.testing.assert_allclose(found.scatter, wanted.scatter, rtol=1e-9, atol=1e-9)


def test_few_rows_stay_rows() -> None:
    matrix = correlated(WIDTH - 1)
    parts = np.split(matrix, [5, 9])
    found = summary(parts)
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, matrix)
    assert isinstance(summary([correlated(WIDTH)]), Moments)
    assert summary([]) is None
    merged = summary([measure(matrix), parts[0]])
    assert isinstance(merged, Moments)
    assert merged.n == merge(measure(matrix), measure(parts[0])).n == WIDTH + 4


@pytest.mark.real
@pytest.mark.needs("photographs")
def test_real_features(spark: SparkSession) -> None:
    path = str(DATA / "mobilenetv2-apples-features.parquet")
    table = spark.read.parquet(path).repartition(4)
    table = table.select(array_to_vector(table["features"]).alias("features")).cache()
    ours = fitted(table, k=50)
    assert ours.explainedVariance.toArray().sum() == pytest.approx(0.8339713570325519, abs=1e-9)
    theirs = mllib.PCA(inputCol="features", outputCol="pca", k=50).fit(table)
    np.testing.assert_allclose(ours.explainedVariance, theirs.explainedVariance, rtol=0, atol=1e-9)
    table.unpersist()
