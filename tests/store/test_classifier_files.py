"""A stop or a full disk while a classifier is written leaves the former one, or the new one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import contents
from pomona.errors import StoreDamagedError, StoreWriteError
from pomona.store import classifier
from pomona.store.folders.local import LocalFolder
from pomona.store.layout import CLASSIFIER_FOLDER

FACTS: dict[str, Any] = {
    "labels": [],
    "model": "m",
    "on": "pca",
    "projection": None,
    "temperature": 1.0,
}
NAMES = tuple(f"{CLASSIFIER_FOLDER}/{name}" for name in ("model.onnx", "page.html", "seen.npz"))


def files_of(version: str, size: int = 1) -> dict[str, bytes]:
    """What a version consists of: the last file is the same in all, and the second one is new."""
    first, second, same = NAMES
    names = {first: version.encode() * size, same: b"same"}
    return names if version == "former" else {**names, second: version.encode() * size}


def write(files: LocalFolder, version: str, size: int = 1) -> None:
    classifier.write(files, {"id": version, **FACTS}, files_of(version, size))


def read(files: LocalFolder) -> tuple[str, dict[str, bytes]]:
    """The id and the files of the classifier that there is."""
    facts = classifier.read_facts(files)
    assert facts is not None
    return facts["id"], {name: classifier.read_file(files, facts, name) for name in facts["files"]}


class Stopped(BaseException):
    """As a kill: nothing after it is done."""


class Stopping(LocalFolder):
    """A folder whose process ends before the N-th change, or after it."""

    def __init__(self, root: Path, left: int, when: str) -> None:
        super().__init__(root)
        self.left, self.when = left, when

    def _stop(self, when: str) -> None:
        if when == "before":
            self.left -= 1
        if self.left == 0 and when == self.when:
            raise Stopped

    def write(self, name: str, data: Any) -> None:
        self._stop("before")
        super().write(name, data)
        self._stop("after")

    def _delete(self, name: str) -> bool:
        self._stop("before")
        was_there = super()._delete(name)
        self._stop("after")
        return was_there


def stops(folder: Path, version: str, when: str) -> Iterator[LocalFolder]:
    """Writes a version over what a folder has, stopped at each change in turn, in copies of it."""
    for at in range(1, 100):
        copy = Path(shutil.copytree(folder, f"{folder} {at}"))
        try:
            write(Stopping(copy, at, when), version)
        except Stopped:
            yield LocalFolder(copy)
        else:
            assert at > len(files_of(version)) + 2
            return


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_stop_at_any_change_leaves_one_of_both(tmp_path: Path, when: str) -> None:
    place = tmp_path / "store"
    write(LocalFolder(place), "former")
    found = set()
    for files in stops(place, "new", when):
        version, told = read(files)
        assert told == files_of(version)
        found.add(version)
        for again in stops(Path(files.root), "newest", when):  # and once more, of what was left
            newer, told = read(again)
            assert newer in (version, "newest")
            assert told == files_of(newer)
            write(again, "newest")
            assert contents(Path(again.root)).keys() == {
                "_pomona",
                CLASSIFIER_FOLDER,
                f"{CLASSIFIER_FOLDER}/classifier.json",
                *NAMES,
            }
    assert found == {"former", "new"}


def test_a_first_one_that_is_stopped_is_none(tmp_path: Path) -> None:
    place = tmp_path / "store"
    place.mkdir()
    for files in stops(place, "new", "before"):
        if classifier.read_facts(files) is not None:
            assert read(files)[1] == files_of("new")
        write(files, "newest")
        assert read(files) == ("newest", files_of("newest"))


def test_what_is_in_neither_place_is_damaged(tmp_path: Path) -> None:
    files = LocalFolder(tmp_path)
    write(files, "new")
    files.write(NAMES[0], b"else")
    with pytest.raises(StoreDamagedError, match=r"model\.onnx is missing or damaged"):
        read(files)
    write(files, "newest")
    assert read(files)[0] == "newest"


@pytest.mark.needs("mount")
@pytest.mark.parametrize(
    ("kilobytes", "left"), [(6, "former"), (14, "former"), (22, "former"), (26, "new")]
)
def test_a_full_disk_leaves_one_of_both(tmp_path: Path, kilobytes: int, left: str) -> None:
    """The new one takes 24 kB in pages of 4, and as much again of each file that is renamed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)], check=True)
    try:
        files = LocalFolder(disk)
        write(files, "former", 2000)
        found = os.statvfs(disk)
        room = found.f_bavail * found.f_frsize
        (disk / "filling").write_bytes(bytes(room - kilobytes * 1024))
        with pytest.raises(StoreWriteError, match="No space left on device; free some space"):
            write(files, "new", 2000)
        assert read(files) == (left, files_of(left, 2000))
        (disk / "filling").unlink()
        write(files, "new", 2000)
        assert read(files) == ("new", files_of("new", 2000))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
