"""Sources that are large, deep or strange: each entry is taken, told as an error, or left out."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest
from killing import LONG, quick_folder

import pomona as api
from conftest import TIMEOUT_S, Pomona, draw_photos

# (folders, images in each): one folder of very many, and very many in all.
LOADS = [(1, 300_000), (1_000, 1_000)] if LONG else [(1, 20_000)]
LIMIT = 200 if LONG else 8
MAX_BYTES, MAX_BYTES_AN_IMAGE = 400e6, 2_600
PATH_MAX = 4096  # with the zero at its end


@pytest.fixture
def folder() -> Iterator[Path]:
    with quick_folder() as made:
        yield made


def link_photos(folder: Path, folders: int, images: int) -> None:
    """Many tiny images that take no room: links to a few."""
    bases = {str(path): path for path in sorted(draw_photos(folder / "bases", 64).rglob("photo*"))}
    source = folder / "source"
    for index, base in zip(range(folders * images), cycle(list(bases)), strict=False):
        if index % images == 0:
            place = source / f"label {index // images:04}"
            place.mkdir(parents=True)
        name = f"{place}/{index:07}.jpg"
        try:
            os.link(bases[base], name)
        except OSError as exc:
            if exc.errno != errno.EMLINK:
                raise
            Path(name).write_bytes(bases[base].read_bytes())
            bases[base] = Path(name)  # the next links are to this one


def peak_bytes(stdout: Path, *args: object) -> float:
    """The most memory that the command had, once it has succeeded."""
    command = [sys.executable, "-c", TELLING_ITS_PEAK, *map(str, args)]
    with stdout.open("w") as file:
        ended = subprocess.run(
            command, stdout=file, stderr=subprocess.PIPE, text=True, timeout=10 * TIMEOUT_S
        )
    assert ended.returncode == 0, ended.stderr
    return float(ended.stderr.splitlines()[-1]) * 1e6


TELLING_ITS_PEAK = """
import atexit, sys
from pomona.commands.main import main
from pomona.memory import peak_memory_mb

atexit.register(lambda: print(peak_memory_mb(), file=sys.stderr))
main()
"""


@pytest.mark.parametrize(("folders", "images"), LOADS)
def test_very_many_images(folders: int, images: int, folder: Path, pomona: Pomona) -> None:
    link_photos(folder, folders, images)
    source, out, total = folder / "source", folder / "out", folders * images

    start = time.monotonic()
    peak = peak_bytes(folder / "told", "run", source, out, "--dry-run", "--json")
    seconds = time.monotonic() - start
    told = json.loads((folder / "told").read_text())
    assert told["to_do"] == total
    assert peak < MAX_BYTES + MAX_BYTES_AN_IMAGE * total

    pomona.done("run", source, out, "--limit", LIMIT, "--workers", "2", "--quiet")
    store = api.open(out)
    assert len(store.features()) == LIMIT
    [run] = store.manifest["runs"]
    driver_mb = run["peak_memory_mb"]["driver"]
    assert driver_mb * 1e6 < MAX_BYTES + MAX_BYTES_AN_IMAGE * total
    print(
        f"\n{total:,} images in {folders:,} folders: dry run {seconds:.1f} s, {peak / 1e6:,.0f} MB;"
        f" run --limit {LIMIT} {run['seconds']['total']:.1f} s, driver {driver_mb:,.0f} MB"
    )


def nest(folder: Path, length: int, data: bytes) -> tuple[str, str]:
    """Files in a folder so deep that the one's path is `length` bytes long, the other's one more.

    Beside them lies a folder with an image, whose path nobody can name. Returns the two's names
    relative to `folder`.
    """
    names: list[str] = []
    descriptor = os.open(folder, os.O_RDONLY)
    while (room := length - len(os.fsencode(folder / Path(*names)))) > 400:
        names.append("d" * min(200, room - 200))
        os.mkdir(names[-1], dir_fd=descriptor)
        above, descriptor = descriptor, os.open(names[-1], os.O_RDONLY, dir_fd=descriptor)
        os.close(above)
    os.mkdir("e" * 200, dir_fd=descriptor)
    deep = os.open("e" * 200, os.O_RDONLY, dir_fd=descriptor)
    os.mkdir("f" * 200, dir_fd=deep)
    deeper = os.open("f" * 200, os.O_RDONLY, dir_fd=deep)
    os.close(deep)
    stem = "i" * (room - len("/.jpg"))
    files = [f"{stem}.jpg", f"{stem}i.jpg"]
    for name, place in [(files[0], descriptor), (files[1], descriptor), ("g.jpg", deeper)]:
        file = os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=place)
        os.write(file, data)
        os.close(file)
    os.close(deeper)
    os.close(descriptor)
    return "/".join([*names, files[0]]), "/".join([*names, files[1]])


def test_paths_at_and_beyond_the_system_limit(folder: Path, pomona: Pomona) -> None:
    source, out = draw_photos(folder / "source", 4), folder / "out"
    data = min(source.rglob("*.jpg")).read_bytes()
    longest, too_long = nest(source, PATH_MAX - 1, data)
    assert len(os.fsencode(source / longest)) == PATH_MAX - 1
    command = ["run", source, out, "--workers", "1", "--max-error-rate", "1"]
    ended = pomona.done(*command)
    store = api.open(out)
    assert len(store.features()) == 5
    assert longest in store.features().paths
    [error] = store.errors().to_pylist()
    assert error["path"] == too_long
    assert (error["reason"], error["detail"]) == ("io_error", "File name too long")
    told = [line for line in ended.stderr.splitlines() if "cannot list" in line]
    assert len(told) == 1
    assert "f" * 200 in told[0]
    assert "the images in it are not taken" in told[0]
    assert "Nothing to do" in pomona.done(*command).stdout
    pomona.done("verify", out)


def test_circular_links_pipes_and_devices_are_skipped_and_counted(
    folder: Path, pomona: Pomona
) -> None:
    source, out = draw_photos(folder / "source", 4), folder / "out"
    (source / "up").symlink_to(source)
    for one, other in (("a", "b"), ("b", "a")):
        (source / one).mkdir()
        (source / one / "across").symlink_to(source / other)
    (source / "circle.jpg").symlink_to("circle.jpg")
    os.mkfifo(source / "pipe.jpg")
    devices = 0
    if os.geteuid() == 0:  # nobody else may make one
        os.mknod(source / "device.jpg", stat.S_IFCHR | 0o600, os.makedev(1, 5))  # endless zeros
        os.mknod(source / "disk.jpg", stat.S_IFBLK | 0o600, os.makedev(259, 1_000))
        devices = 2
    ended = pomona.done("run", source, out, "--workers", "1", "--max-error-rate", "1")
    left_out = {
        "of another kind (pipe, device or socket)": 1 + devices,
        "leading back to a folder above": 3,
    }
    for why, count in left_out.items():
        assert f"skipped {count} file" in ended.stderr
        assert why in ended.stderr
    store = api.open(out)
    assert len(store.features()) == 4
    assert [row["path"] for row in store.errors().to_pylist()] == ["circle.jpg"]
