"""PCA against scikit-learn, against a plain float64 computation, and against itself."""

from __future__ import annotations

import io
from functools import reduce

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from pomona.pca.moments import Moments, measure, merge, solve
from pomona.pca.projection import Projection
from pomona.reduction.measure import groups
from pomona.reduction.model import refit_reason

Features = npt.NDArray[np.float32]


def features_like(rows: int, width: int, seed: int = 0, offset: float = 3.0) -> Features:
    """Correlated, non-negative and off centre, as a network's features are."""
    rng = np.random.default_rng(seed)
    spectrum = rng.normal(size=(rows, width)) * np.geomspace(5, 0.01, width)
    mixed = spectrum @ np.linalg.qr(rng.normal(size=(width, width)))[0] + offset
    features: Features = np.maximum(mixed, 0).astype(np.float32)
    return features


def in_parts(features: Features, sizes: list[int]) -> Moments:
    cuts = np.cumsum(sizes)[:-1]
    return reduce(merge, [measure(part) for part in np.split(features, cuts)])


def reference_variances(features: Features) -> npt.NDArray[np.float64]:
    """Sample variances along the components, from the singular values in float64."""
    centred = features.astype(np.float64) - features.astype(np.float64).mean(axis=0)
    return np.asarray(np.linalg.svd(centred, compute_uv=False) ** 2 / (len(features) - 1))


@pytest.mark.parametrize(("rows", "width"), [(500, 40), (40, 64), (300, 128), (32, 64), (10, 300)])
@pytest.mark.parametrize("offset", [0.0, 3.0, 1000.0])
@pytest.mark.parametrize("parts", [1, 2])
def test_agrees_with_scikit_learn(rows: int, width: int, offset: float, parts: int) -> None:
    features = features_like(rows, width, offset=offset)
    k = min(rows - 1, width) // 2
    sizes = [rows] if parts == 1 else [rows // 3, rows - rows // 3]
    ours = solve(in_parts(features, sizes), ("components", k))
    theirs = PCA(n_components=k, svd_solver="full").fit(features.astype(np.float64))
    np.testing.assert_allclose(
        ours.explained[:k], theirs.explained_variance_ratio_, rtol=0, atol=1e-9
    )
    np.testing.assert_allclose(ours.variances[:k], theirs.explained_variance_, rtol=1e-7)
    scale = np.abs(theirs.transform(features)).max()
    np.testing.assert_allclose(
        ours.apply(features), theirs.transform(features), rtol=0, atol=1e-5 * scale
    )


def test_agrees_with_a_float64_reference() -> None:
    features = features_like(400, 96)
    ours = solve(in_parts(features, [100, 50, 250]), ("variance", 1.0))
    reference = reference_variances(features)
    np.testing.assert_allclose(ours.variances, reference[:96], rtol=0, atol=1e-9 * reference.sum())


@pytest.mark.parametrize(("rows", "width"), [(200, 48), (24, 48)])
def test_components_are_orthonormal_with_a_positive_largest_entry(rows: int, width: int) -> None:
    projection = solve(measure(features_like(rows, width)), ("components", 20))
    np.testing.assert_allclose(
        projection.components @ projection.components.T, np.eye(20), atol=1e-12
    )
    largest = np.abs(projection.components).argmax(axis=1)
    assert (projection.components[np.arange(20), largest] > 0).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(lambda sizes: sum(sizes) > 1))
def test_moments_do_not_depend_on_the_grouping(sizes: list[int]) -> None:
    features = features_like(sum(sizes), 8)
    whole, parts = measure(features), in_parts(features, sizes)
    assert parts.n == whole.n
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(
        parts.scatter, whole.scatter, rtol=0, atol=1e-10 * np.trace(whole.scatter) + 1e-12
    )


@settings(max_examples=30, deadline=None)
@given(st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 20)))
def test_merging_is_associative_to_rounding(sizes: tuple[int, int, int]) -> None:
    a, b, c = (measure(features_like(size, 6, seed)) for seed, size in enumerate(sizes))
    left, right = merge(merge(a, b), c), merge(a, merge(b, c))
    np.testing.assert_allclose(left.mean, right.mean, rtol=1e-12)
    np.testing.assert_allclose(left.scatter, right.scatter, rtol=1e-9, atol=1e-9)


def test_the_same_grouping_gives_the_same_bytes() -> None:
    features = features_like(300, 64)
    first, second = (in_parts(features, [100, 120, 80]) for _ in range(2))
    assert first.to_bytes() == second.to_bytes()
    requested = ("components", 10.0)
    assert solve(first, requested).to_bytes() == solve(second, requested).to_bytes()


@pytest.mark.parametrize("rows", [50, 4])
def test_moments_round_trip_through_bytes(rows: int) -> None:
    moments = measure(features_like(rows, 8))
    again = Moments.from_bytes(moments.to_bytes())
    assert again.n == moments.n
    np.testing.assert_array_equal(again.scatter, moments.scatter)


def test_moments_that_hold_pickled_objects_are_refused() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, n=np.array([object()]), mean=np.zeros(2), rows_or_scatter=np.eye(2))
    with pytest.raises(ValueError, match="allow_pickle"):
        Moments.from_bytes(buffer.getvalue())


@pytest.mark.parametrize(("rows", "has_rows"), [(0, True), (16, True), (17, False), (40, False)])
def test_the_moments_of_few_rows_are_the_rows(rows: int, has_rows: bool) -> None:
    moments = measure(features_like(rows, 32))
    assert moments.has_rows is has_rows
    assert moments.rows_or_scatter.shape == (rows if has_rows else 32, 32)


@pytest.mark.parametrize("scale", [1.0, 1e-4])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99, 1.0])
def test_variance_keeps_the_fewest_components_that_retain_it(share: float, scale: float) -> None:
    features = (scale * features_like(300, 64)).astype(np.float32)
    projection = solve(measure(features), ("variance", share))
    cumulative = np.cumsum(projection.explained)
    assert projection.variance_explained >= share - 1e-12
    assert projection.k == 1 or cumulative[projection.k - 2] < share


@pytest.mark.parametrize(("rows", "width"), [(10, 32), (100, 32)])
def test_components_are_limited_by_rows_and_width(rows: int, width: int) -> None:
    projection = solve(measure(features_like(rows, width)), ("components", 1000))
    assert projection.k == min(rows - 1, width) == len(projection.variances)


@pytest.mark.parametrize("width", [4, 10])
def test_identical_rows_have_one_component_and_no_variance(width: int) -> None:
    rows = np.ones((5, width), np.float32)
    projection = solve(measure(rows), ("variance", 0.9))
    assert projection.k == 1
    assert projection.variance_explained == 0
    assert np.linalg.norm(projection.components) == pytest.approx(1)
    np.testing.assert_array_equal(projection.apply(rows), 0)


@pytest.mark.parametrize("rows", [0, 1])
def test_fewer_than_two_rows_are_refused(rows: int) -> None:
    with pytest.raises(ValueError, match="at least 2 rows"):
        solve(measure(np.ones((rows, 4), np.float32)), ("components", 1))


def test_a_projected_row_does_not_depend_on_the_other_rows() -> None:
    features = features_like(200, 320)
    projection = solve(measure(features), ("components", 37))
    together = projection.apply(features)
    for rows in (slice(0, 1), slice(63, 65), slice(17, 130)):
        assert projection.apply(features[rows]).tobytes() == together[rows].tobytes()


def test_a_projection_refuses_features_of_another_width() -> None:
    projection = solve(measure(features_like(20, 8)), ("components", 2))
    with pytest.raises(ValueError, match=r"\[n, 8\]"):
        projection.apply(np.zeros((3, 9), np.float32))


def test_a_projection_round_trips_through_bytes() -> None:
    projection = solve(measure(features_like(50, 8)), ("variance", 0.8))
    again = Projection.from_bytes(projection.to_bytes())
    assert (again.id, again.n, again.k) == (projection.id, 50, projection.k)
    assert again.requested == ("variance", 0.8)


@pytest.mark.parametrize("parts", [1, 7, 8, 9, 512, 513, 5000])
def test_groups_hold_every_part_once_and_stay_few(parts: int) -> None:
    found = groups(dict.fromkeys(range(parts), 10))
    assert [part for group in found for part in group.parts] == list(range(parts))
    assert [group.number for group in found] == list(range(len(found)))
    assert len(found) <= 64
    assert sum(group.rows for group in found) == 10 * parts
    assert all(group.rows >= 2048 for group in found[:-1])


@pytest.mark.parametrize(
    ("parts", "rows", "count"), [(1280, 256, 64), (64 * 2050, 1, 64), (100, 512, 25), (5, 5000, 5)]
)
def test_there_are_as_many_groups_as_the_rows_are_worth(parts: int, rows: int, count: int) -> None:
    assert len(groups(dict.fromkeys(range(parts), rows))) == count


def test_when_a_projection_is_refitted() -> None:
    kept = solve(measure(features_like(100, 8)), ("variance", 0.9))
    assert refit_reason(None, 10, None)
    assert refit_reason(kept, 200, None) is None
    assert refit_reason(kept, 200, ("variance", 0.9)) is None
    assert refit_reason(kept, 201, None) == "201 images now, 100 when it was fitted"
    assert refit_reason(kept, 201, None, keep=True) is None
    assert (
        refit_reason(kept, 100, ("variance", 0.8))
        == "0.8 of the variance requested, 0.9 of the variance before"
    )
    assert refit_reason(kept, 100, ("components", 5), keep=True)
