"""LocalFolder: names are whole or not there, and what a disk refuses is reported."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from machine import need
from pomona.errors import StoreWriteError
from pomona.store.folders.local import LocalFolder
from pomona.store.layout import TEMPORARIES
from unprivileged import unprivileged


@pytest.fixture
def folder(tmp_path: Path) -> LocalFolder:
    return LocalFolder(tmp_path / "a store")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    need("mount")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    subprocess.run(mount, check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def temporaries(folder: LocalFolder) -> list[str]:
    return folder.names(TEMPORARIES)


@pytest.mark.parametrize("data", [b"", b"\0\r\n", bytes(2**20), memoryview(b"view")])
@pytest.mark.parametrize("name", ["top", "a/b", "deep/er and/deep er/é\n\\", os.fsdecode(b"\xe9")])
def test_what_is_written_is_read(folder: LocalFolder, name: str, data: bytes | memoryview) -> None:
    assert not folder.exists(name)
    folder.write(name, data)
    assert folder.exists(name)
    assert folder.read(name) == bytes(data)
    with folder.open(name) as file:
        assert file.read() == bytes(data)
    assert temporaries(folder) == []


def test_a_store_whose_own_name_is_not_utf8_is_read(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / os.fsdecode(b"st\xe9"))
    folder.write("a", b"1")
    with folder.open("a") as file:
        assert file.read() == b"1"


def test_writing_again_replaces(folder: LocalFolder) -> None:
    for data in (b"a long first content", b"short", b""):
        folder.write("a/b", data)
        assert folder.read("a/b") == data
    assert folder.names("a") == ["a/b"]


def test_a_reader_never_sees_half_of_what_is_written(folder: LocalFolder) -> None:
    contents = [bytes([letter]) * 300_000 for letter in b"abcd"]
    folder.write("a/b", contents[0])
    done = threading.Event()
    seen: list[bytes] = []

    def read() -> None:
        while not done.is_set():
            data = folder.read("a/b")
            seen.append(b"whole" if data in contents else data[:20])

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(80):
            folder.write("a/b", contents[turn % 4])
    finally:
        done.set()
        reader.join()
    assert set(seen) == {b"whole"}
    assert temporaries(folder) == []


def test_of_two_writers_of_one_name_one_wins_whole(folder: LocalFolder) -> None:
    contents = [bytes([letter]) * 100_000 for letter in b"abcd"]

    def write(data: bytes) -> None:
        for _ in range(10):
            folder.write("a/b", data)

    writers = [threading.Thread(target=write, args=[data]) for data in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert folder.read("a/b") in contents
    assert temporaries(folder) == []


def test_what_is_not_there_cannot_be_read(folder: LocalFolder) -> None:
    with pytest.raises(FileNotFoundError):
        folder.read("nowhere")
    with pytest.raises(FileNotFoundError), folder.open("nowhere"):
        pass


def test_names_are_sorted_and_none_where_there_is_no_folder(folder: LocalFolder) -> None:
    for name in ("a/2", "a/10", "a/Z", "a/é", "a/b/c", "top"):
        folder.write(name, b"")
    assert folder.names("a") == ["a/10", "a/2", "a/Z", "a/b", "a/é"]
    assert folder.names("nowhere") == []
    assert folder.names("top") == []


def test_deleting_takes_a_file_a_folder_or_nothing(folder: LocalFolder) -> None:
    for name in ("a/1", "a/b/2", "c/3", "c/4"):
        folder.write(name, b"")
    folder.delete("nowhere")
    folder.delete("nowhere/at all")
    folder.delete("c/3")
    assert folder.names("c") == ["c/4"]
    folder.delete("a")
    assert not folder.exists("a")
    assert folder.exists("c/4")


def test_deleting_a_link_leaves_its_target(folder: LocalFolder) -> None:
    folder.write("kept", b"1")
    folder.path("link").symlink_to("kept")
    folder.delete("link")
    assert not folder.exists("link")
    assert folder.read("kept") == b"1"


@pytest.mark.parametrize("name", ["taken", "file/below"])
def test_a_name_that_cannot_be_written_leaves_nothing(folder: LocalFolder, name: str) -> None:
    folder.write("taken/1", b"")
    folder.write("file", b"as it was")
    with pytest.raises(StoreWriteError, match=f"cannot write .*{name}: .*; "):
        folder.write(name, b"data")
    assert folder.read("file") == b"as it was"
    assert temporaries(folder) == []


def test_a_store_below_a_file_is_reported_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"as it was")
    for root in (tmp_path / "file", tmp_path / "file/deeper"):
        with pytest.raises(StoreWriteError, match=r"a file is in the way: choose another folder"):
            LocalFolder(root).write("a", b"data")
    assert (tmp_path / "file").read_bytes() == b"as it was"


def test_a_folder_that_cannot_be_written_is_reported_with_a_remedy(commons: Path) -> None:
    folder = LocalFolder(commons / "store")
    folder.write("a/b", b"as it was")
    for path in (folder.root, folder.path("a"), folder.path(TEMPORARIES)):
        path.chmod(0o555)
    words = "Permission denied; choose a folder that you can write to"
    with unprivileged():
        for name in ("a/b", "a/c", "new/d"):
            with pytest.raises(StoreWriteError, match=f"cannot write .*{name}: {words}"):
                folder.write(name, b"data")
        for name in ("a/b", "a"):
            with pytest.raises(StoreWriteError, match=f"cannot write .*: {words}"):
                folder.delete(name)
    assert folder.read("a/b") == b"as it was"
    assert folder.names("a") == ["a/b"]
    assert temporaries(folder) == []
    for path in (folder.root, folder.path("a"), folder.path(TEMPORARIES)):
        path.chmod(0o755)


def test_a_store_in_a_folder_that_cannot_be_written_is_reported(commons: Path) -> None:
    commons.chmod(0o555)
    with unprivileged(), pytest.raises(StoreWriteError, match=r"Permission denied; choose"):
        LocalFolder(commons / "new").write("a", b"")
    commons.chmod(0o755)
    assert list(commons.iterdir()) == []


def test_a_full_disk_is_reported_and_loses_nothing(small_disk: Path) -> None:
    folder = LocalFolder(small_disk)
    folder.write("a/b", b"1" * 40_000)
    for name in ("a/b", "a/c", "d"):
        with pytest.raises(StoreWriteError) as caught:
            folder.write(name, b"2" * 40_000)
        assert re.search(f"{name}: No space left on device; free some space", str(caught.value))
    assert folder.names("a") == ["a/b"]
    assert folder.read("a/b") == b"1" * 40_000
    assert not folder.exists("d")
    assert temporaries(folder) == []
    folder.delete("a/b")
    folder.write("a/c", b"2" * 40_000)
    assert folder.read("a/c") == b"2" * 40_000


@pytest.mark.parametrize(
    ("error", "is_written"),
    [(errno.EINVAL, True), (errno.EOPNOTSUPP, True), (errno.ENOSYS, True), (errno.EIO, False)],
)
def test_a_disk_that_cannot_sync_folders_is_written(
    error: int, is_written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by SMB and sshfs; a disk that fails is another thing."""
    sync = os.fsync

    def sync_files_alone(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(error, os.strerror(error))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", sync_files_alone)
    with contextlib.nullcontext() if is_written else pytest.raises(StoreWriteError, match="disk"):
        LocalFolder(tmp_path).write("name", b"data")
        assert LocalFolder(tmp_path).read("name") == b"data"


def test_a_read_only_disk_is_reported(small_disk: Path) -> None:
    folder = LocalFolder(small_disk)
    folder.write("a", b"as it was")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreWriteError, match=r"Read-only file system; make it writable"):
        folder.write("a", b"data")
    assert folder.read("a") == b"as it was"


def test_a_created_file_is_there_once_it_is_whole(tmp_path: Path) -> None:
    files = LocalFolder(tmp_path)
    with files.create("a/b") as file:
        file.write(b"0123")
        assert not files.exists("a/b")
        file.write(b"456789")
    assert files.read("a/b") == b"0123456789"
    assert (files.read_range("a/b", 3, 4), files.read_range("a/b", 8, 9)) == (b"3456", b"89")
    with contextlib.suppress(KeyboardInterrupt), files.create("a/b") as file:
        file.write(b"less")
        raise KeyboardInterrupt
    assert files.read("a/b") == b"0123456789"
    assert files.names("_pomona/tmp") == []
