"""Packs, uploads and downloads with a real S3 server: what arrives, what is sent, after a kill."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

import pomona as api
from conftest import Here, Pomona, contents, draw_photos, tables, wait_for
from drawn import encode
from pomona.errors import ObjectStoreError
from pomona.images.decode import decode
from pomona.images.sources.pack_format import MANIFEST
from pomona.pipeline.context import RunSettings
from pomona.s3 import etag
from pomona.s3.address import Address
from pomona.s3.bucket import open_bucket
from pomona.s3.objects import Listed
from pomona.store.folders.local import LocalFolder
from pomona.transfer.download import DownloadTask, download, fetch, is_safe
from pomona.transfer.pack import PackSettings, make_pack
from pomona.transfer.upload import UploadSettings, UploadSummary, upload
from s3_server import Place, Proxy, bucket, proxy, s3_server

__all__ = ["bucket", "s3_server"]

SECRET = b"N 48 51 24.12 E 2 21 03.30"


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def send(source: Path, to: str, *, strip: bool = True, dry_run: bool = False) -> UploadSummary:
    wanted = UploadSettings(source, strip_metadata=strip)
    return upload(to, wanted, RunSettings(Here()), dry_run=dry_run)


@pytest.fixture(scope="module")
def located(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 images in odd folders, the JPEGs with a place in EXIF; not to be changed."""
    folder = draw_photos(tmp_path_factory.mktemp("located") / "photos", 200)
    for number, path in enumerate(sorted(folder.rglob("*.jpg"))):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = number % 8 + 1
        exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSAreaInformation] = SECRET
        with Image.open(path) as image:
            path.write_bytes(encode(image, "JPEG", exif=exif, comment=SECRET))
    (folder / "Training" / "Pear" / "odd + # % ~ [ ] é.jpg").write_bytes(
        next(folder.rglob("*.jpg")).read_bytes()
    )
    return folder


@pytest.fixture(scope="module")
def before(s3_server: object, bucket: Place) -> Iterator[Proxy]:
    """A proxy before the bucket's server, which processes are told to use by `AWS_ENDPOINT_URL`."""
    with proxy(bucket.server) as found:
        yield found


def test_an_upload_that_was_killed_goes_on_and_then_sends_nothing(
    bucket: Place, before: Proxy, located: Path
) -> None:
    through = Pomona(env=bucket.server.env(before.endpoint))
    command = ("upload", located, bucket.at("killed"), "--workers", "2", "--json")
    before.set(Hold=60, When="after")
    process = through.start(*command)
    wait_for(lambda: bool(before.counts["Reached"]))
    process.kill()
    through.end(process)
    before.set()
    first = len(bucket.contents("killed"))
    assert 0 < first < 201
    result = json.loads(through.done(*command).stdout)
    assert result["sent"] + result["there"] == 201
    assert result["there"] >= first
    arrived = bucket.contents("killed")
    local = files(located)
    assert arrived.keys() == local.keys()
    for name, data in arrived.items():
        assert np.array_equal(decode(data).pixels, decode(local[name]).pixels)
        assert SECRET not in data
        assert b"GPS" not in data
    assert any(SECRET in data for data in local.values())
    before.set()
    again = json.loads(through.done(*command).stdout)
    assert (again["sent"], again["there"]) == (0, 201)
    assert before.counts["Writes"] == 0
    assert "PUT" not in before.counts["Methods"]
    assert bucket.unfinished() == 0


def test_a_network_that_fails_now_and_then_loses_nothing(
    bucket: Place, before: Proxy, located: Path, tmp_path: Path
) -> None:
    through = Pomona(env=bucket.server.env(before.endpoint))
    before.set(Refuse=0.05, Reset=0.03, Seed=1)
    sent = json.loads(through.done("upload", located, bucket.at("bad"), "--json").stdout)
    assert (sent["sent"], sent["refused"]) == (201, [])
    through.done("download", bucket.at("bad"), tmp_path / "bad")
    assert min(before.counts["Refused"], before.counts["Resets"]) > 0
    before.set()
    assert files(tmp_path / "bad") == bucket.contents("bad")


def test_objects_are_compared_by_content(bucket: Place, tmp_path: Path) -> None:
    source, to = draw_photos(tmp_path / "photos", 12), bucket.at("content")
    planned = send(source, to, dry_run=True)
    assert (planned.sent, bucket.contents("content")) == (12, {})
    assert send(source, to, strip=False).sent == 12
    assert bucket.contents("content") == files(source)
    one, other, *_ = sorted(source.rglob("*.jpg"))
    one.touch()
    data = bytearray(other.read_bytes())
    data[-10] ^= 1
    other.write_bytes(data)
    result = send(source, to, strip=False)
    assert (result.sent, result.there) == (1, 11)
    assert bucket.contents("content") == files(source)


def test_bytes_are_compared_where_etags_do_not_tell(
    bucket: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, to = draw_photos(tmp_path / "photos", 6), bucket.at("kms")
    assert send(source, to).sent == 6
    monkeypatch.setattr("pomona.transfer.upload.etag_of", lambda file: "as KMS would have it")
    assert send(source, to).sent == 0


def test_uploads_of_other_programs_are_left_alone(
    bucket: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pomona.transfer.upload.DAY_S", 0.0)
    source, client = draw_photos(tmp_path / "photos", 2), bucket.server.client()
    own = f"shared/{min(files(source))}"
    for key in (own, "shared/backup.tar"):
        client.create_multipart_upload(Bucket=bucket.name, Key=key)
    assert send(source, bucket.at("shared")).sent == 2
    uploads = client.list_multipart_uploads(Bucket=bucket.name)["Uploads"]
    [left] = uploads
    client.abort_multipart_upload(Bucket=bucket.name, Key=left["Key"], UploadId=left["UploadId"])
    assert left["Key"] == "shared/backup.tar"


def test_refused_images_are_named(pomona: Pomona, bucket: Place, tmp_path: Path) -> None:
    source = draw_photos(tmp_path / "photos", 4)
    good = next(source.rglob("*.jpg"))
    (source / "cut.jpg").write_bytes(good.read_bytes()[:-100])
    (source / "gap.jpg").write_bytes(good.read_bytes()[:-150] + b"\xff\xd9")
    (source / "words.jpg").write_bytes(b"no image")
    (source / "notes.txt").touch()
    (source / ("x" * 200)).mkdir()
    ended = pomona("upload", source, bucket.at("named"))
    assert ended.status == 1
    reasons = "1 damaged, 1 not_an_image, 1 truncated"
    assert f"not sent: 3 ({reasons}), such as cut.jpg" in ended.complaint
    assert "4 images sent" in ended.stdout
    assert set(bucket.contents("named")) == set(files(source)) - {
        *("cut.jpg", "gap.jpg", "words.jpg", "notes.txt"),
    }
    pomona.done("upload", source, bucket.at("named"), "--no-strip-metadata", "--quiet")
    assert set(bucket.contents("named")) == set(files(source)) - {"notes.txt"}


def test_a_download_that_was_killed_goes_on_and_then_fetches_nothing(
    bucket: Place, before: Proxy, located: Path, tmp_path: Path
) -> None:
    bucket.upload(located, "down")
    through = Pomona(env=bucket.server.env(before.endpoint))
    command = ("download", bucket.at("down"), tmp_path / "down", "--workers", "1", "--json")
    process = through.start(*command)
    wait_for(lambda: len(list(tmp_path.glob("down/*/*/*"))) > 20)
    process.kill()
    through.end(process)
    some = files(tmp_path / "down")
    assert all(files(located)[name] == data for name, data in some.items() if "_pomona" not in name)
    through.done(*command)
    assert files(tmp_path / "down") == files(located)
    before.set()
    again = json.loads(through.done(*command).stdout)
    assert (again["fetched"], again["there"]) == (0, 201)
    # Of reading there is nothing but the listing.
    assert before.counts["Requests"] < 20


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (("upload", "photos", "elsewhere"), 2, "elsewhere is not an address: give s3://BUCKET"),
        (("upload", "nowhere", "s3://BUCKET/a"), 1, "nowhere does not exist"),
        (("upload", "photos", "s3://no-such-bucket-here"), 1, "no-such-bucket-here"),
        (("download", "photos", "elsewhere"), 2, "photos is not an address: give s3://BUCKET"),
        (("download", "s3://BUCKET/nothing", "elsewhere"), 1, "there is nothing at s3://"),
        (
            ("download", "s3://BUCKET/a", "s3://b/elsewhere"),
            2,
            "s3://b/elsewhere is not a folder on",
        ),
        (("download", "s3://no-such-bucket-here", "elsewhere"), 1, "no-such-bucket-here"),
        (("pack", "photos", "s3://no-such-bucket-here/pack"), 1, "no-such-bucket-here"),
    ],
)
def test_bad_input(
    bucket: Place, tmp_path: Path, args: tuple[str, ...], status: int, said: str
) -> None:
    draw_photos(tmp_path / "photos", 2)
    here = Pomona(cwd=tmp_path)
    ended = here(*(arg.replace("BUCKET", bucket.name) for arg in args))
    assert ended.status == status, ended
    assert said in ended.complaint
    assert not list(tmp_path.glob("**/elsewhere"))


@pytest.mark.parametrize(
    "name", ["../a", "a/../../b", "/etc/passwd", "a//b", "./a", "a/.", "..", "", "a\0b"]
)
def test_names_that_would_leave_the_folder_are_refused(name: str) -> None:
    assert not is_safe(name)


def test_keys_that_cannot_be_files_are_refused(
    pomona: Pomona, bucket: Place, tmp_path: Path
) -> None:
    client = bucket.server.client()
    for key in ("a.txt", "b/c d é.txt", "link/x.txt", f"{'n' * 250}.txt"):
        client.put_object(Bucket=bucket.name, Key=f"keys/{key}", Body=b"x")
    folder = tmp_path / "keys"
    folder.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "b").write_text("a file in the way")
    ended = pomona("download", bucket.at("keys"), folder)
    assert ended.status == 1
    assert "2 keys cannot be saved in" in ended.complaint
    assert not list((tmp_path / "elsewhere").iterdir())
    assert (folder / "a.txt").read_text() == "x"


def test_an_object_deleted_during_the_download_is_reported(bucket: Place, tmp_path: Path) -> None:
    address = Address.parse(bucket.at("gone"))
    work = DownloadTask(open_bucket(address), address, LocalFolder(tmp_path), dry_run=False)
    with pytest.raises(ObjectStoreError, match=r"gone/a is gone: run the same command again"):
        fetch([Listed("gone/a", 5, "etag")], work)
    assert not (tmp_path / "a").exists()


def test_large_objects_come_in_pieces(
    bucket: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pomona.transfer.download.PIECE_BYTES", 1_000)
    data = np.random.default_rng(0).bytes(12_345)
    at = open_bucket(Address.parse(bucket.at()))
    at.put("large/data.bin", data)
    at.put("large/empty.bin", b"")
    result = download(bucket.at("large"), tmp_path / "large", RunSettings(Here()))
    assert (result.fetched, result.fetched_bytes) == (2, 12_345)
    assert files(tmp_path / "large") == {"data.bin": data, "empty.bin": b""}


def test_a_store_is_downloaded_whole_and_can_be_worked_on(
    pomona: Pomona, bucket: Place, finished: Path, photos: Path, tmp_path: Path
) -> None:
    bucket.upload(finished, "store")
    bucket.server.client().put_object(Bucket=bucket.name, Key="store/_pomona/lock", Body=b"{}")
    pomona.done("download", bucket.at("store"), tmp_path / "store", "--quiet")
    assert contents(tmp_path / "store") == contents(finished)
    assert json.loads(pomona.done("run", photos, tmp_path / "store", "--json").stdout)["ran"] == 0


def test_etags_are_those_of_the_server(
    bucket: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 5 * 2**20
    monkeypatch.setattr("pomona.s3.bucket.PART_BYTES", size)
    monkeypatch.setattr(etag, "PART_BYTES", size)
    at = open_bucket(Address.parse(bucket.at()))
    for length in (0, 10, size, size + 1, 2 * size, 2 * size + 3):
        (tmp_path / "data").write_bytes(bytes(length))
        with (tmp_path / "data").open("rb") as file:
            assert etag.etag_of(file) == at.put("etags/data", bytes(length))


# Packs in buckets


def test_a_pack_in_a_bucket(
    pomona: Pomona, bucket: Place, before: Proxy, photos: Path, finished: Path, tmp_path: Path
) -> None:
    """The same pack as on disk, and the same store, with few requests for its images."""
    through = Pomona(env=bucket.server.env(before.endpoint))
    address = bucket.at("pack")
    flags = ("--size", "12000", "--workers", "2")
    through.done("pack", photos, address, *flags)
    pomona.done("pack", photos, tmp_path / "pack", *flags)
    local = {name: data for name, data in files(tmp_path / "pack").items() if "_pomona" not in name}
    held = bucket.contents("pack")
    assert {name: data for name, data in held.items() if "_pomona" not in name} == local
    before.set()
    through.done("run", address, tmp_path / "out", "--workers", "1")
    assert tables(tmp_path / "out") == tables(finished)
    parts = sum(name.startswith("images/") for name in local)
    assert before.counts["Methods"].get("GET", 0) <= 4 * parts + 10


def test_a_pack_of_a_bucket_has_its_images(bucket: Place, tmp_path: Path) -> None:
    source = draw_photos(tmp_path / "photos", 20)
    address = bucket.upload(source, "folder")
    packed = make_pack(tmp_path / "pack", PackSettings(address), RunSettings(Here()))
    assert (packed.images, packed.errors) == (20, 0)
    api.run(address, tmp_path / "one", workers=1, progress=False)
    api.run(tmp_path / "pack", tmp_path / "other", workers=1, progress=False)
    assert tables(tmp_path / "one") == tables(tmp_path / "other")
    bucket.upload(tmp_path / "pack", "packs/one")
    shutil.rmtree(tmp_path / "pack")
    assert MANIFEST in bucket.contents("packs/one")
    api.run(bucket.at("packs/one"), tmp_path / "other", workers=1, progress=False)
    assert tables(tmp_path / "one") == tables(tmp_path / "other")
