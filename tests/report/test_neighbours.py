from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pomona.report.copies import find_copies, find_repeated
from pomona.report.neighbours import NEAREST, compare
from pomona.report.projected import Projected
from pomona.store import schemas

COLUMNS = ("path", "label", "split", "sha256")


def images(rows: Sequence[tuple[str | None, ...]]) -> pa.Table:
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    return pa.table(columns, names=COLUMNS)


def clusters(seed: int = 0) -> tuple[list[Any], npt.NDArray[np.float32]]:
    """20 images around each of two directions, labelled by them: a, then b."""
    rng = np.random.default_rng(seed)
    array = rng.normal(0, 0.2, (40, 30))
    array[:20, 0] += 1
    array[20:, 1] += 1
    rows = [(f"{i}.jpg", "a" if i < 20 else "b", "Training", f"sha {i}") for i in range(40)]
    return rows, array.astype(np.float32)


def test_images_with_the_same_bytes_are_not_compared() -> None:
    rows = [("a.jpg", "a", None, "same"), ("b.jpg", "a", None, "same")]
    assert compare(Projected(images(rows), np.ones((2, 3), np.float32), 2)) is None


def test_an_image_near_those_of_another_label_is_a_possible_mislabel() -> None:
    rows, array = clusters()
    rows[3] = ("wrong.jpg", "b", "Training", "sha 3")
    found = compare(Projected(images(rows), array, 40))
    assert found is not None
    assert found.mislabels.shown[0].image.path == "wrong.jpg"
    assert found.mislabels.shown[0].near == [("a", NEAREST)]
    assert found.mislabels.images >= len(found.mislabels.shown)
    assert found.mislabels.judged == 40


def test_a_neighbour_without_a_label_does_not_count_as_another_label() -> None:
    rows, array = clusters()
    labelled = {3, *range(30, 40)}
    some = [
        (path, "a" if i in labelled else None, None, f"{i}") for i, (path, *_) in enumerate(rows)
    ]
    found = compare(Projected(images(some), array, 40))
    assert found is not None
    mislabels = found.mislabels
    assert (mislabels.judged, mislabels.images, mislabels.shown) == (11, 0, [])


def test_images_of_small_labels_and_without_label_are_not_judged() -> None:
    rows, array = clusters()
    few = [(path, "a" if i < 20 else None, None, sha) for i, (path, *_, sha) in enumerate(rows)]
    few[:5] = [(path, "few", None, sha) for path, *_, sha in few[:5]]
    found = compare(Projected(images(few), array, 40))
    assert found is not None
    assert found.mislabels.judged == 15
    assert {suspect.image.label for suspect in found.mislabels.shown} <= {"a"}


def test_near_duplicates_are_paired_and_counted_across_labels_and_splits() -> None:
    rows, array = clusters()
    array[30] = array[20] * 1.5  # the same direction
    array[31], array[5] = array[21] + 0.001, array[6] + 0.001
    rows[30] = ("test.jpg", "b", "Test", "sha 30")
    rows[5] = ("other.jpg", "c", "Training", "sha 5")
    found = compare(Projected(images(rows), array, 40))
    assert found is not None
    near = found.near_duplicates
    assert (near.images, near.other_label, near.other_split) == (6, 2, 2)
    pairs = [{image.path for image in pair.images} for pair in near.pairs]
    assert pairs[0] == {"20.jpg", "test.jpg"}
    assert pairs[1:] == [{"21.jpg", "31.jpg"}]  # those of two labels are told once, below
    [pair] = near.label_pairs
    assert [image.path for image in pair.images] == ["other.jpg", "6.jpg"]


def test_exact_copies_do_not_count_as_near_duplicates() -> None:
    rows, array = clusters()
    array[[8, 9]] = array[7]
    rows[8], rows[9] = ("8.jpg", "a", "Test", "sha 7"), ("9.jpg", "b", "Training", "sha 7")
    table = images(rows)
    found = compare(Projected(table, array, 40))
    assert found is not None
    assert (found.compared, found.near_duplicates.images) == (38, 0)
    metadata = pa.table(
        {name: table[name] if name in COLUMNS else pa.nulls(40) for name in schemas.METADATA.names}
    ).cast(schemas.METADATA)
    copies = find_copies(metadata, find_repeated(metadata["sha256"]))
    assert (copies.images, copies.contents) == (3, 1)
    assert (copies.label_contents, copies.split_contents) == (1, 1)
    [content] = copies.shown
    assert [image.path for image in content.images] == ["7.jpg", "8.jpg", "9.jpg"]
    alone = metadata.slice(10)
    assert len(find_repeated(alone["sha256"])) == 0
    assert find_copies(alone, find_repeated(alone["sha256"])).contents == 0
    # Of the same beginning, but not the same.
    assert find_copies(alone, pc.utf8_slice_codeunits(alone["sha256"], 0, 16)).contents == 0
