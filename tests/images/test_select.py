"""Selection: a sample of a catalog, spread evenly over its labels."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.images.select import spread_sample
from pomona.store import schemas


def table(labels: list[str | None]) -> pa.Table:
    """A catalog of images with these labels."""
    rows = [{"path": f"{index:06d}.jpg", "label": label} for index, label in enumerate(labels)]
    return pa.Table.from_pylist(rows, schemas.CATALOG)


catalogs = st.lists(st.sampled_from(["a", "b", "c", None]), max_size=60).map(table)


@given(catalogs, st.integers(0, 70), st.integers(0, 5))
@settings(deadline=None)
def test_a_sample_is_a_part_of_the_catalog_in_its_order(
    catalog: pa.Table, limit: int, seed: int
) -> None:
    sample = spread_sample(catalog, limit, seed)
    assert sample.num_rows == min(limit, catalog.num_rows)
    found = sample["path"].to_pylist()
    assert found == sorted(set(found))
    assert set(found) <= set(catalog["path"].to_pylist())
    assert sample.equals(spread_sample(catalog, limit, seed))


@given(catalogs, st.integers(0, 70), st.integers(0, 5))
@settings(deadline=None)
def test_a_sample_is_spread_evenly_over_the_labels(
    catalog: pa.Table, limit: int, seed: int
) -> None:
    there = Counter(catalog["label"].to_pylist())
    taken = Counter(spread_sample(catalog, limit, seed)["label"].to_pylist())
    most = max(taken.values(), default=0)
    for label, count in there.items():
        assert taken[label] >= min(count, most - 1)


@given(catalogs, st.integers(0, 5))
@settings(deadline=None)
def test_a_smaller_sample_is_part_of_a_larger_one(catalog: pa.Table, seed: int) -> None:
    samples = [
        set(spread_sample(catalog, limit, seed)["path"].to_pylist())
        for limit in range(catalog.num_rows + 2)
    ]
    assert all(smaller <= larger for smaller, larger in pairwise(samples))


def test_each_seed_draws_another_sample() -> None:
    catalog = table(["a", "b"] * 500)
    samples = {tuple(spread_sample(catalog, 20, seed)["path"].to_pylist()) for seed in range(10)}
    assert len(samples) == 10


def test_a_sample_is_not_the_first_of_each_folder() -> None:
    catalog = table(["a"] * 1000)
    positions = [int(path[:6]) for path in spread_sample(catalog, 100, 0)["path"].to_pylist()]
    assert min(positions) < 100
    assert max(positions) >= 900
