"""What must not be torn apart, and on which side of a classifier it stands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pomona.errors import SourceError, StoreError
from pomona.learning import groups as grouping
from pomona.learning.folds import loosen, make_folds
from pomona.learning.groups import find_near_duplicates, join, read_groups
from pomona.learning.models.base import Codes
from pomona.learning.rows import LabelledRows
from pomona.learning.sides import find_sides


def make_rows(
    n: int,
    labels: int = 4,
    *,
    seed: int = 0,
    split: Sequence[str] | None = None,
    digests: list[str] | None = None,
) -> LabelledRows:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % labels
    images = pa.table(
        {
            "path": [f"{at:06d}.jpg" for at in range(n)],
            "label": [f"label {code}" for code in y],
            "split": pa.array(split, pa.string()) if split else pa.nulls(n, pa.string()),
            "digest": digests or [f"{seed}-{at}" for at in range(n)],
        }
    )
    x = rng.normal(size=(n, 8)).astype(np.float32)
    return LabelledRows(x, images, [f"label {code}" for code in range(labels)], y)


def own(rows: LabelledRows) -> Codes:
    """Each image in a group of its own."""
    return np.arange(len(rows))


def test_join_follows_chains() -> None:
    linked = join(np.array([0, 1, 2, 3, 4, 1]), pairs=np.array([[0, 2], [2, 4]]))
    assert linked.tolist() == [0, 1, 0, 2, 0, 1]
    assert join(np.array([5, 5, 7]), np.array([1, 2, 2])).tolist() == [0, 0, 0]


def test_near_duplicates_are_those_of_the_report() -> None:
    rows = make_rows(200)
    x = rows.x.copy()
    x[7] = x[3] * 1.5 + 1e-3
    x[50] = x[7] * 2
    rows = LabelledRows(x - x.mean(axis=0), rows.images, rows.names, rows.y)
    groups = find_near_duplicates(rows, 0)
    assert groups[3] == groups[7] == groups[50]
    assert len(np.unique(groups)) == 198


def test_many_rows_are_compared_near_their_centres(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = make_rows(2_000)
    x = np.concatenate([rows.x[:1_000], rows.x[:1_000] * np.float32(1.01)])
    rows = LabelledRows(x, rows.images, rows.names, rows.y)
    every = find_near_duplicates(rows, 0)
    monkeypatch.setattr(grouping, "ALL_PAIRS", 100)
    near = find_near_duplicates(rows, 0)
    assert (every[:1_000] == every[1_000:]).all()
    assert (near[:1_000] == near[1_000:]).mean() > 0.98
    # Nothing is linked that is not linked when each is compared with each.
    assert len(np.unique(np.stack([near, every]), axis=1)[0]) == len(np.unique(near))


def test_a_group_file_must_cover_the_rows(tmp_path: Path) -> None:
    rows, file = make_rows(3), tmp_path / "groups.csv"
    file.write_text("path,group\n000000.jpg,a\n000001.jpg,b\n000002.jpg,a\nother.jpg,c\n")
    assert read_groups(rows, file).tolist() == [0, 1, 0]
    file.write_text("path,group\n000000.jpg,a\n000001.jpg,\n")
    with pytest.raises(SourceError, match="names no group for 2 of 3 labelled images, such as"):
        read_groups(rows, file)
    file.write_text("path,one,other\n")
    with pytest.raises(SourceError, match="has no column group"):
        read_groups(rows, file)
    with pytest.raises(SourceError, match="does not exist: check `groups`"):
        read_groups(rows, tmp_path / "away.csv")


def test_the_stores_splits_decide() -> None:
    split = [("Test" if at % 3 == 0 else "Training") for at in range(30)]
    sides = find_sides(rows := make_rows(30, split=split), own(rows), 0)
    assert not sides.is_made
    assert sides.test.tolist() == list(range(0, 30, 3))
    assert len(sides.copied) == len(sides.unlearned) == 0


def test_test_images_with_the_bytes_of_training_images_are_left_out() -> None:
    split = ["training"] * 20 + ["test"] * 10
    digests = [f"{at}" for at in range(20)] + ["3", "4"] + [f"t{at}" for at in range(8)]
    sides = find_sides(rows := make_rows(30, split=split, digests=digests), own(rows), 0)
    assert sides.copied.tolist() == [20, 21]
    assert sides.test.tolist() == list(range(22, 30))


def test_labels_that_are_only_tested_are_left_out() -> None:
    split = ["test" if at % 4 == 3 or at > 20 else "training" for at in range(40)]
    sides = find_sides(rows := make_rows(40, split=split), own(rows), 0)
    assert set(rows.y[sides.unlearned]) == {3}
    assert set(rows.y[sides.test]) == {0, 1, 2}


def test_a_store_of_test_images_alone_is_refused() -> None:
    rows = make_rows(12, split=["test"] * 12)
    with pytest.raises(StoreError, match="none is left to learn from"):
        find_sides(rows, own(rows), 0)


def test_an_image_keeps_its_side_when_the_store_grows() -> None:
    few = make_rows(1_000)
    many = make_rows(4_000)
    before, after = (find_sides(rows, own(rows), 0) for rows in (few, many))
    assert before.is_made
    assert np.array_equal(after.test[after.test < 1_000], before.test)
    assert 0.17 < len(after.test) / 4_000 < 0.23
    assert not np.array_equal(find_sides(few, own(few), 1).test, before.test)
    shares = np.bincount(many.y[after.test]) / np.bincount(many.y)
    assert (np.abs(shares - 0.2) < 0.05).all()


def test_groups_and_copies_stay_on_one_side() -> None:
    rows = make_rows(600)
    groups = np.arange(600) // 3
    sides = find_sides(rows, groups, 0)
    assert not set(groups[sides.train]) & set(groups[sides.test])
    assert len(sides.copied) == 0


def test_no_label_is_tested_by_more_than_half() -> None:
    rows = make_rows(400)
    for seed in range(5):
        # Each label is two groups only.
        groups = rows.y * 2 + (np.arange(400) % 8 >= 4)
        sides = find_sides(rows, groups, seed)
        tested = np.bincount(rows.y[sides.test], minlength=4)
        assert (2 * tested <= np.bincount(rows.y)).all()
        assert not set(groups[sides.train]) & set(groups[sides.test])
    # One group alone is learned.
    assert len(find_sides(rows, rows.y, 0).test) == 0


def test_folds_keep_groups_and_share_labels() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 6, 3_000)
    groups = y * 1_000 + rng.integers(0, 40, 3_000)
    folds = make_folds(y, groups, np.arange(3_000))
    assert all(len(set(folds[groups == group])) == 1 for group in np.unique(groups))
    for label in range(6):
        shares = np.bincount(folds[y == label], minlength=5) / (y == label).sum()
        assert shares.min() > 0.14
        assert shares.max() < 0.26
    assert np.array_equal(folds, make_folds(y, groups, np.arange(3_000)))


def test_a_group_that_holds_a_label_is_taken_apart_but_for_copies() -> None:
    y = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    groups = np.array([9, 9, 9, 9, 1, 1, 2, 2])
    digests = np.array([0, 1, 2, 2, 4, 5, 6, 7])
    loose = loosen(y, groups, digests)
    assert len(set(loose[:4])) == 3
    assert loose[2] == loose[3]
    assert loose[4:].tolist() == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("splits", "tested"),
    [
        (("train", "Testing"), {"Testing"}),
        (("training_set", "hold-out", "valid"), {"hold-out"}),
        (("train", "test2017", "TEST", "eval"), {"test2017", "TEST"}),
        (("train", "evaluation"), {"evaluation"}),
        (("train", "dev"), set()),
    ],
)
def test_splits_are_tested_on_by_the_names_that_tools_give_them(
    splits: tuple[str, ...], tested: set[str]
) -> None:
    split = [splits[at // 7 % len(splits)] for at in range(60)]
    sides = find_sides(rows := make_rows(60, split=split), own(rows), 0)
    assert sides.is_made == (not tested)
    if tested:
        assert {split[at] for at in sides.test} == tested
