"""Packs: what they hold, what a worker reads of them, and what a stop or damage does to them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import pomona as api
from conftest import Here, Pomona, contents, draw_photos, tables
from pomona.errors import ImageError, SourceError, StoreError
from pomona.images.scan import scan
from pomona.images.sources import pack, pack_format
from pomona.images.sources.pack import PackReader
from pomona.images.sources.pack_format import MANIFEST, PACKING, open_pack, read_catalog
from pomona.maintenance.verify import verify
from pomona.pipeline.context import RunSettings
from pomona.store.folders.local import LocalFolder
from pomona.store.plan import make_plan, shards
from pomona.store.schemas import CATALOG, decode_path
from pomona.transfer.pack import PackSettings, PackSummary, make_pack

SMALL = 12_000


def packed(source: Path, dest: Path, **settings: object) -> PackSummary:
    wanted = PackSettings(source, **{"size_bytes": SMALL, **settings})  # type: ignore[arg-type]
    return make_pack(dest, wanted, RunSettings(Here()))


@dataclass
class Between(Here):
    """Does something before the files of a pack are written, and something after."""

    first: Callable[[], object] = tuple
    last: Callable[[], object] = tuple

    def __enter__(self) -> Here:
        self.first()
        return self

    def map(self, task: Any, items: Iterable[Any], payload: object) -> Iterator[tuple[Any, Any]]:
        yield from super().map(task, items, payload)
        self.last()


def opened(folder: Path) -> pack_format.Pack:
    found = open_pack(LocalFolder(folder))
    assert found is not None
    return found


def fetched(folder: Path) -> dict[str, bytes | str]:
    """path → bytes, or the reason why there are none."""
    found = opened(folder)
    reader = PackReader(found)
    images: dict[str, bytes | str] = {}
    for row in read_catalog(found)[0].to_pylist():
        try:
            images[row["path"]] = reader.fetch(row["path"], row["fingerprint"])
        except ImageError as exc:
            images[row["path"]] = exc.reason
    return images


class Counting(LocalFolder):
    """Tells which ranges were read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.ranges: list[tuple[str, int, int]] = []

    def read_range(self, name: str, start: int, size: int) -> bytes:
        self.ranges.append((name, start, size))
        return super().read_range(name, start, size)


@pytest.fixture(scope="module")
def folder(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of `photos` in several files, not to be changed."""
    dest = tmp_path_factory.mktemp("packs") / "pack"
    assert packed(photos, dest).files > 3
    return dest


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """A pack to do with as one likes."""
    return shutil.copytree(folder, tmp_path / "own")


def parts(folder: Path) -> list[Path]:
    return sorted((folder / "images").iterdir())


def test_a_pack_has_every_image_byte_for_byte(photos: Path, folder: Path) -> None:
    catalog, left_out = read_catalog(opened(folder))
    assert (catalog, left_out) == (scan(photos).catalog, 0)
    assert fetched(folder) == {
        path: Path(photos, decode_path(path)).read_bytes() for path in catalog["path"].to_pylist()
    }


def test_any_reader_of_parquet_reads_it(photos: Path, folder: Path) -> None:
    table = pq.read_table(folder / "images")
    assert table.schema.names == pack_format.SCHEMA.names
    catalog = scan(photos).catalog
    same = ["path", "label", "split", "fingerprint"]
    assert table.select(same).equals(catalog.select(same))


def test_the_bytes_do_not_depend_on_the_number_of_workers(
    photos: Path, folder: Path, pomona: Pomona, tmp_path: Path
) -> None:
    pomona.done("pack", photos, tmp_path / "pack", "--size", SMALL, "--workers", "2", "--quiet")
    assert contents(tmp_path / "pack") == contents(folder)


def test_a_shard_is_read_in_few_ranges(folder: Path) -> None:
    files = Counting(folder)
    found = open_pack(files)
    assert found is not None
    catalog = read_catalog(found)[0]
    paths = catalog["path"].to_pylist()
    reader = PackReader(found, paths)
    pack._indexes.clear()
    for path in paths:
        reader.fetch(path)
    # A footer and the images of each file.
    assert len(files.ranges) == 2 * len(found.parts)
    again = PackReader(found, paths[:1])
    files.ranges.clear()
    again.fetch(paths[0])
    [(_, _, size)] = files.ranges
    assert size < files.path(found.parts[0].name).stat().st_size


def test_memory_while_reading_is_bounded(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pomona.transfer.pack.LEAST_GROUP_BYTES", 3_000)
    monkeypatch.setattr(pack, "WINDOW_BYTES", 9_000)
    packed(photos, tmp_path / "pack", size_bytes=10**6)
    files = Counting(tmp_path / "pack")
    found = open_pack(files)
    assert found is not None
    pack._indexes.clear()
    for shard in shards(make_plan(read_catalog(found)[0])):
        reader = PackReader(found, shard.images["path"].to_pylist())
        for path in shard.images["path"].to_pylist():
            reader.fetch(path)
    _, *read = [size for _, _, size in files.ranges]
    assert len(read) > 4
    assert max(read) <= 9_000


def test_distant_images_are_read_separately(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pomona.transfer.pack.LEAST_GROUP_BYTES", 1_000)
    monkeypatch.setattr(pack, "HOLE_BYTES", 100)
    packed(photos, tmp_path / "pack", size_bytes=10**6)
    files = Counting(tmp_path / "pack")
    found = open_pack(files)
    assert found is not None
    paths = read_catalog(found)[0]["path"].to_pylist()
    pack._indexes.clear()
    reader = PackReader(found, [paths[0], paths[-1]])
    for path in (paths[0], paths[-1]):
        reader.fetch(path)
    assert len(files.ranges) == 3
    assert sum(size for _, _, size in files.ranges[1:]) < found.parts[0].size_bytes / 4


def test_an_unreadable_image_is_a_row_with_its_reason(tmp_path: Path) -> None:
    source = draw_photos(tmp_path / "photos", 8)
    (source / "gone.jpg").symlink_to("nowhere.jpg")
    (source / "huge.jpg").touch()
    os.truncate(source / "huge.jpg", 300 * 2**20)
    dest = tmp_path / "pack"
    first = packed(source, dest, size_bytes=10**6)
    assert (first.images, first.errors) == (10, 2)
    images = fetched(dest)
    assert (images["gone.jpg"], images["huge.jpg"]) == ("not_found", "too_large")
    # What may be read another time is tried again, and nothing else.
    assert packed(source, dest, size_bytes=10**6).written == 1
    assert (len(parts(dest)), fetched(dest)) == (1, images)
    (source / "nowhere.jpg").write_bytes(b"here now")
    (source / "huge.jpg").unlink()
    again = packed(source, dest, size_bytes=10**6)
    assert (again.images, again.errors) == (10, 0)
    assert packed(source, dest, size_bytes=10**6).written == 0


def test_a_second_pack_command_writes_nothing(photos: Path, own: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in own.rglob("*.*")}
    assert packed(photos, own).written == 0
    assert {path: path.stat().st_mtime_ns for path in own.rglob("*.*")} == before


def test_a_lost_or_cut_off_file_is_written_again(photos: Path, folder: Path, own: Path) -> None:
    first, second, *_ = parts(own)
    first.unlink()
    os.truncate(second, second.stat().st_size - 9)
    assert packed(photos, own).written == 2
    assert contents(own) == contents(folder)


def test_a_changed_source_replaces_what_it_must(tmp_path: Path) -> None:
    source, dest = draw_photos(tmp_path / "photos"), tmp_path / "pack"
    packed(source, dest)
    before = {path.name for path in parts(dest)}
    last = scan(source).catalog["path"].to_pylist()[-1]
    (source / last).write_bytes(b"other bytes")
    result = packed(source, dest)
    assert result.written == 1
    assert fetched(dest)[last] == b"other bytes"
    assert len({path.name for path in parts(dest)} - before) == 1
    assert len(parts(dest)) == result.files


def test_files_of_others_in_the_folder_stay(tmp_path: Path) -> None:
    source, dest = draw_photos(tmp_path / "photos", 8), tmp_path / "pack"
    packed(source, dest)
    others = [
        dest / name for name in ("images/mine/a.txt", "images/part-0.parquet", "catalog/a.md")
    ]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    before = parts(dest)
    next(source.rglob("*.jpg")).unlink()
    packed(source, dest)
    assert set(before) - set(parts(dest))
    assert [path.read_text() for path in others] == ["mine"] * 3
    assert len(list((dest / "catalog").glob("part-*"))) == 1


def test_retrying_errors_keeps_the_old_pack_whole_until_it_is_replaced(
    tmp_path: Path,
) -> None:
    source, dest = draw_photos(tmp_path / "photos", 8), tmp_path / "pack"
    [image, *_], aside = sorted(source.rglob("*.jpg")), tmp_path / "aside"
    engine = Between(first=lambda: image.rename(aside), last=lambda: aside.rename(image))
    assert make_pack(dest, PackSettings(source), RunSettings(engine)).errors == 1
    before = fetched(dest)
    assert [data for data in before.values() if isinstance(data, str)] == ["not_found"]

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_pack(dest, PackSettings(source), RunSettings(Between(last=stop)))
    assert len(parts(dest)) == 2
    pack._indexes.clear()
    assert fetched(dest) == before
    again = make_pack(dest, PackSettings(source), RunSettings(Here()))
    assert (again.written, again.errors, len(parts(dest))) == (0, 0, 1)
    assert image.read_bytes() in fetched(dest).values()


def test_a_reader_notices_that_a_pack_was_replaced(tmp_path: Path) -> None:
    source, dest = draw_photos(tmp_path / "photos"), tmp_path / "pack"
    packed(source, dest, size_bytes=10**6)
    found = opened(dest)
    row = read_catalog(found)[0].to_pylist()[0]
    with pytest.raises(ImageError, match="changed"):
        PackReader(found).fetch(row["path"], "another")
    with pytest.raises(ImageError, match="not_found"):
        PackReader(found).fetch("nobody's.jpg")
    (source / row["path"]).write_bytes(b"other bytes")
    packed(source, dest, size_bytes=10**6)
    with pytest.raises(ImageError, match="not_found"):
        PackReader(found).fetch(row["path"], row["fingerprint"])


def test_labels_and_include(photos: Path, tmp_path: Path) -> None:
    catalog = scan(photos, ["*.png"]).catalog
    lines = [f"{path},{index % 2}" for index, path in enumerate(catalog["path"].to_pylist())]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *lines]))
    packed(photos, tmp_path / "pack", include=["*.png"], labels=tmp_path / "labels.csv")
    found = read_catalog(opened(tmp_path / "pack"))[0]
    assert found["path"].equals(catalog["path"])
    assert found["label"].to_pylist() == [str(index % 2) for index in range(len(found))]
    some, left_out = read_catalog(opened(tmp_path / "pack"), ["Test/*"])
    assert 0 < some.num_rows == found.num_rows - left_out < found.num_rows


@pytest.mark.parametrize(
    ("settings", "labels"),
    [
        ({}, ["bus", "car", "train"]),
        ({"splits": True}, [None, "bus", "car"]),
        ({"label_from": "top"}, ["a"]),
    ],
)
def test_folders_are_labels_and_splits_as_for_run(
    settings: dict[str, Any], labels: list[str | None], photos: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    for label, image in zip(("bus", "car", "train"), sorted(photos.rglob("*.png")), strict=False):
        (source / "a" / label).mkdir(parents=True)
        shutil.copy(image, source / "a" / label)
    packed(source, tmp_path / "pack", **settings)
    found = set(read_catalog(opened(tmp_path / "pack"))[0]["label"].to_pylist())
    assert sorted(found, key=str) == sorted(labels, key=str)


# Damage


@pytest.mark.parametrize("name", [MANIFEST, "catalog"])
@pytest.mark.parametrize("how", ["cut", "flip", "other"])
def test_a_damaged_manifest_or_catalog_is_one_line(own: Path, name: str, how: str) -> None:
    [path] = [own / name] if name == MANIFEST else (own / name).iterdir()
    data = path.read_bytes()
    if how == "cut":
        path.write_bytes(data[:-40])
    elif how == "flip":
        path.write_bytes(data[:20] + bytes(byte ^ 0x55 for byte in data[20:60]) + data[60:])
    elif name == MANIFEST:
        path.write_text(json.dumps({"pomona_pack": 1, "parts": [{"name": 3}]}))
    else:
        pq.write_table(CATALOG.empty_table(), path)
    with pytest.raises(SourceError, match="is damaged: restore it") as caught:
        read_catalog(opened(own))
    assert "\n" not in str(caught.value)


def test_a_pack_of_a_later_format_is_refused(own: Path) -> None:
    (own / MANIFEST).write_text('{"pomona_pack": 2}')
    with pytest.raises(SourceError, match="format 2, this pomona reads 1"):
        opened(own)


def test_damaged_images_cost_only_their_own_rows(folder: Path, own: Path) -> None:
    whole = fetched(folder)
    path = parts(own)[1]
    data = bytearray(path.read_bytes())
    for place in [*range(0, len(data), 500), *range(len(data) - 800, len(data), 40)]:
        pack._indexes.clear()
        damaged = bytearray(data)
        damaged[place : place + 3] = b"\xff\0\xff"
        path.write_bytes(damaged)
        images = fetched(own)
        assert images.keys() == whole.keys()
        bad = {key: value for key, value in images.items() if value != whole[key]}
        assert set(bad.values()) <= {"io_error", "changed", "not_found", "truncated"}
        assert len(bad) < len(whole) / 2
    pack._indexes.clear()
    path.unlink()
    assert {value for value in fetched(own).values() if isinstance(value, str)} == {"not_found"}


# What is refused


def test_a_folder_that_is_something_else_is_refused(
    photos: Path, finished: Path, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    with pytest.raises(StoreError, match="is not a pack and not empty"):
        packed(photos, tmp_path / "full")
    with pytest.raises(StoreError, match="is a pomona store: choose another folder"):
        packed(photos, finished)
    with pytest.raises(StoreError, match="is not a pack and not empty"):
        packed(photos, photos)


def test_a_pack_of_other_images_is_not_replaced(own: Path, tmp_path: Path) -> None:
    others = draw_photos(tmp_path / "others", 8, seed=5)
    before = contents(own)
    with pytest.raises(SourceError, match=r"40 of its 40 are not in the source; .* `yes`"):
        packed(others, own)
    assert contents(own) == before
    assert packed(others, own, yes=True).images == 8


def test_changes_made_before_the_lock_was_held_are_noticed(
    photos: Path, folder: Path, tmp_path: Path
) -> None:
    others, dest = draw_photos(tmp_path / "others", 8, seed=5), tmp_path / "pack"
    engine = Between(first=lambda: packed(photos, dest))
    with pytest.raises(SourceError, match=r"40 of its 40 are not in the source"):
        make_pack(dest, PackSettings(others), RunSettings(engine))
    assert contents(dest) == contents(folder)
    thesis = tmp_path / "full" / "thesis.txt"
    thesis.parent.mkdir()
    with pytest.raises(StoreError, match="is not a pack and not empty"):
        make_pack(thesis.parent, PackSettings(others), RunSettings(Between(first=thesis.touch)))


# A pack as a source


def test_a_run_on_a_pack_equals_the_run_on_its_folder(
    pomona: Pomona, photos: Path, finished: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    told = pomona.done("run", folder, out, "--workers", "2", "--json")
    assert json.loads(told.stdout)["features"] == 40
    assert tables(out) == tables(finished)
    assert json.loads((out / "pomona.json").read_text())["source"] == str(folder)
    # A store may go from one to the other: it is the same images.
    assert json.loads(pomona.done("run", photos, out, "--json").stdout)["ran"] == 0
    assert "OK: 40 images" in pomona.done("verify", out, "--source", folder).stdout


def test_verify_finds_images_lost_in_a_damaged_pack(finished: Path, own: Path) -> None:
    assert not verify(finished, RunSettings(Here()), own).findings
    path = parts(own)[0]
    data = bytearray(path.read_bytes())
    data[2_000:2_003] = b"\xff\0\xff"
    path.write_bytes(data)
    [finding] = verify(finished, RunSettings(Here()), own).findings
    assert "cannot be read" in finding.what


def test_a_damaged_pack_gives_retryable_error_rows(
    pomona: Pomona, photos: Path, finished: Path, own: Path, tmp_path: Path
) -> None:
    path = parts(own)[1]
    whole = path.read_bytes()
    path.write_bytes(whole[:3_000] + b"damage" + whole[3_006:])
    out = tmp_path / "out"
    ended = pomona.done("run", own, out, "--max-error-rate", "1", "--workers", "1")
    assert "warning" not in ended.stderr
    errors = api.open(out).errors().to_pylist()
    assert {(row["stage"], row["reason"], row["retryable"]) for row in errors} == {
        ("fetch", "io_error", True)
    }
    assert f"{path.name} of the pack is damaged: pack it again" == errors[0]["detail"]
    path.unlink()
    pomona.done("pack", photos, own, "--size", SMALL, "--quiet")
    pomona.done("run", own, out, "--retry-errors", "--refit", "--workers", "1", "--quiet")
    assert tables(out) == tables(finished)


def test_an_unfinished_pack_is_refused_as_a_source(
    pomona: Pomona, own: Path, tmp_path: Path
) -> None:
    (own / MANIFEST).unlink()
    (own / PACKING).write_text("{}")
    ended = pomona("run", own, tmp_path / "out")
    assert ended.status == 1
    assert "is not a complete pack: run its `pomona pack` again first" in ended.complaint
    (own / MANIFEST).write_text("{")
    ended = pomona("run", own, tmp_path / "out")
    assert f"{MANIFEST} is damaged: restore it from a copy" in ended.complaint


def test_a_pack_can_be_repacked_with_another_size(
    folder: Path, photos: Path, tmp_path: Path
) -> None:
    assert packed(folder, tmp_path / "one", size_bytes=10**6).files == 1
    assert packed(photos, tmp_path / "other", size_bytes=10**6).files == 1
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


# The command


def test_the_command(pomona: Pomona, photos: Path, tmp_path: Path) -> None:
    dest = tmp_path / "pack"
    planned = pomona.done("pack", photos, dest, "--dry-run").stdout
    assert planned.startswith("40 images of 4 labels")
    assert planned.endswith("in 1 file, 1 of them to write\nNothing was written.\n")
    assert not dest.exists()
    told = pomona.done("pack", photos, dest)
    assert "in 1 file of" in told.stdout
    result = json.loads(pomona.done("pack", photos, dest, "--json").stdout)
    assert (result["images"], result["errors"], result["written"]) == (40, 0, 0)


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (("--size", "large"), 2, "'large' is not a size: give bytes, or 128MB or 1GB"),
        (("--size", "0"), 2, "--size 0: at least 1 byte is needed"),
        (("--include", "*.none"), 1, "no images in"),
    ],
)
def test_bad_input(
    pomona: Pomona, photos: Path, tmp_path: Path, args: tuple[str, ...], status: int, said: str
) -> None:
    ended = pomona("pack", photos, tmp_path / "pack", *args)
    assert ended.status == status
    assert said in ended.complaint


def test_a_killed_pack_is_finished_by_the_same_command(
    pomona: Pomona, photos: Path, folder: Path, tmp_path: Path
) -> None:
    dest = tmp_path / "pack"
    process = pomona.start("pack", photos, dest, "--size", SMALL, "--workers", "1")
    while process.poll() is None and len(list(dest.glob("images/*"))) < 2:
        pass
    process.kill()
    pomona.end(process)
    assert not (dest / MANIFEST).exists()
    assert pack_format.is_unfinished(LocalFolder(dest))
    pomona.done("pack", photos, dest, "--size", SMALL, "--quiet")
    assert contents(dest) == contents(folder)
    assert not list(dest.glob("_pomona/tmp/*"))
