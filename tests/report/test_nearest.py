from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.neighbors import NearestNeighbors

from pomona.report import nearest
from pomona.report.nearest import find_nearest


def made_up(n: int, k: int, around: int) -> npt.NDArray[np.float32]:
    """Rows around so many directions, or 0 for none at all; two are of zeros, two are the same."""
    rng = np.random.default_rng(n + around)
    array = rng.normal(size=(n, k))
    if around:
        directions = rng.normal(size=(around, k))
        array = directions[rng.integers(around, size=n)] + 0.3 * array
    array[[n // 2, n // 3]] = 0
    array[n // 5] = 3 * array[n // 4]
    return array.astype(np.float32)


def all_with_all(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """float64[n, n]: the cosines, −∞ for a row and itself."""
    rows = array.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    cosines: npt.NDArray[np.float64] = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    return cosines


@pytest.mark.parametrize(("n", "count"), [(3_000, 5), (40, 5), (4, 5), (2, 1)])
def test_the_nearest_are_those_of_scikit_learn(n: int, count: int) -> None:
    array = np.random.default_rng(n).normal(size=(n, 7)).astype(np.float32)
    found = find_nearest(array, count)
    m = min(count, n - 1)
    assert found.rows.shape == found.cosines.shape == (n, m)
    distances, rows = NearestNeighbors(n_neighbors=m, metric="cosine").fit(array).kneighbors()
    np.testing.assert_allclose(found.cosines, 1 - distances, atol=1e-5)
    assert (found.rows == rows).mean() > 0.999  # but for ties in the last bit


# Few dimensions, where angles are small, up to rows without clusters, which are far apart.
@pytest.mark.parametrize(("k", "around"), [(2, 0), (3, 7), (20, 30), (20, 300), (100, 0)])
def test_clusters_that_are_passed_over_have_none_of_the_nearest(
    k: int, around: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "FEW_ROWS", 100)
    array = made_up(4_000, k, around)
    found, cosines = find_nearest(array, 5, threads=2), all_with_all(array)
    best = -np.sort(np.partition(-cosines, 4, axis=1)[:, :5], axis=1)
    np.testing.assert_allclose(found.cosines, best, atol=2e-6)
    own = np.arange(len(array))[:, None]
    np.testing.assert_allclose(found.cosines, cosines[own, found.rows], atol=2e-6)
    assert all(len(set(rows)) == 5 for rows in found.rows.tolist())


def test_clusters_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "FEW_ROWS", 100)
    monkeypatch.setattr(nearest, "FIRST_ROWS", 64)
    compared = 0
    update = nearest._update

    def count(best: nearest.Nearest, products: nearest.Rows, others: nearest.Numbers) -> None:
        nonlocal compared
        compared += products.size
        update(best, products, others)

    monkeypatch.setattr(nearest, "_update", count)
    find_nearest(made_up(4_000, 20, 100), 5)
    assert compared < 4_000 * 4_000 / 4


def test_the_number_of_threads_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "FEW_ROWS", 100)
    array = made_up(4_000, 20, 100)
    one, three = find_nearest(array, 5), find_nearest(array, 5, threads=3)
    np.testing.assert_array_equal(one.rows, three.rows)
    np.testing.assert_array_equal(one.cosines.view(np.int32), three.cosines.view(np.int32))


def test_a_single_row_has_no_neighbour_and_a_row_of_zeros_has_cosine_0() -> None:
    assert find_nearest(np.ones((1, 3), np.float32), 5).rows.shape == (1, 0)
    found = find_nearest(np.array([[0, 0], [1, 0], [1, 0]], np.float32), 1)
    np.testing.assert_array_equal(found.cosines[:, 0], [0, 1, 1])
