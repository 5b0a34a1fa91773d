"""A classifier whose fit ran on Spark: the same files as one that was fitted here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from conftest import Here, Pomona, contents
from pomona.engines.registry import open_engine
from pomona.errors import EngineError, UsageError
from pomona.learning.classifier import Classifier
from pomona.learning.fitting import fit_here
from pomona.learning.graphs import classifier_graph
from pomona.learning.lesson import Lesson, prepare
from pomona.learning.models.registry import MODELS
from pomona.learning.models.scaling import PLAIN, STANDARD
from pomona.learning.settings import TrainSettings
from pomona.learning.spark_models.fit import fit_on_spark
from pomona.learning.spark_models.rows import Place, SparkRows
from pomona.learning.temperature import softmax
from pomona.learning.train import train
from pomona.maintenance.import_features import import_features
from pomona.pipeline.context import RunSettings
from pomona.progress import Progress
from pomona.store.layout import CLASSIFIER_FOLDER
from pomona.store.store import Store

pytest_plugins = ("fruit_store", "spark_session")
pytestmark = pytest.mark.spark

WIDTH = 10
MODELS_OF_SPARK = [
    "logistic",
    "forest",
    pytest.param("xgboost", marks=pytest.mark.needs("xgboost")),
]


def make_store(folder: Path, classes: int, rows: int = 900) -> Path:
    """A store of made-up rows around a centre for each class, some centres close together."""
    rng = np.random.default_rng(classes)
    centres = rng.normal(size=(classes, WIDTH)) * np.arange(1, WIDTH + 1) ** -0.7 * 2
    y = rng.integers(0, classes, rows)
    x = (centres[y] + rng.normal(size=(rows, WIDTH)) * 0.9 + 3).astype(np.float32)
    table = pa.table(
        {
            "path": [f"{row:04d}.jpg" for row in range(rows)],
            "label": [f"label {code}" for code in y],
            "features": pa.FixedSizeListArray.from_arrays(x.ravel(), WIDTH),
        }
    )
    pq.write_table(table, folder / "features.parquet")
    import_features(folder / "features.parquet", folder / "store", RunSettings(Here()))
    return folder / "store"


@pytest.fixture(scope="module", params=[2, 5], ids="{} classes".format)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of features alone."""
    return make_store(tmp_path_factory.mktemp("made"), request.param)


@pytest.fixture(scope="module")
def lesson(made: Path) -> Lesson:
    return prepare(Store(made), TrainSettings(on="features", groups="none"), Progress())


def learn(folder: Path, engine: str, **settings: Any) -> dict[str, Any]:
    run = RunSettings(open_engine(engine, None if engine == "spark" else 1))
    return train(folder, TrainSettings(**settings), run)


@pytest.mark.parametrize("name", MODELS_OF_SPARK)
def test_the_graph_says_what_spark_says_and_nearly_what_a_fit_here_says(
    spark: SparkSession,
    made: Path,
    lesson: Lesson,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Fewer trees are grown by the same code, in a tenth of the time.
    for module, number in (("forest", "TREES"), ("xgboost", "ROUNDS")):
        monkeypatch.setattr(f"pomona.learning.models.{module}.{number}", 20)
        monkeypatch.setattr(f"pomona.learning.spark_models.{module}.{number}", 20)
    model, classes = MODELS[name], len(lesson.training.names)
    for settings in model.load().SETTINGS[:1]:
        fitted = fit_on_spark(Store(made), lesson, model, settings, open_engine("spark"))()
        wanted = softmax(fitted.logits(lesson.test.x), 1.7)
        graph = classifier_graph(fitted, WIDTH, classes, 1.7, {})
        given = Classifier({"labels": list(range(classes))}, graph).probabilities(lesson.test.x)
        np.testing.assert_allclose(given, wanted, atol=1e-5)
        here = fit_here(lesson, model, settings)().logits(lesson.test.x).argmax(axis=1)
        right = [(each == lesson.test.y).mean() for each in (here, wanted.argmax(axis=1))]
        assert right[0] > 1.3 / classes
        assert right[1] == pytest.approx(right[0], abs=0.04)


@pytest.mark.parametrize(("scaling", "weight"), [(PLAIN, 0.05), (STANDARD, 0.5)])
def test_logistic_is_the_minimum_that_scikit_learn_finds(
    spark: SparkSession, made: Path, lesson: Lesson, scaling: str, weight: float
) -> None:
    model, settings = MODELS["logistic"], {"scaling": scaling, "C": weight}
    fitted = fit_on_spark(Store(made), lesson, model, settings, open_engine("spark"))()
    wanted = fit_here(lesson, model, settings)().logits(lesson.test.x)
    given = softmax(fitted.logits(lesson.test.x))
    np.testing.assert_allclose(given, softmax(wanted), atol=0.01)


def test_partitions_are_a_matter_of_the_store(
    spark: SparkSession, made: Path, lesson: Lesson
) -> None:
    place = Place(Store(made).files.absolute(), "features", None)
    some = lesson.training.take(np.arange(0, len(lesson.training), 3))
    rows = SparkRows.of(place, some, 2)
    read = rows.frame().collect()
    assert [row.label for row in read] == [float(code) for code in some.y]
    np.testing.assert_array_equal([row.features.toArray() for row in read], some.x)
    parts = rows.frame(rows.parts)
    assert parts.rdd.getNumPartitions() == rows.parts > 1
    assert parts.collect() == read


def test_a_classifier_fitted_on_spark_is_one_like_any_other(
    spark: SparkSession,
    pomona: Pomona,
    fruit: Path,
    fruit_photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Each share of the learning curve is a fit like the others.
    monkeypatch.setattr("pomona.learning.evaluation.learning_curve.SHARES", (1 / 2,))
    here, there = (Path(shutil.copytree(fruit, tmp_path / name)) for name in ("here", "there"))
    local = learn(here, "local", model="logistic")
    facts = learn(there, "spark")
    assert (facts["model"], facts["engine"]) == ("logistic", "spark")
    assert facts["versions"]["pyspark"] == spark.version
    assert facts["rows"] == local["rows"]
    names = [contents(each / CLASSIFIER_FOLDER).keys() for each in (here, there)]
    assert names[0] == names[1]
    for each in ("accuracy", "macro_f1"):
        assert facts["figures"][each]["value"] == pytest.approx(
            local["figures"][each]["value"], abs=0.02
        )
    pomona.done("verify", there)
    photo = min(fruit_photos.joinpath("Test").rglob("*.jpg"))
    answered = [
        json.loads(pomona.done("predict", store, photo, "--json").stdout)["predictions"][0]
        for store in (here, there)
    ]
    assert answered[0]["label"] == answered[1]["label"] == photo.parent.name


def test_other_models_are_refused_in_a_line(spark: SparkSession, made: Path) -> None:
    with pytest.raises(UsageError, match="`model` svm: Spark fits auto, logistic, forest, xgboost"):
        learn(made, "spark", model="svm", on="features")
    assert not (made / CLASSIFIER_FOLDER).exists()


def test_what_an_executor_does_not_see_is_said_in_a_line(
    spark: SparkSession, made: Path, lesson: Lesson, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(made, tmp_path / "store"))
    settings = MODELS["logistic"].load().SETTINGS[0]
    fit = fit_on_spark(Store(moved), lesson, MODELS["logistic"], settings, open_engine("spark"))
    shutil.rmtree(moved / "features")
    with pytest.raises(EngineError, match=r"an executor does not see .*part-0.*: put the store on"):
        fit()
