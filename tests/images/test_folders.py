"""Folders: which are labels, which are splits, and what is said where a name may be either."""

from __future__ import annotations

import unicodedata

import pyarrow as pa
import pytest

from pomona.errors import UsageError
from pomona.images.folders import FolderRules, label_by_folders
from pomona.images.scan import folder_label
from pomona.store import schemas


def read(
    *paths: str, label_from: str = "parent", splits: bool | None = None
) -> tuple[list[tuple[str | None, str | None]], list[str]]:
    """Label and split of each path, and the notes."""
    catalog = pa.Table.from_pylist([{"path": path} for path in paths], schemas.CATALOG)
    labelled, notes = label_by_folders(catalog, FolderRules(label_from, splits))
    assert labelled.schema == schemas.CATALOG
    assert labelled["path"].equals(catalog["path"])
    return [(row["label"], row["split"]) for row in labelled.to_pylist()], notes


USUAL = [
    "Test/Apple/1.jpg",
    "Test/Pear/1.jpg",
    "Training/Apple/1.jpg",
    "Training/citrus/Lemon/1.jpg",
    "Training/loose.jpg",
    "val/Apple/1.jpg",
]


def test_usual_trees_are_read_as_before() -> None:
    found, notes = read(*USUAL)
    assert found == [folder_label(path.rpartition("/")[0]) for path in USUAL]
    assert notes == []
    for paths in (["a/1.jpg", "b/c/2.jpg", "3.jpg"], ["Apple/test/1.jpg", "Apple/train/2.jpg"]):
        assert read(*paths)[0] == [folder_label(path.rpartition("/")[0]) for path in paths]


@pytest.mark.parametrize(
    "name",
    [
        *("train", "TRAINING", "valid", "validation", "val", "dev", "eval", "test", "testing"),
        *("holdout", "train2017", "val_2017", "test_set", "test-data", "hold-out", "train split"),
    ],
)
def test_the_names_that_tools_give_to_splits_are_known(name: str) -> None:
    found, notes = read(f"{name}/apple/1.jpg", "train/apple/2.jpg")
    assert found == [("apple", name), ("apple", "train")]
    assert notes == []


@pytest.mark.parametrize(
    "name", ["trains", "protest", "develop", "value", "contest", "train-station"]
)
def test_other_names_are_labels(name: str) -> None:
    assert read(f"{name}/1.jpg") == ([(name, None)], [])


@pytest.mark.parametrize("above", ["", "all/", "train/vehicles/"])
def test_a_class_called_train_is_a_class_and_a_note_says_so(above: str) -> None:
    paths = [f"{above}{name}/1.jpg" for name in ("bus", "car", "train")]
    found, notes = read(*paths)
    assert [label for label, _ in found] == ["bus", "car", "train"]
    assert {split for _, split in found} == ({"train"} if above.startswith("train") else {None})
    assert notes == ["taken as labels: train, beside bus, car; `splits` takes them as splits"]


@pytest.mark.parametrize(
    "paths",
    [
        ["extra/1.jpg", "test/a/1.jpg", "train/a/1.jpg"],
        ["test/a/1.jpg", "unlabelled/1.jpg"],
        ["extra/a/1.jpg", "train/a/1.jpg"],
    ],
)
def test_splits_beside_other_folders_are_splits_and_a_note_says_so(paths: list[str]) -> None:
    found, [note] = read(*paths)
    assert {split for _, split in found if split} == {
        path.partition("/")[0] for path in paths if path[:2] in ("te", "tr")
    }
    assert note.startswith("taken as splits: ")
    assert note.endswith("`no_splits` takes them as labels")


def test_splits_and_no_splits_decide() -> None:
    paths = ["bus/1.jpg", "train/1.jpg", "val/train/1.jpg"]
    assert read(*paths, splits=True) == (
        [("bus", None), (None, "train"), ("train", "val")],
        [],
    )
    assert read(*paths, splits=False) == (
        [("bus", None), ("train", None), ("train", None)],
        [],
    )


TREE = ["train/citrus/lemon/1.jpg", "train/citrus/lime/2.jpg", "test/pome/3.jpg", "train/4.jpg"]


@pytest.mark.parametrize(
    ("label_from", "labels"),
    [
        ("parent", ["lemon", "lime", "pome", None]),
        ("top", ["citrus", "citrus", "pome", None]),
        ("1", ["citrus", "citrus", "pome", None]),
        ("2", ["lemon", "lime", None, None]),
        (r"(?P<label>\w+)/\d", ["lemon", "lime", "pome", "train"]),
        (r"/(?P<label>li\w+)/", [None, "lime", None, None]),
    ],
)
def test_the_label_is_the_folder_that_was_asked_for(
    label_from: str, labels: list[str | None]
) -> None:
    found, _ = read(*TREE, label_from=label_from)
    assert [label for label, _ in found] == labels
    assert [split for _, split in found] == ["train", "train", "test", "train"]


def test_a_pattern_may_name_the_split_too() -> None:
    found, _ = read(
        "cat.0.a.jpg", "x/dog.1.b.jpg", label_from=r"(?P<label>[a-z]+)\.\d+\.(?P<split>\w)"
    )
    assert found == [("cat", "a"), ("dog", "b")]


@pytest.mark.parametrize("label_from", ["0", "-1", "bottom", "(", "(?P<name>x)", "", "1.5"])
def test_what_names_no_folder_is_refused(label_from: str) -> None:
    with pytest.raises(UsageError, match="`label_from`"):
        FolderRules(label_from)


def test_names_that_differ_in_composition_alone_are_one_label() -> None:
    names = [unicodedata.normalize(form, "Pêche") for form in ("NFC", "NFD")]
    found, _ = read(*(f"{name}/1.jpg" for name in sorted(names)))
    assert {label for label, _ in found} == {names[0]}
