from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pomona.errors import ImageError
from pomona.images import fetch as fetching
from pomona.images.fetch import fetch
from pomona.store import schemas
from unprivileged import unprivileged


def refusal(source: Path, path: str) -> ImageError:
    with pytest.raises(ImageError) as caught:
        fetch(str(source), path)
    error = caught.value
    assert error.stage == "fetch"
    assert error.reason in schemas.REASONS
    assert str(source) not in str(error)
    return error


@pytest.mark.parametrize("data", [b"", b"\0", bytes(range(256)) * 1000])
def test_the_bytes_of_a_file_are_returned(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b.jpg").write_bytes(data)
    assert fetch(str(tmp_path), "a/b.jpg") == data


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    assert refusal(tmp_path, "nowhere.jpg").reason == "not_found"
    assert refusal(tmp_path, "nowhere/at all.jpg").reason == "not_found"


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("folder", "Is a directory"),
        ("file/1.jpg", "Not a directory"),
        ("circle.jpg", "Too many levels of symbolic links"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_path_that_is_not_a_file_has_the_reason_as_detail(
    tmp_path: Path, path: str, detail: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    error = refusal(tmp_path, path)
    assert (error.reason, error.detail) == ("io_error", detail)


@pytest.mark.parametrize(
    "kind", [stat.S_IFIFO, pytest.param(stat.S_IFCHR, marks=pytest.mark.needs("devices"))]
)
def test_a_pipe_or_device_in_place_of_a_file_is_never_waited_for(tmp_path: Path, kind: int) -> None:
    os.mknod(tmp_path / "1.jpg", kind | 0o600, os.makedev(1, 3))
    error = refusal(tmp_path, "1.jpg")
    assert (error.reason, error.detail) == ("changed", "a pipe, a device or a socket now")


def test_short_reads_are_continued_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytes(range(256))
    (tmp_path / "1.jpg").write_bytes(data)
    read = os.read
    monkeypatch.setattr(os, "read", lambda file, size: read(file, min(size, 100)))
    assert fetch(str(tmp_path), "1.jpg") == data


def test_a_file_without_permission_is_denied(commons: Path) -> None:
    for name in ("file.jpg", "folder/1.jpg"):
        (commons / name).parent.mkdir(exist_ok=True)
        (commons / name).write_bytes(b"1")
    (commons / "file.jpg").chmod(0)
    (commons / "folder").chmod(0)
    with unprivileged():
        assert refusal(commons, "file.jpg").reason == "permission_denied"
        assert refusal(commons, "folder/1.jpg").reason == "permission_denied"
    (commons / "folder").chmod(0o755)


def test_a_file_at_the_size_limit_is_read_and_a_larger_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "MAX_BYTES", 2**20)
    (tmp_path / "at.jpg").write_bytes(bytes(2**20))
    (tmp_path / "over.jpg").write_bytes(bytes(2**20 + 1))
    assert len(fetch(str(tmp_path), "at.jpg")) == 2**20
    error = refusal(tmp_path, "over.jpg")
    assert (error.reason, error.detail) == ("too_large", "more than 1 MiB")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse.jpg").open("wb") as file:
        os.truncate(file.fileno(), 2**40)
    assert refusal(tmp_path, "sparse.jpg").reason == "too_large"
