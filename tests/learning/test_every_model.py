"""Every model becomes a classifier whose graph says what its library says."""

from __future__ import annotations

import numpy as np
import pytest

from pomona.learning.classifier import Classifier
from pomona.learning.graphs import classifier_graph
from pomona.learning.models.base import Codes, Rows, out_of_fold
from pomona.learning.models.registry import MODELS
from pomona.learning.temperature import softmax

NAMES = [
    pytest.param(name, marks=[pytest.mark.needs("xgboost")] if name == "xgboost" else [])
    for name in sorted(MODELS)
]


def draw(n: int, classes: int, *, seed: int) -> tuple[Rows, Codes]:
    """Rows float32[n, 10] around a centre for each class, with noise, and their classes."""
    centres = np.random.default_rng(0).normal(size=(classes, 10)) * 2
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    return (centres[y] + rng.normal(size=(n, 10)) * 1.5).astype(np.float32), y


@pytest.mark.parametrize("classes", [2, 7])
@pytest.mark.parametrize("name", NAMES)
def test_the_graph_says_what_the_library_says(name: str, classes: int) -> None:
    implementation = MODELS[name].load()
    x, y = draw(400, classes, seed=1)
    asked, right = draw(300, classes, seed=2)
    settings = implementation.SETTINGS[-1]
    fitted = implementation.fit(x, y, classes, settings, 0)
    wanted = softmax(fitted.logits(asked), 1.7)
    graph = classifier_graph(fitted, 10, classes, 1.7, {})
    given = Classifier({"labels": list(range(classes))}, graph).probabilities(asked)
    assert np.abs(wanted - given).max() < 1e-5
    assert (given.argmax(axis=1) == right).mean() > 0.6
    assert graph == classifier_graph(fitted, 10, classes, 1.7, {})


@pytest.mark.parametrize("name", NAMES)
def test_a_class_that_no_row_has_is_never_the_answer(name: str) -> None:
    implementation = MODELS[name].load()
    x, y = draw(300, 5, seed=3)
    seen = y != 2
    fitted = implementation.fit(x[seen], y[seen], 5, implementation.SETTINGS[0], 0)
    probabilities = softmax(fitted.logits(x))
    assert probabilities.shape == (300, 5)
    assert probabilities[:, 2].max() < 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_judged_by_fits_that_have_not_seen_them(name: str) -> None:
    implementation = MODELS[name].load()
    x, y = draw(200, 3, seed=4)
    folds = np.arange(200) % 4
    settings = implementation.SETTINGS[:1]
    [logits] = out_of_fold(implementation, x, y, 3, folds, settings, 0)
    held = folds == 1
    alone = implementation.fit(x[~held], y[~held], 3, settings[0], 0).logits(x[held])
    assert (logits[held].argmax(axis=1) == alone.argmax(axis=1)).mean() > 0.97
    changed = y.copy()
    changed[held] = (y[held] + 1) % 3
    [again] = out_of_fold(implementation, x, changed, 3, folds, settings, 0)
    np.testing.assert_allclose(again[held], logits[held], rtol=1e-6, atol=1e-6)
