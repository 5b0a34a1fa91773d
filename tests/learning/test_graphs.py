"""The graph of a classifier answers as the model that it was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from every_model import NAMES

from pomona.backbones.runtimes.onnxruntime import open_graph
from pomona.errors import PomonaError
from pomona.learning.graphs import KEY, classifier_graph
from pomona.learning.models import forest, knn, linear
from pomona.learning.models.base import Codes, Fitted, Rows
from pomona.learning.models.registry import MODELS
from pomona.learning.models.trees import LESS, estimate_bytes, sum_node
from pomona.learning.temperature import softmax

TEMPERATURE = 0.6


def draw(n: int, classes: int, *, seed: int) -> tuple[Rows, Codes]:
    """Rows float32[n, 24] as PCA gives them, of classes that lie apart, and some copies."""
    deviations = 4 * np.arange(1, 25) ** -0.8
    centres = np.random.default_rng(0).normal(size=(classes, 24)) * 1.5
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    x = ((centres[y] + rng.normal(size=(n, 24))) * deviations).astype(np.float32)
    x[:10] = x[10:20]
    return x, y


def answer(graph: bytes, x: Rows) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The labels and the probabilities by ONNX Runtime."""
    label, probabilities = open_graph(graph)(["label", "probabilities"], {"rows": x})
    return label, probabilities


def assert_agrees(fitted: Fitted, x: Rows, classes: int) -> npt.NDArray[np.float32]:
    """The graph's probabilities are the model's, and its labels but for ties."""
    graph = classifier_graph(fitted, x.shape[1], classes, TEMPERATURE, {})
    label, probabilities = answer(graph, x)
    wanted = softmax(fitted.logits(x), TEMPERATURE)
    np.testing.assert_allclose(probabilities, wanted, atol=1e-5)
    np.testing.assert_array_equal(label, probabilities.argmax(axis=1))
    lost = wanted.max(axis=1) - wanted[np.arange(len(x)), label]
    assert lost.max() < 1e-7
    return probabilities


@pytest.mark.parametrize("classes", [2, 67])
@pytest.mark.parametrize("name", NAMES)
def test_answers_are_those_of_the_model(name: str, classes: int) -> None:
    model = MODELS[name].load()
    fitted = model.fit(*draw(1000, classes, seed=1), classes, model.SETTINGS[-1], 0)
    asked, right = draw(300, classes, seed=2)
    probabilities = assert_agrees(fitted, asked, classes)
    assert (probabilities.argmax(axis=1) == right).mean() > 0.6
    assert_agrees(fitted, asked[:1], classes)


@pytest.mark.parametrize("name", NAMES)
def test_a_class_that_was_never_seen_is_never_the_answer(name: str) -> None:
    model = MODELS[name].load()
    x, y = draw(300, 5, seed=3)
    seen = (y != 0) & (y != 3)
    for left in (seen, seen & (y != 4)):  # three classes are left, and two
        fitted = model.fit(x[left], y[left], 5, model.SETTINGS[0], 0)
        probabilities = assert_agrees(fitted, x, 5)
        assert (probabilities[:, np.setdiff1d(np.arange(5), y[left])] < 1e-5).all()


@pytest.mark.parametrize("name", ["logistic", "lda", "knn", "svm", "mlp"])
def test_answers_on_features_are_those_of_the_model(name: str) -> None:
    """Rows of more numbers than there are rows, far from the origin."""
    x, y = draw(200, 6, seed=4)
    wide = np.random.default_rng(5).normal(size=(24, 500)).astype(np.float32)
    features = np.maximum(x @ wide / 5 + 4, 0)
    model = MODELS[name].load()
    fitted = model.fit(features[50:], y[50:], 6, model.SETTINGS[-1], 0)
    assert_agrees(fitted, features, 6)


def test_a_forest_compares_numbers_next_to_each_other() -> None:
    """Their middle is no float32, and the nearest one is the greater of the two."""
    low = np.nextafter(np.float32(2), np.float32(3))
    x = np.asarray([[low], [np.nextafter(low, np.float32(3))]] * 10, np.float32)
    fitted = forest.fit(x, np.arange(20) % 2, 2, {"min_samples_leaf": 1}, 0)
    probabilities = assert_agrees(fitted, x, 2)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), np.arange(20) % 2)


@pytest.mark.parametrize("name", [pytest.param("forest"), NAMES[-1]])
def test_trees_agree_on_their_thresholds(name: str) -> None:
    rng = np.random.default_rng(6)
    x = rng.integers(0, 4, (300, 6)).astype(np.float32)
    model = MODELS[name].load()
    fitted = model.fit(x, rng.integers(0, 3, 300), 3, model.SETTINGS[-1], 0)
    halves = (rng.integers(0, 8, (300, 6)) / 2).astype(np.float32)
    assert_agrees(fitted, halves, 3)


def test_neighbours_of_copies_agree() -> None:
    x, y = draw(100, 4, seed=7)
    x = np.repeat(x, 20, axis=0)
    y = np.random.default_rng(8).integers(0, 4, len(x))
    for k in (15, 1):
        assert_agrees(knn.fit(x, y, 4, {"k": k}, 0), x[::20] + np.float32(0.01), 4)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_model_has_the_same_bytes(name: str) -> None:
    model = MODELS[name].load()
    facts: Mapping[str, Any] = {"labels": ["Äpfel", "pears"], "seed": 0}
    one, other = (
        classifier_graph(
            model.fit(*draw(200, 2, seed=9), 2, model.SETTINGS[0], 0), 24, 2, TEMPERATURE, facts
        )
        for _ in range(2)
    )
    assert one == other


def test_the_graph_is_valid_and_says_what_it_is() -> None:
    fitted = linear.Linear(np.eye(3), np.zeros(3))
    facts: Mapping[str, Any] = {"labels": ["Äpfel", "pears", "plums"], "seed": 0}
    model = onnx.load_from_string(classifier_graph(fitted, 3, 3, TEMPERATURE, facts))
    onnx.checker.check_model(model, full_check=True)
    [entry] = model.metadata_props
    assert (entry.key, json.loads(entry.value)) == (KEY, facts)
    assert [each.name for each in model.graph.input] == ["rows"]
    assert [each.name for each in model.graph.output] == ["label", "probabilities"]


def test_of_equal_probabilities_the_first_is_the_label() -> None:
    fitted = linear.Linear(np.zeros((3, 4)), np.asarray([0.0, 1.0, 1.0, 0.0]))
    graph = classifier_graph(fitted, 3, 4, TEMPERATURE, {})
    assert answer(graph, np.zeros((2, 3), np.float32))[0].tolist() == [1, 1]


def test_what_a_file_cannot_hold_is_refused_before_it_is_built() -> None:
    words = r"would take 2\.9 GB, an ONNX file holds 2\.1 GB: choose a smaller `model`"
    with pytest.raises(PomonaError, match=words):
        sum_node("x", "sums", [Huge()], LESS, np.zeros(2, np.float32))  # type: ignore[list-item]
    fitted = forest.fit(*draw(400, 3, seed=10), 3, {"min_samples_leaf": 1}, 0)
    size = len(classifier_graph(fitted, 24, 3, TEMPERATURE, {}))
    assert size < estimate_bytes(fitted.trees) < 1.4 * size


class Huge:
    """A tree of a hundred million nodes, of which only their number is known."""

    left, weights = range(100_000_000), range(0)
