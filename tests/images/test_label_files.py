"""Label files as other tools write them: taken where it is unmistakable, else refused in a line."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pyarrow as pa
import pytest

from pomona.errors import SourceError
from pomona.images.labels import apply_labels
from pomona.store import schemas

IMAGES = ("apple/1.jpg", "apple/2.jpg", "pear/3.jpg")
EXPECTED = dict(zip(IMAGES, ("x", "x", "y"), strict=True))
PLAIN = "path,label\napple/1.jpg,x\napple/2.jpg,x\npear/3.jpg,y\n"


def catalog_of(*paths: str) -> pa.Table:
    rows = [{"path": path, "size_bytes": 1, "fingerprint": "f"} for path in paths]
    return pa.Table.from_pylist(rows, schemas.CATALOG)


def labels_by(
    tmp_path: Path, content: str | bytes, images: tuple[str, ...] = IMAGES, name: str = "labels.csv"
) -> tuple[dict[str, str | None], list[str]]:
    """The label of each image by a file, and what is said of it."""
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    catalog, notes, warnings = apply_labels(catalog_of(*images), file)
    labels = dict(zip(catalog["path"].to_pylist(), catalog["label"].to_pylist(), strict=True))
    return labels, notes + warnings


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", "|"),
        PLAIN.replace(",", ", "),
        PLAIN.replace(",", " , "),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("path,label", "Path,LABEL"),
        "\ufeff" + PLAIN,
        PLAIN.encode("utf-16"),
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        PLAIN.replace("apple/", "./apple/").replace("pear/", "./pear/"),
        PLAIN.replace("apple/", "/apple/").replace("pear/", "/pear/"),
        PLAIN.replace("/", "\\"),
        "path,label\napple/1.jpg,x\n./apple/2.jpg,x\npear\\3.jpg,y\n",
        'path;note;label\napple/1.jpg;"a;b";x\napple/2.jpg;;x\npear/3.jpg;a,b;y\n',
    ],
)
def test_other_ways_to_write_the_same_are_taken(tmp_path: Path, content: str | bytes) -> None:
    assert labels_by(tmp_path, content) == (EXPECTED, [])


@pytest.mark.parametrize(
    ("content", "notes"),
    [
        (
            PLAIN.replace("path,label", "file_name,class"),
            [
                "labels.csv: the column file_name is taken for path",
                "labels.csv: the column class is taken for label",
            ],
        ),
        (
            "id,breed\n1,x\n2,x\n3,y\n",
            [
                "labels.csv: the column id is taken for path",
                "labels.csv: the column breed is taken for label",
                "labels.csv names images by their file names alone, without extensions",
            ],
        ),
        (
            PLAIN.replace(".jpg", ""),
            ["labels.csv names images without their extensions"],
        ),
        (
            PLAIN.replace("apple/", "photos/apple/").replace("pear/", "photos/pear/"),
            ["labels.csv names images with photos/ in front"],
        ),
        (
            PLAIN.replace("apple/", "/data/new/apple/").replace("pear/", "/data/new/pear/"),
            ["labels.csv names images with data/new/ in front"],
        ),
        (
            "path,label\n1.jpg,x\n2.jpg,x\n3.jpg,y\n",
            ["labels.csv names images by their file names alone"],
        ),
    ],
)
def test_what_is_not_as_it_stands_is_said(tmp_path: Path, content: str, notes: list[str]) -> None:
    assert labels_by(tmp_path, content) == (EXPECTED, notes)


JSON = [{"filepath": path, "label": label, "more": [1]} for path, label in EXPECTED.items()]
COCO = {
    "images": [{"id": at, "file_name": path} for at, path in enumerate(EXPECTED)],
    "categories": [{"id": 7, "name": "x"}, {"id": 9, "name": "y"}],
    "annotations": [
        {"id": 1, "image_id": 0, "category_id": 7, "bbox": [0, 0, 1, 1]},
        {"id": 2, "image_id": 0, "category_id": 7},
        {"id": 3, "image_id": 1, "category_id": 7},
        {"id": 4, "image_id": 2, "category_id": 9},
    ],
}
FIFTYONE = {"classes": ["x", "y"], "labels": {"apple/1": 0, "apple/2": 0, "pear/3": 1}}


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(JSON),
        "\n".join(map(json.dumps, JSON)) + "\n",
        json.dumps(COCO),
        json.dumps(COCO, indent=2),
        json.dumps(FIFTYONE),
    ],
)
def test_json_is_read(tmp_path: Path, content: str) -> None:
    labels, _ = labels_by(tmp_path, content, name="labels.json")
    assert labels == EXPECTED


def test_a_number_in_json_is_a_label_as_it_stands(tmp_path: Path) -> None:
    lines = '{"path": "apple/1.jpg", "label": 7}\n{"path": "pear/3.jpg", "label": null}\n'
    assert labels_by(tmp_path, lines)[0] == {**dict.fromkeys(IMAGES), "apple/1.jpg": "7"}


def test_names_that_differ_in_unicodes_composition_match(tmp_path: Path) -> None:
    for form, other in (("NFC", "NFD"), ("NFD", "NFC")):
        image = unicodedata.normalize(form, "Pêche/é.jpg")  # type: ignore[arg-type]
        given = unicodedata.normalize(other, "path,label\nPêche/é.jpg,x\n")  # type: ignore[arg-type]
        assert labels_by(tmp_path, given, (image,)) == ({image: "x"}, [])


def test_a_name_that_two_images_have_is_neither(tmp_path: Path) -> None:
    images = ("a/1.jpg", "b/1.jpg", "b/2.jpg")
    labels, told = labels_by(tmp_path, "path,label\n1.jpg,x\n2.jpg,y\n", images)
    assert labels == {"a/1.jpg": None, "b/1.jpg": None, "b/2.jpg": "y"}
    assert told[-2:] == [
        "2 images without a label: not in labels.csv",
        "1 path (the first: '1.jpg') of labels.csv not among the images",
    ]
    labels, _ = labels_by(tmp_path, "path,label\na/1,x\nb/1,x\nb/2,y\n", (*images, "a/1.png"))
    assert labels == {"a/1.jpg": None, "b/1.jpg": "x", "b/2.jpg": "y", "a/1.png": None}


def test_the_way_that_finds_the_most_is_taken(tmp_path: Path) -> None:
    """A path that is right as it stands does not make all others wrong."""
    content = "path,label\napple/1.jpg,x\n./apple/2.jpg,x\n./pear/3.jpg,y\n"
    assert labels_by(tmp_path, content) == (EXPECTED, [])


def test_a_blackslash_in_a_name_is_part_of_it(tmp_path: Path) -> None:
    images = ("a\\b.jpg", "c.jpg")
    assert labels_by(tmp_path, "path,label\na\\b.jpg,x\nc.jpg,y\n", images)[0] == {
        "a\\b.jpg": "x",
        "c.jpg": "y",
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("path,label\napple/1.jpg,x\napple/1.jpg,round\n", "a path twice ('apple/1.jpg')"),
        (
            json.dumps(
                {**COCO, "annotations": [{"image_id": 0, "category_id": c} for c in (7, 9)]}
            ),
            "'apple/1.jpg' has several labels (x, y)",
        ),
        ('{"path": "a.jpg", "label": "x"}\n{"path": ', "cannot read the labels in"),
        ("{}", "no column label and no column path"),
        ("[1, 2]", "cannot read the labels in"),
        ('{"images": [], "annotations": [1]}', "cannot read the labels in"),
        ("path,label\nfig/9.jpg,x\n", "such as 'fig/9.jpg', must be relative to the source"),
        ("path,label\napple/1.jpg,x\n\x1b[31mred\x1b[0m\n", "Expected 2 columns, got 1"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_line(
    tmp_path: Path, content: str, words: str
) -> None:
    with pytest.raises(SourceError) as caught:
        labels_by(tmp_path, content)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
