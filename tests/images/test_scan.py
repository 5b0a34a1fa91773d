from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pomona.errors import ImageError, SourceError, UsageError
from pomona.images.fetch import fetch
from pomona.images.formats import extensions
from pomona.images.scan import folder_label, scan
from pomona.store import schemas
from pomona.store.folders.registry import place
from unprivileged import unprivileged

ODD_NAMES = (
    b"plain.jpg",
    b"two words.jpg",
    b" leading and trailing .jpg",
    "Crème brûlée.jpg".encode(),
    "🍎 苹果.jpg".encode(),
    "é composed.jpg".encode(),
    "é decomposed.jpg".encode(),
    b"two\nlines.jpg",
    b"carriage\rreturn.jpg",
    b"back\\slash.jpg",
    b"not\\xe9escaped.jpg",
    b"latin \xe9.jpg",
    b"\xff\xfe.jpg",
    b"quote\"and'comma,.jpg",
    b"-dash.jpg",
    b"*[star]?.jpg",
)


def write(folder: Path, *names: str | bytes) -> None:
    """Files that hold their own names."""
    for name in names:
        path = folder / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))


def paths(source: Path, *include: str) -> list[str]:
    return scan(source, include).catalog["path"].to_pylist()  # type: ignore[no-any-return]


def test_a_catalog_is_sorted_by_path_and_says_the_size(tmp_path: Path) -> None:
    write(tmp_path, "b/2.jpg", "b.jpg", "a/z.jpg", "Z/1.jpg", "b/10.jpg", "é/1.jpg", "b-/1.jpg")
    catalog = scan(tmp_path).catalog
    assert catalog.schema == schemas.CATALOG
    found = catalog["path"].to_pylist()
    assert found == sorted(found, key=str.encode)
    assert len(found) == 7
    assert catalog["size_bytes"].to_pylist() == [len(path.encode()) for path in found]


def test_two_scans_of_the_same_folder_are_equal(tmp_path: Path) -> None:
    write(tmp_path, *(f"{index % 7}/{index}.png" for index in range(100)))
    assert scan(tmp_path).catalog.equals(scan(tmp_path).catalog)


def test_extensions_are_known_in_any_case(tmp_path: Path) -> None:
    names = [
        f"image{case(suffix)}"
        for suffix in extensions()
        for case in (str.lower, str.upper, str.title)
    ]
    write(tmp_path, *names)
    assert sorted(paths(tmp_path)) == sorted(names)


def test_other_files_are_skipped_and_counted(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", "a.txt", "jpg", ".jpg", "a.jpg.part", "._a.jpg", "b/._c.png", "d.jpg~")
    found = scan(tmp_path)
    assert found.catalog["path"].to_pylist() == ["a.jpg"]
    assert found.skipped == {
        "named ._*": 2,
        "named *.txt": 1,
        "named *.part": 1,
        "named *.jpg~": 1,
        "without an extension": 1,
        "hidden, or in a folder of the system": 1,
    }


LEFT_OUT = [
    ".ipynb_checkpoints/a-checkpoint.jpg",
    "apple/.git/x/b.jpg",
    ".thumbnails/c.png",
    "$RECYCLE.BIN/d.jpg",
    "lost+found/e.jpg",
    "apple/@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg",
    "#recycle/f.jpg",
    "__MACOSX/apple/g.jpg",
    "Thumbs/h.jpg",
    "System Volume Information/i.jpg",
    ".hidden.jpg",
]
TAKEN = ["apple/a.jpg", "#sunset/b.jpg", "@ann/c.jpg", "a.b/d.jpg", "thumbs.jpg", "my thumbs/e.jpg"]


def test_hidden_folders_and_those_of_systems_are_left_out_and_counted(tmp_path: Path) -> None:
    write(tmp_path, *LEFT_OUT, *TAKEN)
    found = scan(tmp_path)
    assert found.catalog["path"].to_pylist() == sorted(TAKEN)
    assert found.skipped == {"hidden, or in a folder of the system": len(LEFT_OUT)}


def test_a_source_in_a_hidden_folder_is_a_source(tmp_path: Path) -> None:
    write(tmp_path / ".cache", "a.jpg")
    assert paths(tmp_path / ".cache") == ["a.jpg"]


def test_a_pattern_that_names_a_hidden_folder_takes_what_is_in_it(tmp_path: Path) -> None:
    write(tmp_path, *LEFT_OUT, *TAKEN)
    assert paths(tmp_path, ".thumbnails/*") == [".thumbnails/c.png"]
    assert paths(tmp_path, "*.png") == []


def test_exclude_leaves_out_by_name_and_by_path(tmp_path: Path) -> None:
    write(tmp_path, "a/1.jpg", "a/1_small.jpg", "b/2.jpg", "b/2_small.jpg", "c/3.jpg", "c/4.txt")
    found = scan(tmp_path, (), ("*_small.*", "c/*"))
    assert found.catalog["path"].to_pylist() == ["a/1.jpg", "b/2.jpg"]
    assert found.skipped == {"matching `exclude`": 3, "named *.txt": 1}
    assert scan(tmp_path, ("b/*",), ("*_small.*",)).catalog["path"].to_pylist() == ["b/2.jpg"]


def test_an_explicit_include_takes_names_without_an_extension(tmp_path: Path) -> None:
    odd = ["apple/3f2a9c", "apple/b.jpg?w=640", "apple/c.jpg_large", "apple/d.jpg"]
    write(tmp_path, *odd, "apple/notes.txt", "apple/table.csv", "pear/77")
    assert paths(tmp_path) == ["apple/d.jpg"]
    assert paths(tmp_path, "apple/*") == odd
    assert paths(tmp_path, "*") == [*odd, "pear/77"]


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("folder", [b"", b"odd \xe9 \\ folder\n/"])
def test_odd_names_are_found_again(tmp_path: Path, folder: bytes, name: bytes) -> None:
    write(tmp_path, folder + name)
    [path] = paths(tmp_path)
    assert fetch(str(tmp_path), path) == folder + name


def test_a_source_with_an_odd_name_is_read(tmp_path: Path) -> None:
    source = tmp_path / os.fsdecode(b"so\\urce \xe9\n")
    write(source, "a/b.jpg")
    assert paths(source) == ["a/b.jpg"]
    assert fetch(str(source), "a/b.jpg") == b"a/b.jpg"


@pytest.mark.parametrize(
    ("folder", "label", "split"),
    [
        ("", None, None),
        ("Apple Red 1", "Apple Red 1", None),
        ("Training/Apple", "Apple", "Training"),
        ("TEST/Apple", "Apple", "TEST"),
        ("val/Apple", "Apple", "val"),
        ("Validation/Apple", "Apple", "Validation"),
        ("train/Apple", "Apple", "train"),
        ("Training", None, "Training"),
        ("fruits/Training", None, "Training"),
        ("fruits/2020/Training/citrus/Lemon", "Lemon", "Training"),
        ("Apple/test", None, "test"),
        ("Test/Training/Apple", "Apple", "Test"),
        ("Test/val", "val", "Test"),
        ("tests/Apple", "Apple", None),
        ("Apple/training set", "training set", None),
    ],
)
def test_label_and_split_come_from_folder_names(
    tmp_path: Path, folder: str, label: str | None, split: str | None
) -> None:
    assert folder_label(folder) == (label, split)
    write(tmp_path, f"{folder}/1.jpg".removeprefix("/"))
    [row] = scan(tmp_path).catalog.to_pylist()
    assert (row["label"], row["split"]) == (label, split)


def test_a_label_is_spelled_as_its_path(tmp_path: Path) -> None:
    write(tmp_path, b"caf\xe9/1.jpg", b"a\\b/1.jpg")
    catalog = scan(tmp_path).catalog
    assert catalog["label"].to_pylist() == [r"a\\b", r"caf\xe9"]
    assert len(set(catalog["label"].to_pylist()) - {None}) == 2


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["Apple/1.jpg", "Pear/1.jpg", "top.jpg"]),
        ("**/*.jpg", ["Apple/1.jpg", "Pear/1.jpg", "top.jpg"]),
        ("**/1.*", ["Apple/1.jpg", "Pear/1.jpg"]),
        ("Apple/*", ["Apple/1.jpg", "Apple/2.png"]),
        ("Apple/*.png", ["Apple/2.png"]),
        ("[AP]*/1.jpg", ["Apple/1.jpg", "Pear/1.jpg"]),
        ("*.dat", ["Pear/3.dat"]),
        ("*/3.*", []),
        ("*.JPG", []),
        ("*.[jp]*g", ["Apple/1.jpg", "Apple/2.png", "Pear/1.jpg", "top.jpg"]),
        ("*", ["Apple/1.jpg", "Apple/2.png", "Pear/1.jpg", "top.jpg"]),
    ],
)
def test_include_matches_a_name_or_a_path(
    tmp_path: Path, pattern: str, expected: list[str]
) -> None:
    write(tmp_path, "Apple/1.jpg", "Apple/2.png", "Pear/1.jpg", "Pear/3.dat", "top.jpg")
    write(tmp_path, "Pear/._3.dat", "Pear/._4.jpg")
    assert paths(tmp_path, pattern) == expected


def test_any_of_several_patterns_matches_and_other_images_are_counted(tmp_path: Path) -> None:
    write(tmp_path, "1.jpg", "2.png", "3.dat", "4.txt", "5.gif")
    found = scan(tmp_path, ["*.png", "*.dat"])
    assert found.catalog["path"].to_pylist() == ["2.png", "3.dat"]
    assert found.skipped == {"not matching `include`": 2, "named *.txt": 1}


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    write(tmp_path, "elsewhere/Apple/1.jpg", "elsewhere/2.jpg")
    source = tmp_path / "source"
    source.mkdir()
    (source / "Linked").symlink_to(tmp_path / "elsewhere/Apple")
    (source / "3.jpg").symlink_to("../elsewhere/2.jpg")
    (tmp_path / "link to source").symlink_to(source)
    found = scan(tmp_path / "link to source").catalog.to_pylist()
    assert [(row["path"], row["label"]) for row in found] == [
        ("3.jpg", None),
        ("Linked/1.jpg", "Linked"),
    ]
    assert fetch(str(source), "Linked/1.jpg") == b"elsewhere/Apple/1.jpg"


@pytest.mark.parametrize(
    ("target", "reason"), [("nowhere.jpg", "not_found"), ("itself.jpg", "io_error")]
)
def test_a_dangling_link_is_a_row_that_cannot_be_fetched(
    tmp_path: Path, target: str, reason: str
) -> None:
    (tmp_path / "itself.jpg").symlink_to(target)
    [row] = scan(tmp_path).catalog.to_pylist()
    assert (row["path"], row["size_bytes"]) == ("itself.jpg", 0)
    with pytest.raises(ImageError) as caught:
        fetch(str(tmp_path), row["path"])
    assert caught.value.reason == reason


def test_folders_that_link_to_one_another_are_scanned_once(tmp_path: Path) -> None:
    write(tmp_path, "a/1.jpg", "b/2.jpg", "c/deep/3.jpg")
    (tmp_path / "a/up").symlink_to("..")
    (tmp_path / "a/itself").symlink_to(".")
    (tmp_path / "b/c").symlink_to("../c")
    (tmp_path / "c/b").symlink_to("../b")
    (tmp_path / "nothing").symlink_to("nothing")
    found = scan(tmp_path)
    assert {"a/1.jpg", "b/2.jpg", "c/deep/3.jpg"} <= set(found.catalog["path"].to_pylist())
    assert len(found.catalog) == len(set(found.catalog["path"].to_pylist())) < 20
    assert found.skipped["leading back to a folder above"] >= 4


def test_pipes_and_sockets_are_counted_and_never_opened(tmp_path: Path, commons: Path) -> None:
    write(tmp_path, "1.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "linked pipe.png").symlink_to("pipe.jpg")
    (tmp_path / "null.jpg").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(commons / "s.jpg"))  # a socket's path must be short
        (commons / "s.jpg").rename(tmp_path / "socket.jpg")
    found = scan(tmp_path)
    assert found.catalog["path"].to_pylist() == ["1.jpg"]
    assert found.skipped == {"of another kind (pipe, device or socket)": 4}


def test_a_folder_without_permission_is_reported(commons: Path) -> None:
    write(commons, "open/1.jpg", "locked/2.jpg", "open/locked too/3.jpg")
    locked = [commons / "locked", commons / "open/locked too"]
    for folder in locked:
        folder.chmod(0)
    with unprivileged():
        found = scan(commons)
    assert found.catalog["path"].to_pylist() == ["open/1.jpg"]
    assert sorted(found.unlisted) == sorted(map(str, locked))
    for folder in locked:
        folder.chmod(0o755)  # so that the fixture can remove it


@pytest.mark.parametrize("name", ["locked", "locked/inner"])
def test_a_source_without_permission_is_refused(commons: Path, name: str) -> None:
    write(commons, "locked/inner/1.jpg")
    (commons / "locked").chmod(0)
    with (
        unprivileged(),
        pytest.raises(SourceError, match=r"cannot read .*[Pp]ermission denied.*; "),
    ):
        scan(commons / name)
    (commons / "locked").chmod(0o755)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere", "nowhere does not exist: check the path"),
        ("file.jpg", "file.jpg is a file: give the folder"),
        ("file.jpg/inner", "Not a directory; check the path"),
        ("circle", "symbolic links; check the path"),
        ("x" * 300, "File name too long; check the path"),
    ],
)
def test_a_source_that_is_not_a_folder_is_refused_with_a_remedy(
    tmp_path: Path, source: str, words: str
) -> None:
    write(tmp_path, "file.jpg")
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(SourceError) as caught:
        scan(tmp_path / source)
    assert words in str(caught.value)


@pytest.mark.parametrize("address", ["https://example.org/a", "gs://b", "s3a://b/c"])
def test_an_address_of_another_kind_is_refused_with_a_remedy(address: str) -> None:
    with pytest.raises(UsageError, match=f"{address} has an unknown scheme: give a folder, or s3"):
        place(address)


def test_a_folder_whose_name_looks_like_an_address_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "s3:/bucket/1.jpg")
    assert paths(Path("s3://bucket")) == ["1.jpg"]


@pytest.mark.parametrize("change", ["touched", "longer", "replaced"])
def test_a_file_that_may_have_changed_has_a_new_fingerprint(tmp_path: Path, change: str) -> None:
    write(tmp_path, "1.jpg", "2.jpg")
    before = scan(tmp_path).catalog["fingerprint"].to_pylist()
    file, status = tmp_path / "1.jpg", (tmp_path / "1.jpg").stat()
    if change == "touched":
        os.utime(file, ns=(0, status.st_mtime_ns + 1))
    elif change == "longer":
        file.write_bytes(b"something longer")
        os.utime(file, ns=(0, status.st_mtime_ns))
    else:
        file.unlink()
        file.write_bytes(b"1.jpg")
        os.utime(file, ns=(0, status.st_mtime_ns + 10**9))
    after = scan(tmp_path).catalog["fingerprint"].to_pylist()
    assert before[0] != after[0]
    assert before[1] == after[1]
