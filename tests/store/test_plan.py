"""The plan: each image keeps its part, and a part knows when it has changed."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.store import schemas
from pomona.store.plan import (
    BUNDLE,
    LOCAL_TASK_DIVISOR,
    Shard,
    bundles,
    make_plan,
    part_numbers,
    shard_size,
    shards,
)

Image = tuple[str | None, str]  # label, fingerprint


def catalog_of(images: dict[str, Image]) -> pa.Table:
    rows = [
        {"path": path, "label": label, "split": None, "size_bytes": 1, "fingerprint": fingerprint}
        for path, (label, fingerprint) in sorted(images.items())
    ]
    return pa.Table.from_pylist(rows, schemas.CATALOG)


def numbered(count: int, prefix: str = "", fingerprint: str = "f") -> dict[str, Image]:
    return {f"{prefix}{index:07d}.jpg": ("label", fingerprint) for index in range(count)}


def parts_of(plan: pa.Table) -> dict[str, int]:
    return dict(zip(plan["path"].to_pylist(), plan["part"].to_pylist(), strict=True))


def generations(plan: pa.Table) -> dict[int, str]:
    return {shard.part: shard.generation for shard in shards(plan)}


def by_part(plan: pa.Table) -> dict[int, Shard]:
    return {shard.part: shard for shard in shards(plan)}


# Sizes


@given(st.integers(1, 700_000))
@settings(deadline=None)
def test_shards_have_32_to_256_images_up_to_700_000(images: int) -> None:
    size = shard_size(images)
    assert 32 <= size <= 256
    assert size & (size - 1) == 0


@given(st.integers(1, 12_000_000))
@settings(deadline=None, max_examples=30)
def test_there_are_never_over_4096_shards(images: int) -> None:
    assert part_numbers(images).max() < 4096


@pytest.mark.parametrize("images", [2_977 * 256, 2_978 * 256 + 1, 2_978 * 1024, 100_000_000])
def test_there_are_never_over_4096_shards_where_they_grow(images: int) -> None:
    assert part_numbers(images).max() < 4096


@given(st.integers(1, 20_000_000), st.integers(1, 20_000_000))
@settings(deadline=None)
def test_more_images_never_make_smaller_shards(one: int, other: int) -> None:
    assert shard_size(min(one, other)) <= shard_size(max(one, other))


@pytest.mark.parametrize(
    ("images", "size"),
    [
        (0, 32),
        (1, 32),
        (512, 32),
        (513, 64),
        (4096, 64),
        (4097, 128),
        (8710, 256),
        (762_000, 256),
        (762_228, 256),
        (762_229, 512),
        (10_000_000, 4096),
    ],
)
def test_shard_sizes(images: int, size: int) -> None:
    assert shard_size(images) == size


# A first plan


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 63, 65, 300, 512])
def test_parts_are_even_and_follow_the_paths(count: int) -> None:
    plan = make_plan(catalog_of(numbered(count)))
    assert plan.schema == schemas.PLAN
    assert plan["path"].to_pylist() == sorted(numbered(count))
    parts = plan["part"].to_numpy()
    sizes = np.bincount(parts)
    assert (np.diff(parts) >= 0).all()
    assert sizes.max() <= shard_size(count)
    assert sizes.max() - sizes.min() <= 1
    assert len(sizes) == -(-count // shard_size(count))


@pytest.mark.parametrize(("count", "size", "smaller"), [(1000, 64, 32), (8710, 256, 64)])
def test_the_last_eighth_is_cut_smaller(count: int, size: int, smaller: int) -> None:
    sizes = np.bincount(part_numbers(count))
    many, last = sizes[sizes > smaller], sizes[sizes <= smaller]
    assert sizes.tolist() == [*many, *last]
    assert last.sum() == count // 8
    assert many.min() >= size * 0.9
    assert many.max() <= size
    assert last.min() >= smaller * 0.9


@pytest.mark.parametrize("count", [0, 1, 300, 2049])
def test_shards_hold_each_image_once(count: int) -> None:
    plan = make_plan(catalog_of(numbered(count)))
    found = list(shards(plan))
    assert [shard.part for shard in found] == list(range(len(found)))
    assert all(shard.images.schema == schemas.CATALOG for shard in found)
    together = pa.concat_tables([schemas.CATALOG.empty_table(), *(s.images for s in found)])
    assert together.equals(catalog_of(numbered(count)))


def test_the_same_catalog_gives_the_same_plan() -> None:
    catalog = catalog_of(numbered(500))
    plan = make_plan(catalog)
    assert make_plan(catalog).equals(plan)
    assert make_plan(catalog, plan).equals(plan)
    assert make_plan(catalog, schemas.PLAN.empty_table()).equals(plan)


def test_a_plan_depends_on_neither_the_order_of_discovery_nor_chunks() -> None:
    images = numbered(500)
    catalog = catalog_of(images)
    backwards = catalog_of(dict(reversed(images.items())))
    chunked = pa.concat_tables([catalog.slice(start, 77) for start in range(0, 500, 77)])
    plan = make_plan(catalog)
    for other in (backwards, chunked):
        assert make_plan(other).equals(plan)
        assert generations(make_plan(other)) == generations(plan)
        assert make_plan(other, plan).equals(plan)


# Later plans


def test_new_images_go_into_new_parts_and_leave_the_old_ones() -> None:
    plan = make_plan(catalog_of(numbered(300)))
    added = make_plan(catalog_of(numbered(300) | numbered(70, "0000100.jpg/")), plan)
    before, after = generations(plan), generations(added)
    assert {part: after[part] for part in before} == before
    new = {path: part for path, part in parts_of(added).items() if "/" in path}
    assert len(new) == 70
    assert sorted(set(new.values())) == [len(before) + extra for extra in range(3)]
    assert set(after) == set(before) | set(new.values())


@pytest.mark.parametrize(
    "change",
    [("label", "other"), (None, "f"), ("", "f"), ("Label", "f"), ("label", "")],
)
def test_a_changed_image_changes_its_own_shard_alone(change: Image) -> None:
    images = numbered(300)
    plan = make_plan(catalog_of(images))
    path = "0000123.jpg"
    changed = make_plan(catalog_of(images | {path: change}), plan)
    assert parts_of(changed) == parts_of(plan)
    before, after = generations(plan), generations(changed)
    assert {part for part in before if before[part] != after[part]} == {parts_of(plan)[path]}


def test_a_label_that_is_none_is_not_one_that_is_empty() -> None:
    none, empty = ({"a.jpg": (label, "f")} for label in (None, ""))
    assert generations(make_plan(catalog_of(none))) != generations(make_plan(catalog_of(empty)))


def test_a_removed_image_keeps_its_place() -> None:
    plan = make_plan(catalog_of(numbered(300)))
    assert make_plan(catalog_of(numbered(100)), plan).equals(plan)
    assert make_plan(schemas.CATALOG.empty_table(), plan).equals(plan)


def test_an_image_that_comes_back_takes_its_old_place() -> None:
    plan = make_plan(catalog_of(numbered(300)))
    without = make_plan(catalog_of(numbered(100) | numbered(10, "new ")), plan)
    back = make_plan(catalog_of(numbered(300) | numbered(10, "new ")), without)
    assert back.equals(without)


def test_a_change_undone_brings_the_generation_back() -> None:
    plan = make_plan(catalog_of(numbered(300)))
    touched = make_plan(catalog_of(numbered(300, fingerprint="g")), plan)
    assert not set(generations(plan).values()) & set(generations(touched).values())
    assert make_plan(catalog_of(numbered(300)), touched).equals(plan)


sources = st.lists(
    st.dictionaries(
        st.integers(0, 80).map(lambda number: f"{number}.jpg"),
        st.tuples(st.sampled_from([None, "a", "b"]), st.sampled_from(["1", "2"])),
        max_size=80,
    ),
    min_size=1,
    max_size=6,
)


@given(sources)
@settings(deadline=None)
def test_a_plan_keeps_each_image_in_its_part_through_any_changes(
    history: list[dict[str, Image]],
) -> None:
    plan = make_plan(catalog_of(history[0]))
    known = dict(history[0])
    for source in history[1:]:
        before, plan = plan, make_plan(catalog_of(source), plan)
        changed = {path for path in source if path in known and known[path] != source[path]}
        new = set(source) - set(known)
        known |= source

        rows = plan.to_pylist()
        assert {row["path"]: (row["label"], row["fingerprint"]) for row in rows} == known
        assert len(rows) == len(known)
        assert all(
            (one["part"], one["path"]) < (other["part"], other["path"])
            for one, other in pairwise(rows)
        )
        old_parts, parts = parts_of(before), parts_of(plan)
        assert {path: parts[path] for path in old_parts} == old_parts
        assert all(parts[path] > max(old_parts.values(), default=-1) for path in new)
        old, now = generations(before), generations(plan)
        assert {part for part in old if old[part] != now[part]} == {parts[p] for p in changed}
        assert set(now) == set(range(len(now)))
        assert make_plan(catalog_of(source), plan).equals(plan)


# What goes to a worker


def test_a_shard_carries_its_own_rows_only() -> None:
    few = by_part(make_plan(catalog_of(numbered(2000))))[0]
    many = by_part(make_plan(catalog_of(numbered(60_000))))[0]
    row_bytes = 100
    for shard in (few, many):
        pickled = pickle.dumps(shard)
        assert len(pickled) < 4000 + row_bytes * shard.images.num_rows
        assert pickle.loads(pickled) == shard  # noqa: S301


def test_a_generation_survives_serialisation_in_chunks() -> None:
    plan = make_plan(catalog_of(numbered(300)))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, plan.schema) as writer:
        writer.write_table(plan, max_chunksize=17)
    again = pa.ipc.open_stream(sink.getvalue()).read_all()
    assert generations(again) == generations(plan)


# Bundles


@given(st.lists(st.integers(0, 3000), max_size=60), st.integers(1, 8))
@settings(deadline=None)
def test_bundles_hold_each_shard_once_in_their_order(sizes: list[int], workers: int) -> None:
    found = list(bundles(sizes, int, workers))
    assert [size for bundle in found for size in bundle] == sizes
    assert all(bundle for bundle in found)
    assert all(sum(bundle) <= BUNDLE for bundle in found if len(bundle) > 1)


def test_bundles_get_smaller_towards_the_end() -> None:
    sizes = np.bincount(part_numbers(8710)).tolist()
    found = [sum(bundle) for bundle in bundles(sizes, int, workers=2)]
    assert found[0] > 1000
    assert found[-3:] == [128, 64, 64]
    # Nobody is left with more than the others have to do meanwhile.
    assert all(size <= max(65, sum(found[at + 1 :])) for at, size in enumerate(found[:-1]))


def test_bundles_are_smaller_on_a_disk() -> None:
    sizes = np.bincount(part_numbers(1000)).tolist()
    found = [sum(bundle) for bundle in bundles(sizes, int, workers=2, smaller=LOCAL_TASK_DIVISOR)]
    assert found[0] == 125
    assert max(found) <= BUNDLE // LOCAL_TASK_DIVISOR


def test_each_of_many_workers_gets_one_shard_at_a_time() -> None:
    sizes = np.bincount(part_numbers(8710)).tolist()
    assert list(bundles(sizes, int, workers=64)) == [[size] for size in sizes]
