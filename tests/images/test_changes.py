"""A look at what may have changed finds what a scan of everything finds."""

from __future__ import annotations

import itertools
import os
import random
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from pomona.images.catalog import find_images
from pomona.images.changes import Changes, relabels, rescan
from pomona.images.folders import FolderRules
from pomona.images.sources.base import Lookable
from pomona.images.sources.local import LocalSource
from pomona.progress import Progress
from s3_server import Place, bucket, s3_server

__all__ = ["bucket", "s3_server"]
FOLDERS = ("a", "a/b", "a/b0", "a.b", "c", "")
FILES = ("1.jpg", "2.png", "notes.txt", ".hidden.jpg", "b")


def look_again(source: LocalSource, known: pa.Table, names: set[str]) -> pa.Table:
    return rescan(source, Changes(known, names)).catalog


def change(root: Path, draw: random.Random) -> set[str]:
    """Does something at random in a folder, and returns the names that it concerns."""
    folder, other = draw.choice(FOLDERS), draw.choice(FOLDERS)
    path, name = root / folder / draw.choice(FILES), draw.choice(FILES)
    match draw.randrange(5):
        case 0 | 1 if not path.is_dir() and path.parent.is_dir():
            path.write_bytes(draw.randbytes(draw.randrange(1, 9)))
        case 0 | 1 if not path.parent.exists():
            path.parent.mkdir(parents=True)
        case 2 if path.is_file():
            path.unlink()
        case 3 if folder and (root / folder).is_dir():
            shutil.rmtree(root / folder)
            return {folder}
        case 4 if path.is_file() and (root / other).is_dir():
            if not (root / other / name).is_dir():
                path.rename(root / other / name)
            return {f"{folder}/{path.name}".lstrip("/"), f"{other}/{name}".lstrip("/")}
    return {path.relative_to(root).as_posix()}


@pytest.mark.parametrize("seed", range(20))
def test_what_has_changed_is_found_as_by_a_scan(tmp_path: Path, seed: int) -> None:
    draw, source = random.Random(seed), LocalSource(str(tmp_path))  # noqa: S311
    known, names = source.scan().catalog, set[str]()
    for step in range(60):
        names |= change(tmp_path, draw)
        if step % 7 == 6:  # late, in bursts, in any order and with those of earlier bursts
            known = look_again(source, known, names)
            assert known.equals(source.scan().catalog)
    assert known.num_rows


def test_a_folder_and_what_is_in_it_are_one(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "1.jpg").write_bytes(b"1")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    source = LocalSource(str(tmp_path))
    everything = source.scan().catalog
    assert everything["path"].to_pylist() == ["a/b/1.jpg"]
    for names in itertools.permutations(["a", "a/b", "a/b/1.jpg"]):
        assert look_again(source, everything.slice(0, 0), set(names)).equals(everything)


def test_names_that_are_not_utf_8_are_known(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.jpg")).write_bytes(b"1")
    source = LocalSource(str(tmp_path))
    everything = source.scan().catalog
    assert look_again(source, everything, {os.fsdecode(b"\xff.jpg")}).equals(everything)


def test_images_that_are_gone_but_kept_may_relabel_others(tmp_path: Path) -> None:
    for name in ("test/apple/1.jpg", "test/pear/1.jpg", "inbox/x/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"1")
    source, rules = LocalSource(str(tmp_path)), FolderRules()
    before = find_images(source, Progress(), folders=rules)
    shutil.rmtree(tmp_path / "inbox")
    after = find_images(source, Progress(), folders=rules)
    assert before["split"].null_count
    assert not after["split"].null_count
    kept = pa.concat_tables([before.slice(0, 1), after])
    (tmp_path / "test/pear/2.jpg").write_bytes(b"2")
    changes = Changes(kept, {"test/pear/2.jpg"})
    assert relabels(find_images(source, Progress(), folders=rules, changes=changes), after)
    changes = Changes(after, changes.names)
    assert not relabels(find_images(source, Progress(), folders=rules, changes=changes), after)


@pytest.mark.needs("s3 server")
def test_objects_that_changed_are_found_as_by_a_listing(bucket: Place) -> None:
    from pomona.images.sources.registry import open_source

    client, source = bucket.server.client(), open_source(bucket.at("photos"))
    for name in ("a/1.jpg", "a/2.jpg", "b/ü é.jpg"):
        client.put_object(Bucket=bucket.name, Key=f"photos/{name}", Body=name.encode())
    assert isinstance(source, Lookable)
    known = source.scan().catalog
    client.put_object(Bucket=bucket.name, Key="photos/a/1.jpg", Body=b"another")
    client.put_object(Bucket=bucket.name, Key="photos/a/notes.txt", Body=b"text")
    client.delete_object(Bucket=bucket.name, Key="photos/a/2.jpg")
    names = {"a/1.jpg", "a/2.jpg", "a/notes.txt", "b/ü é.jpg", "gone.jpg", "a/", "b"}
    assert rescan(source, Changes(known, names)).catalog.equals(source.scan().catalog)
