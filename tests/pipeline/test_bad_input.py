"""What is wrong is said in one line, with where and the way out; nothing is left half-written."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pomona as api
from conftest import Ended, Pomona, contents, draw_photos, tables
from machine import need
from pomona.store.store import Store


@pytest.fixture(scope="module")
def world(finished: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store and much that pomona cannot use."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "photos").symlink_to(photos)
    (folder / "empty").mkdir()
    (folder / "file.txt").write_text("words")
    (folder / "texts").mkdir()
    (folder / "texts" / "note.txt").write_text("words")
    (folder / "twice.csv").write_text("path,label\na.jpg,x\na.jpg,y\n")
    (folder / "columns.csv").write_text("where,label\na.jpg,x\n")
    (folder / "no lines.csv").write_text("")
    shutil.copytree(finished, folder / "store")
    for name, manifest in MANIFESTS.items():
        damaged = shutil.copytree(finished, folder / name)
        (damaged / "pomona.json").write_text(manifest)
    incomplete = shutil.copytree(finished, folder / "incomplete")
    (incomplete / "features" / "part-00001.parquet").unlink()
    write_feature_tables(folder)
    return folder


MANIFESTS = {
    "cut": '{"format_version": 1, "sou',
    "list": "[]",
    "bare": '{"format_version": 1}',
    "newer": '{"format_version": 99}',
}


def write_feature_tables(folder: Path) -> None:
    """Parquet tables that `import-features` takes (good) or not."""
    paths = pa.array(["a/1.jpg", "a/2.jpg", "b/3.jpg"])
    numbers = pa.array(np.arange(12.0, dtype=np.float32).reshape(3, 4).tolist())
    ragged = pa.array([[1.0], [1.0, 2.0], [1.0]])
    made = {
        "good": {"path": paths, "embedding": numbers},
        "no list": {"path": paths, "label": pa.array(["x", "y", "z"])},
        "no path": {"where": paths, "embedding": numbers},
        "two lists": {"path": paths, "one": numbers, "two": numbers},
        "ragged": {"path": paths, "embedding": ragged},
        "null row": {"path": paths, "embedding": pa.array([[1.0], None, [2.0]])},
        "null number": {"path": paths, "embedding": pa.array([[1.0], [None], [2.0]])},
        "nan": {"path": paths, "embedding": pa.array([[1.0], [float("nan")], [2.0]])},
        "twice": {"path": pa.array(["a", "b", "a"]), "embedding": numbers},
        "null path": {"path": pa.array(["a", None, "b"]), "embedding": numbers},
        "no rows": {"path": paths.slice(0, 0), "embedding": numbers.slice(0, 0)},
    }
    for name, columns in made.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")


@dataclass(frozen=True)
class Refusals:
    """How commands ended that were run in `world`, and what they changed there."""

    ended: dict[str, Ended]
    changed: set[str]

    def check(self, command: str, status: int, says: tuple[str, ...]) -> None:
        """This status, and these words in the one line on stderr."""
        ended = self.ended[command]
        assert (ended.status, ended.stdout) == (status, ""), ended
        for words in says:
            assert words in ended.complaint


@pytest.fixture(scope="module")
def refusals(request: pytest.FixtureRequest, pomona: Pomona, world: Path) -> Refusals:
    """Runs the commands of those tests below that were chosen, two at a time."""
    chosen = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    commands = [str(params["command"]) for params in chosen if "command" in params]
    commands = [command for command in commands if command in {**WRONG_USAGE, **FAILS}]
    before = contents(world)
    here = replace(pomona, cwd=world)
    with ThreadPoolExecutor(2) as pool:
        ended = pool.map(lambda command: here(*shlex.split(command)), commands)
        all_ended = dict(zip(commands, ended, strict=True))
    after = contents(world)
    changed = {name for name in {**before, **after} if before.get(name, 0) != after.get(name, 0)}
    return Refusals(all_ended, changed)


# command → what the complaint says; each names the way out
WRONG_USAGE = {
    "run gs://bucket/photos out": ("gs://bucket/photos has an unknown scheme", "s3://BUCKET"),
    "run photos s3a://bucket/out": ("s3a://bucket/out has an unknown scheme", "s3://BUCKET"),
    "run photos s3://me:mine@bucket/out": ("s3://bucket/out does not name a bucket", "s3://BUCKET"),
    "run photos out --colour red": ("--colour", "pomona run --help"),
    "paint photos out": ("paint", "pomona --help"),
    "run photos": ("OUT", "pomona run --help"),
    "run": ("SOURCE", "pomona run --help"),
    "run photos out --backbone efficientnet_lite": (
        "efficientnet_lite",
        "did you mean efficientnet_lite0?",
    ),
    "run photos out --limit many": ("--limit", "integer"),
    "run photos out --limit 0": ("--limit 0", "at least 1"),
    "run photos out --components 5 --variance 0.5": ("--components", "--variance", "give one"),
    "run photos out --components 0": ("--components 0", "at least 1"),
    "run photos out --variance 0": ("--variance 0", "0.9"),
    "run photos out --variance 1.5": ("--variance 1.5", "0.9"),
    "run photos out --variance nan": ("--variance nan", "0.9"),
    "run photos out --workers 0": ("--workers 0", "at least 1"),
    "run photos out --fit other": ("--fit other", "stretch or crop"),
    "run photos out --engine cloud": ("cloud", "local"),
    "run photos out --max-pixels 0": ("--max-pixels 0", "at least 1"),
    "extract photos out --max-pixels -1MP": ("--max-pixels", "50MP"),
    "run photos out --max-pixels 5MB": ("--max-pixels", "50000000 or 50MP"),
    "run photos out --max-error-rate 2": ("--max-error-rate 2", "between 0 and 1"),
    "run photos out --max-error-rate nan": ("--max-error-rate nan", "between 0 and 1"),
    "run photos out --refit --keep-projection": ("--refit", "--keep-projection", "give one"),
    "run photos out --dry-run --limit 0": ("--limit 0", "at least 1"),
    "extract photos out --workers -1": ("--workers -1", "at least 1"),
    "reduce store --components 5 --variance 0.5": ("--components", "--variance", "give one"),
    "sample new --varieties 0": ("--varieties 0", "give 1 to"),
    "sample new --per-variety -1": ("--per-variety -1", "give 1 to"),
    "sample new --seed -1": ("--seed -1", "0 or more"),
    "sample texts": ("texts", "not empty", "choose another folder"),
    "sample file.txt": ("file.txt is a file", "choose a folder"),
}


@pytest.mark.parametrize("command", WRONG_USAGE)
def test_wrong_usage_exits_with_status_2(refusals: Refusals, command: str) -> None:
    refusals.check(command, 2, WRONG_USAGE[command])


FAILS = {
    "run nowhere out": ("nowhere does not exist", "check the path"),
    "run empty out": ("no images in empty", "check the path"),
    "run texts out": ("no images in texts", "skipped 1 file", "check the path"),
    "run photos out --include *.webp": ("no images in photos", "--include"),
    "run file.txt out": ("file.txt is a file", "give the folder"),
    "run photos file.txt": ("file.txt is a file", "give a folder"),
    "run photos file.txt/out": ("file.txt", "folder"),
    "run photos texts": ("texts is not a pomona store", "'note.txt'", "choose another folder"),
    "run photos photos": ("photos is not a pomona store", "not empty", "choose another folder"),
    "run photos store --fit crop": ("another recipe", "fit: stretch, not crop", "another folder"),
    "run photos cut": ("cut/pomona.json is damaged", "restore"),
    "run photos list": ("list/pomona.json is damaged", "restore"),
    "run photos bare": ("bare/pomona.json is damaged", "restore"),
    "run photos newer": ("newer has format 99", "use the version of pomona that made it"),
    "reduce texts": ("texts is not a pomona store", "pomona run"),
    "reduce nowhere": ("nowhere is not a pomona store", "pomona run"),
    "reduce bare": ("bare/pomona.json is damaged", "restore"),
    "reduce incomplete": ("incomplete is not complete", "again first"),
    "report texts": ("texts is not a pomona store", "pomona run"),
    "report cut": ("cut/pomona.json is damaged", "restore"),
    "run photos out --labels nowhere.csv": ("nowhere.csv does not exist", "check --labels"),
    "run photos out --labels texts": ("labels in texts",),
    "run photos out --labels 'no lines.csv'": ("no lines.csv",),
    "run photos out --labels columns.csv": ("columns.csv has no column path", "path,label"),
    "run photos out --labels twice.csv": ("twice.csv names a path twice", "keep one"),
    "run photos out --log-file nowhere/log": ("--log-file nowhere/log", "choose another file"),
    "import-features nowhere.parquet out": ("nowhere.parquet does not exist", "check the path"),
    "import-features file.txt out": ("file.txt is not a Parquet table that can be used",),
    "import-features empty out": ("empty",),
    "import-features 'no list.parquet' out": ("no column of lists", "label (string)"),
    "import-features 'no path.parquet' out": ("no column path", "where (string)"),
    "import-features 'two lists.parquet' out": ("2 columns", "(one, two): say --features"),
    "import-features ragged.parquet out": ("ragged.parquet has rows of different widths",),
    "import-features 'null row.parquet' out": ("null row.parquet", "one is needed"),
    "import-features 'null number.parquet' out": ("null number.parquet", "drop those rows"),
    "import-features nan.parquet out": ("nan.parquet", "not finite numbers", "drop those rows"),
    "import-features twice.parquet out": ("twice.parquet names a path twice",),
    "import-features 'null path.parquet' out": ("null path.parquet names a path twice, or none",),
    "import-features 'no rows.parquet' out": ("no rows.parquet",),
    "import-features good.parquet store": ("store holds other features", "another folder"),
    "import-features good.parquet texts": ("texts is not a pomona store", "another folder"),
    "sample file.txt/new": ("cannot write file.txt/new", "choose another folder"),
}


@pytest.mark.parametrize("command", FAILS)
def test_a_failure_exits_with_status_1(refusals: Refusals, command: str) -> None:
    refusals.check(command, 1, FAILS[command])


def test_a_refused_command_changes_nothing(refusals: Refusals) -> None:
    assert refusals.changed == set()


def test_a_store_in_use_is_left_alone(pomona: Pomona, photos: Path, store: Path) -> None:
    before = contents(store)
    with Store(store).lock("pomona run somewhere"):
        for command in (["run", photos, store, "--refit"], ["reduce", store], ["report", store]):
            ended = pomona(*command)
            assert ended.status == 1
            assert f"{store} is in use by pomona run somewhere" in ended.complaint
            assert "wait until it has ended" in ended.complaint
    assert contents(store) == before


# Folders that cannot be written


def test_a_folder_that_the_user_may_not_write(nobody: Pomona, commons: Path) -> None:
    photos = draw_photos(commons / "photos", 4)
    (commons / "closed").mkdir(mode=0o555)
    for command in (
        ["run", photos, "closed/out"],
        ["run", photos, "closed"],
        ["sample", "closed/photos"],
    ):
        ended = nobody(*command)
        assert ended.status == 1
        assert "closed" in ended.complaint
        assert "ermission denied" in ended.complaint
        assert "choose a" in ended.complaint
    assert list((commons / "closed").iterdir()) == []


def test_a_source_that_the_user_may_not_read(nobody: Pomona, commons: Path) -> None:
    (commons / "closed").mkdir(mode=0o000)
    (commons / "mine").mkdir(mode=0o777)
    (commons / "mine").chmod(0o777)
    ended = nobody("run", "closed", "mine/out")
    assert ended.status == 1
    assert "cannot read closed" in ended.complaint
    assert contents(commons / "mine") == {}


def test_an_unusable_cache_only_warns(nobody: Pomona, commons: Path) -> None:
    (commons / "closed").mkdir(mode=0o000)
    (commons / "mine").mkdir()
    (commons / "mine").chmod(0o777)
    draw_photos(commons / "photos", 2)
    user = replace(nobody, env={**nobody.env, "POMONA_CACHE": str(commons / "closed" / "cache")})
    ended = user.done("run", "photos", "mine/out", "--workers", "1")
    assert "POMONA_CACHE" in ended.stderr
    assert "installed" in user.done("backbones").stdout
    assert user("doctor").status == 1


@contextmanager
def mounted(at: Path, options: str) -> Iterator[None]:
    """A file system in memory."""
    need("mount")
    at.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(at)]
    subprocess.run(mount, check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(at)], check=True)


def test_a_disk_that_is_read_only(pomona: Pomona, photos: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "ro"):
        ended = pomona("run", photos, tmp_path / "disk" / "out")
    assert ended.status == 1
    assert "Read-only file system; make it writable" in ended.complaint


def test_a_disk_that_is_full_and_then_larger(
    pomona: Pomona, photos: Path, finished: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    with mounted(disk, "size=200k"):
        command = ["run", photos, disk / "out", "--workers", "2"]
        ended = pomona(*command)
        assert ended.status == 1
        assert f"cannot write {disk}/out/" in ended.complaint
        assert "No space left on device; free some space" in ended.complaint
        assert "run the same command again" in ended.complaint
        for part in (disk / "out" / "features").glob("*"):
            pq.read_table(part)  # what is there is there whole
        subprocess.run(["mount", "-o", "remount,size=40m", str(disk)], check=True)
        pomona.done(*command)
        assert tables(disk / "out") == tables(finished)


# Images that give no features


def png_header(width: int, height: int) -> bytes:
    """A PNG file that says it has so many pixels, and has none."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", size), chunk(b"IDAT", zlib.compress(b"")), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def spoil(folder: Path) -> dict[str, str]:
    """Adds bad images to a folder of good ones; returns path → why it gives no features."""
    whole = next(iter(sorted(folder.rglob("*.jpg")))).read_bytes()
    bad = {
        "bad/empty.jpg": (b"", "empty"),
        "bad/truncated.jpg": (whole[: len(whole) // 2], "truncated"),
        "bad/text.jpg": (b"these are words\n" * 9, "not_an_image"),
        "bad/no pixels.png": (png_header(0, 0), "zero_size"),
        "bad/huge.png": (png_header(40_000, 40_000), "too_large"),
        "bad/unreadable.jpg": (whole, "permission_denied"),
    }
    (folder / "bad").mkdir()
    for name, (data, _) in bad.items():
        (folder / name).write_bytes(data)
    (folder / "bad" / "unreadable.jpg").chmod(0)
    (folder / "bad" / "gone.jpg").symlink_to("nowhere")
    return {**{name: reason for name, (_, reason) in bad.items()}, "bad/gone.jpg": "not_found"}


def test_bad_images_become_error_rows(nobody: Pomona, commons: Path) -> None:
    photos = draw_photos(commons / "photos", 12)
    good = {path.relative_to(photos).as_posix() for path in photos.rglob("photo*")}
    bad = spoil(photos)
    (photos / "bad" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(
        next(photos.rglob("photo*.jpg")).read_bytes()
    )
    (commons / "mine").mkdir()
    (commons / "mine").chmod(0o777)
    out = commons / "mine" / "out"

    over = nobody("run", photos, out, "--workers", "1", "--json")
    assert over.status == 3
    assert (
        f"7 of 20 images gave no features, more than --max-error-rate 0.05 allows: see {out}/errors"
        in (over.complaint)
    )
    summary = json.loads(over.stdout)
    assert (summary["images"], summary["features"], summary["errors"]) == (20, 13, 7)

    store = api.open(out)
    errors = store.errors().to_pylist()
    assert {row["path"]: row["reason"] for row in errors} == bad
    assert {row["label"] for row in errors} == {"bad"}
    assert set(store.features().paths) == set(store.pca().paths) == good | {r"bad/caf\xe9.jpg"}
    assert store.metadata().num_rows == 20

    under = nobody("run", photos, out, "--max-error-rate", "0.5", "--json")
    assert under.status == 0
    assert json.loads(under.stdout)["reasons"] == dict.fromkeys(bad.values(), 1)


def test_a_source_of_bad_images_only(pomona: Pomona, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.jpg", "b.png"):
        (photos / name).write_bytes(b"words")
    command = ["run", photos, tmp_path / "out", "--workers", "1"]
    ended = pomona(*command)
    assert ended.status == 3
    assert "2 of 2 images gave no features" in ended.complaint
    assert (
        "warning: no PCA: it needs the features of at least 2 images, there are 0" in ended.stderr
    )
    store = api.open(tmp_path / "out")
    assert (len(store.features()), store.errors().num_rows) == (0, 2)


def test_one_image(pomona: Pomona, tmp_path: Path) -> None:
    draw_photos(tmp_path / "photos", 1)
    command = ["run", tmp_path / "photos", tmp_path / "out", "--workers", "1"]
    assert "warning: no PCA" in pomona.done(*command).stderr
    store = api.open(tmp_path / "out")
    assert len(store.features()) == 1
    assert store.manifest["pca"] is None
    assert not (tmp_path / "out" / "pca").exists()
    assert "Nothing to do" in pomona.done(*command).stdout
    assert len(store.manifest["runs"]) == 1


def test_two_images(pomona: Pomona, tmp_path: Path) -> None:
    draw_photos(tmp_path / "photos", 2)
    pomona.done("run", tmp_path / "photos", tmp_path / "out", "--workers", "1")
    store = api.open(tmp_path / "out")
    assert store.pca().array.shape == (2, 1)
    assert store.manifest["pca"]["variance_explained"] == pytest.approx(1)


def test_more_components_than_the_images_allow(pomona: Pomona, store: Path) -> None:
    ended = pomona.done("reduce", store, "--components", "500", "--workers", "1")
    assert "warning: 500 components requested, 39 made" in ended.stderr
    assert api.open(store).pca().array.shape == (40, 39)


# Names that are not UTF-8


def test_folder_names_that_are_not_utf8(pomona: Pomona, tmp_path: Path) -> None:
    photos = draw_photos(tmp_path / os.fsdecode(b"photos \xe9"), 2)
    out = tmp_path / os.fsdecode(b"out \xe9")
    for _ in range(2):
        pomona.done("run", photos, out, "--workers", "1")
    assert len(api.open(out).features()) == 2


@pytest.mark.parametrize("lost", ["features", "metadata", "errors", "_pomona/plan.parquet"])
def test_an_unreadable_store_is_not_reported_as_lost_or_damaged(
    lost: str, nobody: Pomona, commons: Path
) -> None:
    draw_photos(commons / "photos", 4)
    out = commons / "mine" / "out"
    out.parent.mkdir()
    out.parent.chmod(0o777)
    nobody.done("run", "photos", out, "--workers", "1", "--quiet")
    before = tables(out)
    for image in sorted((commons / "photos").rglob("*.jpg"))[:2]:
        image.unlink()
    closed = out / lost if lost.endswith("parquet") else out / lost / "part-00000.parquet"
    closed.chmod(0o000)
    for command in (["run", "photos", out], ["reduce", out], ["verify", out]):
        ended = nobody(*command)
        assert ended.status == 1
        assert f"cannot read {closed}: Permission denied; ask for permission" in ended.complaint
    closed.chmod(0o644)
    assert tables(out) == before


def test_backbones_can_be_measured_with_a_read_only_cache(nobody: Pomona) -> None:
    ended = nobody.done("backbones", "--measure")
    assert "images/s, which cannot be kept in" in ended.stderr
    assert "set POMONA_CACHE to a folder that can be written" in ended.stderr
