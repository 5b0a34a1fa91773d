"""Each model is the one that scikit-learn has under its name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from every_model import NAMES
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC

from pomona.errors import UsageError
from pomona.learning.choose import find_models, within_bounds
from pomona.learning.models import forest, knn, lda, logistic, mlp, svm
from pomona.learning.models.base import Codes, Rows, out_of_fold
from pomona.learning.models.registry import MODELS
from pomona.learning.models.scaling import PLAIN, STANDARD, find_scaling
from pomona.learning.models.shares import LEAST
from pomona.learning.temperature import softmax
from pomona.progress import Progress

WIDTH = 12


def draw(n: int, classes: int, *, seed: int) -> tuple[Rows, Codes]:
    """Rows float32[n, 12] of classes that overlap, in columns that vary less and less."""
    widths = np.arange(1, WIDTH + 1) ** -0.5
    centres = np.random.default_rng(0).normal(size=(classes, WIDTH))
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    return ((centres[y] + rng.normal(size=(n, WIDTH))) * widths + 3).astype(np.float32), y


@pytest.fixture(params=[2, 9], ids="{} classes".format)
def classes(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def learned(classes: int) -> tuple[Rows, Codes]:
    return draw(400, classes, seed=1)


@pytest.fixture
def asked(classes: int) -> Rows:
    return draw(200, classes, seed=2)[0]


def assert_same(logits: npt.NDArray[np.float64], wanted: npt.NDArray[np.floating]) -> None:
    """The softmax of logits is what a library has for probabilities, and has its labels."""
    np.testing.assert_allclose(softmax(logits), wanted, atol=1e-6)
    np.testing.assert_array_equal(logits.argmax(axis=1), wanted.argmax(axis=1))


@pytest.mark.parametrize("shrinkage", [0.9, 0.3, 0.01])
def test_lda_is_that_of_sklearn(
    learned: tuple[Rows, Codes], asked: Rows, classes: int, shrinkage: float
) -> None:
    oracle = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage)
    oracle.fit(learned[0].astype(np.float64), learned[1])
    fitted = lda.fit(*learned, classes, {"shrinkage": shrinkage}, 0)
    assert_same(fitted.logits(asked), oracle.predict_proba(asked.astype(np.float64)))


def test_lda_needs_numpy_alone() -> None:
    code = "import sys, pomona.learning.models.lda; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"sklearn", "scipy"} & set(loaded.stdout.split())


def test_moments_are_added_and_subtracted() -> None:
    x, y = draw(70_000, 5, seed=3)  # more than are measured at once
    some = np.arange(len(x)) % 3 == 0
    whole = lda.ClassMoments.measure(x, y, 5)
    part = lda.ClassMoments.measure(x[some], y[some], 5)
    rest = lda.ClassMoments.measure(x[~some], y[~some], 5)
    for one, other in ((part + rest, whole), (whole - part, rest)):
        np.testing.assert_array_equal(one.counts, other.counts)
        np.testing.assert_allclose(one.sums, other.sums, rtol=1e-12)
        np.testing.assert_allclose(one.squares, other.squares, rtol=1e-12)
        [a], [b] = one.solve([0.1]), other.solve([0.1])
        np.testing.assert_allclose(a.logits(x[:100]), b.logits(x[:100]), atol=1e-8)


def test_lda_takes_the_nearest_mean_where_the_rows_of_each_class_are_the_same() -> None:
    x = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    y = np.repeat(np.arange(3), 4)
    for rows in (x, x * 0 + y[:, None].astype(np.float32)):
        logits = lda.fit(rows, y, 3, {"shrinkage": 0.5}, 0).logits(rows)
        np.testing.assert_array_equal(logits.argmax(axis=1), y)


@pytest.mark.parametrize("scaling", [PLAIN, STANDARD])
def test_logistic_is_that_of_sklearn(
    learned: tuple[Rows, Codes], asked: Rows, classes: int, scaling: str
) -> None:
    x, y = learned
    mean = x.mean(axis=0)
    scale = x.std(axis=0) if scaling == STANDARD else (x - mean).std()
    oracle = LogisticRegression(C=0.5, tol=1e-6, max_iter=1000).fit((x - mean) / scale, y)
    fitted = logistic.fit(x, y, classes, {"scaling": scaling, "C": 0.5}, 0)
    wanted = oracle.predict_proba((asked - mean) / scale)
    np.testing.assert_allclose(softmax(fitted.logits(asked)), wanted, atol=0.01)


@pytest.mark.parametrize("scaling", [PLAIN, STANDARD])
def test_logistic_does_not_depend_on_the_unit(scaling: str) -> None:
    x, y = draw(300, 4, seed=4)
    settings = {"scaling": scaling, "C": 0.5}
    one, other = (
        logistic.fit(x * unit, y, 4, settings, 0).logits(x * unit)
        for unit in np.asarray([1, 1024], np.float32)
    )
    np.testing.assert_allclose(one, other, atol=1e-3)


def test_logistic_gives_the_same_bits_on_its_threads() -> None:
    x, y = draw(300, 4, seed=5)
    folds = np.arange(300) % 5
    one, other = (logistic.out_of_fold(x, y, 4, folds, logistic.SETTINGS, 0) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_a_column_that_never_varies_is_left_as_it_is() -> None:
    x, _ = draw(50, 2, seed=6)
    x[:, 3] = 7
    mean, scale = find_scaling(x, STANDARD)
    assert (mean[3], scale[3]) == (7, 1)


@pytest.mark.parametrize("k", [15, 5])
def test_knn_is_that_of_sklearn_with_its_weights(
    learned: tuple[Rows, Codes], asked: Rows, classes: int, k: int
) -> None:
    def weigh(distances: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        weights: npt.NDArray[np.float64] = 1 - (distances / distances[:, -1:]) ** 2
        return weights

    oracle = KNeighborsClassifier(k + 1, weights=weigh).fit(*learned)
    wanted = oracle.predict_proba(asked)
    logits = knn.fit(*learned, classes, {"k": k}, 0).logits(asked)
    np.testing.assert_allclose(softmax(logits), wanted, atol=2 * classes * LEAST)


def test_one_neighbour_decides_alone(
    learned: tuple[Rows, Codes], asked: Rows, classes: int
) -> None:
    oracle = KNeighborsClassifier(1).fit(*learned)
    logits = knn.fit(*learned, classes, {"k": 1}, 0).logits(asked)
    np.testing.assert_array_equal(logits.argmax(axis=1), oracle.predict(asked))


def test_copies_under_two_labels_are_one_neighbour_with_both() -> None:
    x = np.asarray([[0.0], [0.0], [0.0], [5.0], [9.0]], np.float32)
    fitted = knn.fit(x, np.asarray([0, 0, 1, 1, 1]), 2, {"k": 1}, 0)
    [share] = softmax(fitted.logits(np.asarray([[0.5]], np.float32)))
    np.testing.assert_allclose(share, [2 / 3, 1 / 3], atol=1e-5)


def test_fewer_rows_than_neighbours_all_vote() -> None:
    x = np.asarray([[0.0], [1.0], [5.0]], np.float32)
    logits = knn.fit(x, np.asarray([0, 0, 1]), 2, {"k": 15}, 0).logits(x[:1])
    assert logits[0, 0] > logits[0, 1]


def test_svm_is_that_of_sklearn(learned: tuple[Rows, Codes], asked: Rows, classes: int) -> None:
    oracle = SVC(C=10, break_ties=classes > 2).fit(learned[0].astype(np.float64), learned[1])
    logits = svm.fit(*learned, classes, {"C": 10.0}, 0).logits(asked)
    np.testing.assert_array_equal(logits.argmax(axis=1), oracle.predict(asked.astype(np.float64)))


def test_mlp_is_that_of_sklearn(learned: tuple[Rows, Codes], asked: Rows, classes: int) -> None:
    x, y = learned
    mean, scale = find_scaling(x, PLAIN)
    oracle = MLPClassifier(mlp.HIDDEN, alpha=1.0, max_iter=mlp.MOST_EPOCHS, random_state=3)
    with pytest.warns(UserWarning, match="converged"):
        oracle.fit((x - mean) / scale, y)
    logits = mlp.fit(x, y, classes, {"alpha": 1.0}, 3).logits(asked)
    assert_same(logits, oracle.predict_proba((asked - mean) / scale))


def test_forest_is_that_of_sklearn(learned: tuple[Rows, Codes], asked: Rows, classes: int) -> None:
    oracle = RandomForestClassifier(forest.TREES, min_samples_leaf=4, random_state=3).fit(*learned)
    logits = forest.fit(*learned, classes, {"min_samples_leaf": 4}, 3).logits(asked)
    wanted = oracle.predict_proba(asked)
    np.testing.assert_allclose(softmax(logits), wanted, atol=2 * classes * LEAST)


@pytest.mark.needs("xgboost")
def test_xgboost_is_what_its_library_says(
    learned: tuple[Rows, Codes], asked: Rows, classes: int
) -> None:
    import xgboost as library

    from pomona.learning.models import xgboost

    fitted = xgboost.fit(*learned, classes, xgboost.SETTINGS[0], 0)
    assert_same(fitted.logits(asked), fitted.booster.predict(library.DMatrix(asked)))


OutOfFold = Callable[..., list[npt.NDArray[np.float64]]]


@pytest.mark.parametrize("out_of_fold", [lda.out_of_fold, knn.out_of_fold], ids=["lda", "knn"])
def test_what_folds_share_changes_no_answer(out_of_fold: OutOfFold) -> None:
    x, y = draw(200, 4, seed=7)
    y[:40] = 3  # a class that one fold has all rows of
    folds = np.arange(200) // 40
    y[40:][y[40:] == 3] = 2
    module = lda if out_of_fold is lda.out_of_fold else knn
    shared = out_of_fold(x, y, 4, folds, module.SETTINGS, 0)
    for settings, logits in zip(module.SETTINGS, shared, strict=True):
        for fold in range(5):
            held = folds == fold
            alone = module.fit(x[~held], y[~held], 4, settings, 0).logits(x[held])
            np.testing.assert_allclose(logits[held], alone, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_judged_by_fits_that_have_not_seen_them(name: str) -> None:
    implementation = MODELS[name].load()
    x, y = draw(200, 3, seed=8)
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


def test_models_that_grow_with_the_rows_are_left_out_or_refused() -> None:
    said: list[str] = []

    class Said(Progress):
        def note(self, message: str) -> None:
            said.append(message)

    quick = find_models("auto")
    assert within_bounds(quick, "auto", 200_000, Said()) == quick
    assert said == []
    left = within_bounds(quick, "auto", 200_001, Said())
    assert [model.name for model in left] == ["logistic", "lda"]
    assert said == ["knn takes up to 200,000 training images: left out"]
    words = "`model` svm takes up to 20,000 training images, there are 20,001: choose logistic, lda"
    with pytest.raises(UsageError, match=words):
        within_bounds(find_models("svm"), "svm", 20_001, Said())
