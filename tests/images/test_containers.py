"""Images in zip, tar and Parquet files: the folder's bytes, names and labels; damage costs one."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pomona
from pomona.errors import ImageError, SourceError
from pomona.images.catalog import find_images
from pomona.images.folders import FolderRules
from pomona.images.prefetch import ImageRequest
from pomona.images.sources.base import Source
from pomona.images.sources.container import ContainerSource
from pomona.images.sources.local import LocalSource
from pomona.images.sources.registry import open_source
from pomona.progress import Progress
from pomona.s3.bucket import Bucket
from pomona.s3.objects import Got
from s3_server import Place, bucket, s3_server

__all__ = ["bucket", "s3_server"]


def files_of(photos: Path) -> dict[str, bytes]:
    return {
        path.relative_to(photos).as_posix(): path.read_bytes()
        for path in sorted(photos.rglob("*.*"))
    }


def make_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def make_tar(path: Path, files: dict[str, bytes], kind: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=kind) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def make_parquet(path: Path, files: dict[str, bytes]) -> Path:
    """As Hugging Face's datasets writes it, with the folders as a ClassLabel."""
    names = sorted({name.split("/")[-2] for name in files})
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    images = [{"bytes": data, "path": name} for name, data in files.items()]
    labels = [names.index(name.split("/")[-2]) for name in files]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(images, kind), "label": pa.array(labels, pa.int64())})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=7)
    return path


MAKERS: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "stored.zip": make_zip,
    "deflated.zip": lambda path, files: make_zip(path, files, zipfile.ZIP_DEFLATED),
    "pax.tar": make_tar,
    "gnu.tar": lambda path, files: make_tar(path, files, tarfile.GNU_FORMAT),
    "images.parquet": make_parquet,
}


def rows_of(source: Source) -> list[dict[str, str | None]]:
    catalog = find_images(source, Progress(), folders=FolderRules())
    return catalog.to_pylist()  # type: ignore[no-any-return]


def fetch_all(source: Source) -> dict[str, bytes | str]:
    """What each image gives: its bytes, or the reason why not."""
    rows = source.scan().catalog.to_pylist()
    source.expect(ImageRequest(row["path"], row["fingerprint"], 0) for row in rows)
    found: dict[str, bytes | str] = {}
    for row in rows:
        try:
            found[row["path"]] = source.fetch(row["path"], row["fingerprint"])
        except ImageError as exc:
            found[row["path"]] = exc.reason
    return found


@pytest.mark.parametrize("name", MAKERS)
def test_a_container_gives_the_files_names_and_labels_of_the_folder(
    name: str, photos: Path, tmp_path: Path
) -> None:
    long = {f"Training/{'long ' * 30}/é{'x' * 99}.jpg": b"\xff\xd8 something"}
    files = files_of(photos) | long
    source = open_source(MAKERS[name](tmp_path / name, files))
    assert isinstance(source, ContainerSource)
    assert fetch_all(source) == files
    path = next(iter(files))
    assert source.fetch(path) == files[path]
    expected = {row["path"]: row for row in rows_of(LocalSource(str(photos)))}
    found = {row["path"]: row for row in rows_of(source) if row["path"] not in long}
    assert found.keys() == expected.keys()
    for at, row in found.items():
        assert [row["label"], row["split"]] == [expected[at]["label"], expected[at]["split"]]


@pytest.mark.parametrize("name", ["deflated.zip", "pax.tar", "images.parquet"])
def test_a_run_gives_the_features_of_the_folder(
    name: str, photos: Path, finished: Path, tmp_path: Path
) -> None:
    source = MAKERS[name](tmp_path / name, files_of(photos))
    expected = pomona.open(finished).features()
    found = pomona.run(source, tmp_path / "store", workers=1).features()
    assert found.paths == expected.paths
    assert found.labels == expected.labels
    assert np.array_equal(found.array, expected.array)


def test_a_folder_of_webdataset_shards(photos: Path, tmp_path: Path) -> None:
    """As webdataset writes them: KEY.jpg with KEY.cls, or a label in KEY.json."""
    data = list(files_of(photos).values())
    for shard, split in enumerate(["train", "train", "val"]):
        samples = {}
        for row in range(4):
            key = f"{shard:02d}{row:04d}"
            samples[f"{key}.jpg"] = data[shard * 4 + row]
            if row % 2:
                samples[f"{key}.json"] = json.dumps({"label": "apple", "width": 3}).encode()
            else:
                samples[f"{key}.cls"] = str(shard).encode()
        make_tar(tmp_path / f"{split}-{shard:06d}.tar", samples)
    source = open_source(os.path.relpath(tmp_path)).absolute()
    assert str(source) == str(tmp_path)
    rows = rows_of(source)
    assert [row["path"] for row in rows][:2] == [
        "train-000000.tar/000000.jpg",
        "train-000000.tar/000001.jpg",
    ]
    assert [row["label"] for row in rows[:5]] == ["0", "apple", "0", "apple", "1"]
    assert [row["split"] for row in rows] == ["train"] * 8 + ["val"] * 4
    assert list(fetch_all(source).values()) == data[:12]


# As datasets and webdataset write them: `make test-tools` has them write such files.


def write_table(path: Path, columns: dict[str, pa.Array], features: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return path


def images_of(data: list[bytes | None]) -> pa.Array:
    rows = [{"bytes": one, "path": f"{at}.jpg"} for at, one in enumerate(data)]
    return pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def class_label(*names: str) -> dict[str, Any]:
    return {"names": list(names), "_type": "ClassLabel"}


def notes_of(source: Source) -> list[str]:
    return source.scan().notes


@pytest.fixture
def two(photos: Path) -> list[bytes]:
    return list(files_of(photos).values())[:2]


def test_a_tree_of_containers_as_of_the_hub(two: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---")
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        write_table(
            tmp_path / "en" / "data" / f"{name}.parquet",
            {"image": images_of([*two]), "label": pa.array([0, 1])},
            {"label": class_label("cat", "dog")},
        )
    (tmp_path / "again").symlink_to(tmp_path)
    source = open_source(tmp_path)
    found = [(row["path"], row["label"], row["split"]) for row in rows_of(source)]
    assert found[:3] == [
        ("en/data/test-00000-of-00001.parquet/0.jpg", "cat", "test"),
        ("en/data/test-00000-of-00001.parquet/1.jpg", "dog", "test"),
        ("en/data/train-00000-of-00002.parquet/0.jpg", "cat", "train"),
    ]
    assert list(fetch_all(source).values()) == two * 3


def test_folders_of_shards_are_labels_where_shards_say_none(
    two: list[bytes], tmp_path: Path
) -> None:
    for folder in ("shards/train/cat", "shards/train/dog"):
        (tmp_path / folder).mkdir(parents=True)
        make_tar(tmp_path / folder / "000000.tar", {"a.b.jpg": two[0], "a.c.jpg": two[1]})
    rows = rows_of(open_source(tmp_path))
    assert [row["path"] for row in rows][:2] == [
        "shards/train/cat/000000.tar/a.b.jpg",
        "shards/train/cat/000000.tar/a.c.jpg",
    ]
    assert [row["label"] for row in rows] == ["cat", "cat", "dog", "dog"]
    assert {row["split"] for row in rows} == {"train"}
    (tmp_path / "shards" / "train" / "1.jpg").write_bytes(two[0])
    assert isinstance(open_source(tmp_path), LocalSource)


@pytest.mark.parametrize(
    ("columns", "features", "labels", "note"),
    [
        ({"kind": [1, 0]}, {"kind": class_label("a", "b")}, ["b", "a"], None),
        ({"label": [True, False]}, {}, [None, None], "the column label holds bool"),
        ({"label": [[0, 1], [1]]}, {}, [None, None], r"the column label holds list<.*int64>, not"),
        (
            {"fine": [0, 1], "coarse": [0, 0]},
            {"fine": class_label("a", "b"), "coarse": class_label("c")},
            [None, None],
            "no column is called label, and fine, coarse may be",
        ),
        ({"label": pa.array(["a", "b"]).dictionary_encode()}, {}, ["a", "b"], None),
    ],
)
def test_labels_of_a_table_or_why_there_are_none(
    columns: dict[str, Any],
    features: dict[str, Any],
    labels: list[str | None],
    note: str | None,
    two: list[bytes],
    tmp_path: Path,
) -> None:
    given = {name: pa.array(values) for name, values in columns.items()}
    path = write_table(tmp_path / "t.parquet", {"image": images_of([*two]), **given}, features)
    source = open_source(path)
    assert [row["label"] for row in rows_of(source)] == labels
    notes = notes_of(source)
    assert len(notes) == (note is not None)
    assert note is None or re.match(note, notes[0])


def test_tables_and_files_without_an_image_in_each_row_are_refused(
    two: list[bytes], tmp_path: Path
) -> None:
    rows = pa.array([[{"bytes": two[0], "path": "a"}]] * 2)
    for name, column, told in (
        ("paths", images_of([None, None]), "paths alone, without bytes: give their own folder"),
        ("lists", rows, "images holds lists: write one image in each row"),
        ("none", pa.array([1, 2]), "none is binary: images$"),
    ):
        path = write_table(tmp_path / f"{name}.parquet", {"images": column}, {})
        with pytest.raises(SourceError, match=rf"cannot take images from .*{name}.*{told}"):
            open_source(path).scan()
    (tmp_path / "disk" / "train").mkdir(parents=True)
    (tmp_path / "disk" / "train" / "data-00000-of-00001.arrow").write_bytes(b"\xff\xff\xff\xff")
    with pytest.raises(SourceError, match=r"train/data-00000-of-00001\.arrow .* as Parquet first"):
        open_source(tmp_path / "disk")


def test_containers_beside_images_are_left_out_as_before(photos: Path, tmp_path: Path) -> None:
    files = files_of(photos)
    make_zip(tmp_path / "backup.zip", files)
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8b")
    (tmp_path / "apple").mkdir()
    (tmp_path / "apple/1.jpg").write_bytes(next(iter(files.values())))
    source = open_source(tmp_path)
    assert isinstance(source, LocalSource)
    assert source.scan().skipped == {"named *.zip": 1, "named *.gz": 1}


@pytest.mark.parametrize("name", ["stored.zip", "deflated.zip", "pax.tar"])
def test_damaged_bytes_cost_one_image(name: str, photos: Path, tmp_path: Path) -> None:
    files = files_of(photos)
    path = MAKERS[name](tmp_path / name, files)
    data = bytearray(path.read_bytes())
    hit = list(files)[5].encode()
    at = data.index(hit)
    if name.endswith(".tar"):  # its header: the member is lost, and a sync refused
        data[at : at + 4] = b"\xff" * 4
    else:
        data[at + len(hit) + 40 : at + len(hit) + 60] = bytes(20)
    path.write_bytes(data)
    found = fetch_all(source := open_source(path))
    if name.endswith(".tar"):
        assert len(source.scan().unlisted) == 1
    else:
        assert found.pop(hit.decode()) == "corrupt"
    del files[hit.decode()]
    assert found == files


def test_tars_that_were_appended_to_each_other_are_one(photos: Path, tmp_path: Path) -> None:
    files = files_of(photos)
    first, second = dict(list(files.items())[:9]), dict(list(files.items())[9:])
    one, other = make_tar(tmp_path / "1.tar", first), make_tar(tmp_path / "2.tar", second)
    (tmp_path / "all.tar").write_bytes(one.read_bytes() + other.read_bytes())
    source = open_source(tmp_path / "all.tar")
    assert fetch_all(source) == files
    assert not source.scan().unlisted


def test_a_tar_that_ends_early_costs_its_last_image(photos: Path, tmp_path: Path) -> None:
    files = files_of(photos)
    path = make_tar(tmp_path / "cut.tar", files)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(list(files)[9].encode()) + 600])
    found = fetch_all(open_source(path))
    assert list(found.values()) == [*list(files.values())[:9], "corrupt"]


def test_a_damaged_row_group_costs_its_rows(photos: Path, tmp_path: Path) -> None:
    files = files_of(photos)
    path = make_parquet(tmp_path / "a.parquet", files)
    data = bytearray(path.read_bytes())
    at = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    data[at : at + 200] = b"\xff" * 200
    path.write_bytes(data)
    found = fetch_all(open_source(path))
    assert [row for row, got in enumerate(found.values()) if got == "corrupt"] == list(range(7, 14))
    assert sum(found[name] == files[name] for name in files) == len(files) - 7


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """A member that says 100 bytes and inflates to 64 MiB; members that share their bytes."""
    zeros = bytes(64 * 2**20)
    path = make_zip(tmp_path / "bomb.zip", {"a.jpg": zeros, "b.jpg": b"b"}, zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    first = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, first + 24, 100)
    path.write_bytes(data)
    assert fetch_all(open_source(path)) == {"a.jpg": "corrupt", "b.jpg": b"b"}
    second = data.index(b"PK\x01\x02", first + 4)
    struct.pack_into("<I", data, second + 42, 10)  # within the first member
    path.write_bytes(data)
    assert fetch_all(open_source(path)) == {"a.jpg": "corrupt", "b.jpg": "corrupt"}


def test_a_member_that_says_it_is_huge_is_not_read(photos: Path, tmp_path: Path) -> None:
    """Its size would be the rest of the archive, whatever that holds."""
    files = dict(list(files_of(photos).items())[:3])
    path = make_tar(tmp_path / "huge.tar", files, tarfile.GNU_FORMAT)
    data = bytearray(path.read_bytes())
    info = tarfile.TarInfo(list(files)[2])
    info.size = 2**40
    at = data.index(info.name.encode())
    data[at : at + 512] = info.tobuf(tarfile.GNU_FORMAT)
    path.write_bytes(data)
    assert list(fetch_all(open_source(path)).values()) == [*list(files.values())[:2], "too_large"]


@pytest.mark.parametrize("kind", ["another method", "encrypted"])
def test_members_of_a_kind_that_is_not_read_are_unsupported(
    kind: str, photos: Path, tmp_path: Path
) -> None:
    files = dict(list(files_of(photos).items())[:2])
    method = zipfile.ZIP_BZIP2 if kind == "another method" else zipfile.ZIP_STORED
    path = make_zip(tmp_path / "odd.zip", files, method)
    if kind == "encrypted":  # as the directory says of its first member
        data = bytearray(path.read_bytes())
        data[data.index(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(data)
    found = list(fetch_all(open_source(path)).values())
    assert found[0] == "unsupported"
    assert found[1] == ("unsupported" if kind == "another method" else list(files.values())[1])


def test_a_row_group_that_is_too_large_is_not_read(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_parquet(tmp_path / "large.parquet", files_of(photos))
    monkeypatch.setattr("pomona.images.containers.tables.MAX_READ_BYTES", 1_000)
    assert set(fetch_all(open_source(path)).values()) == {"too_large"}


def test_names_that_lead_out_are_left_out(tmp_path: Path) -> None:
    names = ["../out.jpg", "/etc/out.jpg", "a/../../out.jpg", "./in/1.jpg"]
    for path in (
        make_zip(tmp_path / "a.zip", dict.fromkeys(names, b"x")),
        make_tar(tmp_path / "a.tar", dict.fromkeys(names, b"x")),
    ):
        scan = open_source(path).scan()
        assert scan.catalog["path"].to_pylist() == ["in/1.jpg"]
        assert sum(scan.skipped.values()) == 3


def test_a_container_that_changes_is_an_error(photos: Path, tmp_path: Path) -> None:
    files = files_of(photos)
    path = make_tar(tmp_path / "a.tar", files)
    source = open_source(path)
    row = source.scan().catalog.to_pylist()[0]
    make_tar(path, dict(list(files.items())[1:]))
    with pytest.raises(ImageError, match="changed"):
        source.fetch(row["path"], row["fingerprint"])


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.tar.gz", b"\x1f\x8b", "decompress it to .tar first"),
        ("a.zip", b"PK\x03\x04 cut off", "its directory cannot be read"),
        ("a.zip", b"<html>", "no zip file"),
        ("a.tar", b"x" * 2000, "does not begin with a member"),
        ("a.parquet", b"PAR1 cut off", "cannot be read"),
    ],
)
def test_what_is_no_container_is_said_in_a_line(
    name: str, data: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=said) as raised:
        open_source(tmp_path / name).scan()
    assert "\n" not in str(raised.value)


def test_parquet_columns_by_name_and_names_that_repeat(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = {
        "path": ["file:/data/apple/0.jpg", "dbfs:/data/pear/0.jpg", "same.jpg", "same.jpg", None],
        "content": pa.array([b"a", b"b", b"c", b"d", None], pa.binary()),
        "other": pa.array([b""] * 5, pa.binary()),
    }
    pq.write_table(pa.table(table), path)
    source = open_source(path)
    assert fetch_all(source) == {
        "data/apple/0.jpg": b"a",
        "data/pear/0.jpg": b"b",
        "00000002-same.jpg": b"c",
        "00000003-same.jpg": b"d",
        "00000004": "not_found",
    }
    labels = {row["path"]: row["label"] for row in rows_of(source)}
    assert labels["data/pear/0.jpg"] == "pear"
    pq.write_table(pa.table({"x": table["content"], "y": table["other"]}), path)
    with pytest.raises(SourceError, match="several could: x, y"):
        open_source(path).scan()
    pq.write_table(pa.table({"x": [1.0]}), path)
    with pytest.raises(SourceError, match="none is binary"):
        open_source(path).scan()


@pytest.mark.parametrize("name", ["deflated.zip", "pax.tar", "images.parquet"])
def test_in_a_bucket_it_is_read_in_few_requests(
    name: str, bucket: Place, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = files_of(photos)
    data = MAKERS[name](tmp_path / name, files).read_bytes()
    bucket.server.client().put_object(Bucket=bucket.name, Key=f"in {name}/{name}", Body=data)
    asked: list[str] = []
    get = Bucket.get

    def counting(self: Bucket, key: str, **how: Any) -> Got:
        asked.append(key)
        return get(self, key, **how)

    monkeypatch.setattr(Bucket, "get", counting)
    bucket.server.client().put_object(
        Bucket=bucket.name, Key=f"tree {name}/data/.hidden.jpg", Body=b"x"
    )
    bucket.server.client().put_object(Bucket=bucket.name, Key=f"tree {name}/data/{name}", Body=data)
    for where, prefix in (
        (f"in {name}/{name}", ""),
        (f"in {name}", f"{name}/"),
        (f"tree {name}", f"data/{name}/"),
    ):
        source = open_source(bucket.at(where))
        asked.clear()
        assert fetch_all(source) == {f"{prefix}{path}": image for path, image in files.items()}
        assert len(asked) <= 4
