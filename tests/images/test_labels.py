from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from pomona.errors import SourceError
from pomona.images.labels import apply_labels
from pomona.store import schemas
from unprivileged import unprivileged

CATALOG = pa.Table.from_pylist(
    [
        {"path": path, "label": "folder", "split": "train", "size_bytes": 1, "fingerprint": "f"}
        for path in ("a.jpg", "b.jpg", "c/d e.jpg", "n\nm.jpg")
    ],
    schemas.CATALOG,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "labels.csv"


def labels_of(catalog: pa.Table) -> dict[str, str | None]:
    return dict(zip(catalog["path"].to_pylist(), catalog["label"].to_pylist(), strict=True))


def splits_of(catalog: pa.Table) -> dict[str, str | None]:
    return dict(zip(catalog["path"].to_pylist(), catalog["split"].to_pylist(), strict=True))


def test_labels_replace_the_folders_and_the_splits_stay(file: Path) -> None:
    file.write_text('path,label\nc/d e.jpg,Pear\nb.jpg,Apple\n"n\nm.jpg",Plum\na.jpg,Apple\n')
    catalog, notes, warnings = apply_labels(CATALOG, file)
    assert catalog.schema == schemas.CATALOG
    assert list(labels_of(catalog).values()) == ["Apple", "Apple", "Pear", "Plum"]
    assert set(splits_of(catalog).values()) == {"train"}
    assert (notes, warnings) == ([], [])
    untouched = ["path", "size_bytes", "fingerprint"]
    assert catalog.select(untouched).equals(CATALOG.select(untouched))


def test_a_split_column_replaces_all_splits(file: Path) -> None:
    file.write_text("split,path,label\ntest,a.jpg,x\n,b.jpg,y\n")
    catalog, *_ = apply_labels(CATALOG, file)
    assert splits_of(catalog) == {
        "a.jpg": "test",
        "b.jpg": None,
        "c/d e.jpg": None,
        "n\nm.jpg": None,
    }


@pytest.mark.parametrize(
    "label", ["007", "1.50", "true", "2020-01-01", "NA", "nan", "null", "None", "a b", "Crème", "-"]
)
def test_a_label_is_never_converted(file: Path, label: str) -> None:
    file.write_text(f"path,label,split\na.jpg,{label},{label}\n", encoding="utf-8")
    catalog, *_ = apply_labels(CATALOG, file)
    assert labels_of(catalog)["a.jpg"] == splits_of(catalog)["a.jpg"] == label


@pytest.mark.parametrize("label", ["", '""'])
def test_an_empty_label_is_none(file: Path, label: str) -> None:
    file.write_text(f"path,label\na.jpg,{label}\nb.jpg,x\n")
    catalog, *_ = apply_labels(CATALOG, file)
    assert (labels_of(catalog)["a.jpg"], labels_of(catalog)["b.jpg"]) == (None, "x")


@pytest.mark.parametrize(
    ("written", "label"),
    [
        ('"a, b"', "a, b"),
        ('"say ""x"""', 'say "x"'),
        ('"two\nlines"', "two\nlines"),
        ("it's", "it's"),
    ],
)
def test_csv_quotes_are_understood(file: Path, written: str, label: str) -> None:
    file.write_text(f'path,label\n"a.jpg",{written}\n')
    assert labels_of(apply_labels(CATALOG, file)[0])["a.jpg"] == label


@pytest.mark.parametrize("text", ["\ufeffpath,label\na.jpg,x\n", "path,label\r\na.jpg,x\r\n"])
def test_a_csv_from_a_spreadsheet_is_read(file: Path, text: str) -> None:
    file.write_bytes(text.encode())
    assert labels_of(apply_labels(CATALOG, file)[0])["a.jpg"] == "x"


def test_columns_of_other_names_are_ignored(file: Path) -> None:
    file.write_text("weight,path,note,label\n1,a.jpg,,x\nheavy,b.jpg,?,y\n")
    catalog, *_ = apply_labels(CATALOG, file)
    assert list(labels_of(catalog).values())[:2] == ["x", "y"]


def test_each_kind_of_mismatch_is_a_warning_with_its_count(file: Path) -> None:
    file.write_text("path,label\na.jpg,x\nnowhere.jpg,y\nA.JPG,z\nc,z\n")
    catalog, notes, warnings = apply_labels(CATALOG, file)
    assert list(labels_of(catalog).values()) == ["x", None, None, None]
    assert notes == []
    assert warnings == [
        "3 images without a label: not in labels.csv",
        "3 paths (the first: 'nowhere.jpg') of labels.csv not among the images",
    ]


@pytest.mark.parametrize("lines", ["", "/abs/z.jpg,x\n"])
def test_a_file_that_names_no_image_is_refused(file: Path, lines: str) -> None:
    file.write_text("path,label\n" + lines)
    with pytest.raises(SourceError, match=r"names none of the images.* as 'a.jpg'"):
        apply_labels(CATALOG, file)


def test_a_line_without_a_path_names_no_image(file: Path) -> None:
    file.write_text("path,label\n,x\na.jpg,y\n")
    catalog, _, warnings = apply_labels(CATALOG, file)
    assert labels_of(catalog)["a.jpg"] == "y"
    assert "1 path (the first: None) of labels.csv not among the images" in warnings


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot read the labels in"),
        (b"\n\n", "cannot read the labels in"),
        (b"where,label\na.jpg,x\n", "no column path: its first line must name path,label"),
        (b"path,what,why\na.jpg,x,y\n", "no column label: its first line must name path,label"),
        (b"a.jpg,x\nb.jpg,y\n", "no column label and no column path"),
        (
            b"path,label\na.jpg,x\nb.jpg,y\na.jpg,z\n",
            "names a path twice ('a.jpg'): keep one line for each",
        ),
        (b"path,label\n,x\n,y\n", "names a path twice (None): keep one line for each"),
        (b"path,label,path\na.jpg,x,b.jpg\n", "names a column twice: keep one"),
        (b"path,label\na.jpg\n", "Expected 2 columns, got 1"),
        ("path,label\na.jpg,Crème\n".encode("latin-1"), "neither in UTF-8 nor in UTF-16"),
        (bytes(range(256)) * 4, "cannot read the labels in"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "cannot read the labels in"),
    ],
)
def test_a_file_that_is_not_a_list_of_labels_is_refused(
    file: Path, content: bytes, words: str
) -> None:
    file.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        apply_labels(CATALOG, file)
    assert words in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere.csv does not exist: check `labels`"):
        apply_labels(CATALOG, tmp_path / "nowhere.csv")
    with pytest.raises(SourceError, match=r"cannot read .*: Is a directory; check `labels`"):
        apply_labels(CATALOG, tmp_path)


def test_a_file_that_may_not_be_read_is_refused(commons: Path) -> None:
    (commons / "labels.csv").write_text("path,label\na.jpg,x\n")
    (commons / "labels.csv").chmod(0)
    with unprivileged(), pytest.raises(SourceError, match=r"Permission denied; check `labels`"):
        apply_labels(CATALOG, commons / "labels.csv")


def test_a_file_whose_name_is_not_utf8_is_read(tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"\xe9tiquettes.csv")
    file.write_text("path,label\na.jpg,x\n")
    assert labels_of(apply_labels(CATALOG, file)[0])["a.jpg"] == "x"
