"""Stores and sources in a bucket: the same bytes as on disk, by every engine."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from conftest import Pomona, contents, draw_photos
from pomona.api import open as open_store
from pomona.api import run as run_pomona
from pomona.engines.registry import ENGINES
from pomona.errors import ObjectStoreError, StoreBusyError
from pomona.store.folders.registry import open_folder
from pomona.store.layout import MANIFEST
from s3_server import ACCESS_KEY, SECRET_KEY, Place, bucket, s3_server

__all__ = ["bucket", "s3_server"]

PLANTED = Pomona(env={"PYTHONPATH": str(Path(__file__).parents[1] / "planted")})
FOLDERS = ("features", "pca", "metadata", "errors", "csv", "model_info")


def held(found: dict[str, Any]) -> dict[str, Any]:
    """What of a store's files makes it the same as another."""
    return {name: data for name, data in found.items() if name.partition("/")[0] in FOLDERS}


def same_content(found: dict[str, Any]) -> dict[str, Any]:
    """The same without what must differ between sources: fingerprints, and digests of them."""
    same: dict[str, Any] = {}
    for name, data in held(found).items():
        if name.endswith(".parquet"):
            table = pq.read_table(pa.BufferReader(data)).replace_schema_metadata()
            names = [column for column in table.column_names if column != "fingerprint"]
            same[name] = table.select(names)
        elif not name.startswith("csv/"):  # which has the tables' rows
            same[name] = data
    return same


class Story:
    """A source on disk and in a bucket, and stores of it in a bucket and on disk."""

    def __init__(self, folder: Path, bucket: Place) -> None:
        self.folder, self.bucket = folder, bucket
        # Enough that a task takes several shards.
        self.source = draw_photos(folder / "photos", 150)

    def run(self, **settings: Any) -> None:
        given = {"workers": 2, "progress": False, **settings}
        address = self.bucket.upload(self.source, "photos")
        run_pomona(self.source, self.folder / "disk", **given)
        run_pomona(self.source, self.bucket.at("mixed"), **given)
        # By processes of their own: a Java that is there already keeps the environment it had.
        flags = [word for name, value in settings.items() for word in (f"--{name}", value)]
        for engine in ENGINES:
            place = self.bucket.at(engine)
            Pomona().done("run", address, place, "--engine", engine, "--workers", 2, *flags)

    def first(self) -> None:
        self.run()

    def grown_and_damaged(self) -> None:
        draw_photos(self.source, 30, seed=1)
        images = sorted(self.source.rglob("*.jpg"))
        images[0].write_bytes(images[0].read_bytes()[:300])
        images[1].write_bytes(b"")
        Image.new("RGB", (20, 30), "green").save(images[2])
        self.run(components=5)

    def lost(self) -> None:
        """Files of the stores are gone, and one is cut off."""
        client, name = self.bucket.server.client(), self.bucket.name
        shutil.rmtree(self.folder / "disk/csv")
        (self.folder / "disk/features/part-00001.parquet").unlink()
        os.truncate(self.folder / "disk/metadata/part-00000.parquet", 100)
        for store in ("mixed", *ENGINES):
            client.delete_object(Bucket=name, Key=f"{store}/features/part-00001.parquet")
            client.delete_object(Bucket=name, Key=f"{store}/csv/errors/part-00000.csv")
            client.put_object(
                Bucket=name, Key=f"{store}/metadata/part-00000.parquet", Body=bytes(100)
            )
        self.run()


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, bucket: Place) -> Story:
    return Story(tmp_path_factory.mktemp("story"), bucket)


@pytest.mark.spark
@pytest.mark.any_spark  # the story on disks is told with 3.5; a bucket is plain data to an engine
@pytest.mark.parametrize("chapter", ["first", "grown_and_damaged", "lost"])
def test_every_engine_writes_the_same_bytes_as_on_a_disk(story: Story, chapter: str) -> None:
    getattr(story, chapter)()
    disk = contents(story.folder / "disk")
    files = {name: data for name, data in held(disk).items() if data is not None}
    mixed = held(story.bucket.contents("mixed"))
    assert mixed.keys() == files.keys()
    assert [name for name in files if files[name] != mixed[name]] == []
    local = story.bucket.contents("local")
    assert held(story.bucket.contents("spark")) == held(local)
    wanted, found = same_content(files), same_content(local)
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if wanted[name] != found[name]] == []
    assert story.bucket.unfinished() == 0


@pytest.mark.spark  # it goes on with the story
@pytest.mark.any_spark
def test_a_store_in_a_bucket_is_used_as_one_on_disk(
    story: Story, pomona: Pomona, tmp_path: Path
) -> None:
    """After the story: reduce, report, forget and verify, and reading it from Python."""
    source, store = story.bucket.at("photos"), story.bucket.at("local")
    assert "Nothing to do" in pomona.done("run", source, store).stdout
    pomona.done("reduce", store, "--components", "3", "--quiet")
    assert pomona.done("report", store).stdout.strip() == f"{store}/report.html"
    victim = "Training/Pear/photo 0-002.jpg"
    pomona.done("forget", store, victim, "--quiet")
    seen = pomona.done("verify", store)
    assert "OK: 179 images" in seen.stdout
    opened = open_store(store)
    assert opened.pca().array.shape[1] == 3
    assert victim not in opened.metadata()["path"].to_pylist()
    assert repr(opened) == f"<pomona store {store}>"
    plain = pq.read_table(story.bucket.download("local", tmp_path) / "pca")
    assert len(plain) == len(opened.pca())


def test_a_crash_costs_one_image_of_those_that_a_task_takes(bucket: Place, tmp_path: Path) -> None:
    photos = draw_photos(tmp_path / "photos", 200)
    crashed = "Test/Plum 2/a crash.jpg"
    Image.new("RGB", (32, 32), "red").save(photos / crashed, comment=b"crash")
    source, store = bucket.upload(photos, "crashing"), bucket.at("crashed")
    PLANTED.done("run", source, store, "--workers", "1", "--max-error-rate", "1", "--quiet")
    found = open_store(store)
    [error] = found.errors().to_pylist()
    assert (error["path"], error["reason"]) == (crashed, "crashed")
    assert "OK: 201 images" in PLANTED.done("verify", store).stdout
    [run] = found.manifest["runs"]
    assert (run["images"], run["retries"]) == (201, 1)


def test_images_with_odd_keys_are_taken(bucket: Place, pomona: Pomona) -> None:
    data = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(data, "JPEG")
    names = [
        f"{odd}/a{odd}b.jpg" for odd in (" ", "+", "#", "%", "%20", "~", "[1]", "é", "\\", "?")
    ]
    for name in names:
        bucket.server.client().put_object(
            Bucket=bucket.name, Key=f"odd/{name}", Body=data.getvalue()
        )
    out = bucket.at("odd out")
    pomona.done("run", bucket.at("odd"), out, "--quiet")
    features = open_store(out).features()
    assert features.paths == sorted(name.replace("\\", "\\\\") for name in names)
    assert features.labels == [path.partition("/")[0] for path in features.paths]
    assert "OK: " in pomona.done("verify", out, "--source", bucket.at("odd")).stdout


def test_an_image_that_changes_after_the_scan_is_an_error(bucket: Place, tmp_path: Path) -> None:
    from pomona.errors import ImageError
    from pomona.images.sources.registry import open_source

    bucket.upload(draw_photos(tmp_path / "p", 3), "changing")
    source = open_source(bucket.at("changing"))
    rows = source.scan().catalog.to_pylist()
    first, second, third = ((row["path"], row["fingerprint"]) for row in rows)
    client = bucket.server.client()
    client.put_object(Bucket=bucket.name, Key=f"changing/{first[0]}", Body=b"other")
    client.delete_object(Bucket=bucket.name, Key=f"changing/{second[0]}")
    with pytest.raises(ImageError, match="changed"):
        source.fetch(*first)
    with pytest.raises(ImageError, match="not_found"):
        source.fetch(*second)
    assert source.fetch(first[0]) == b"other"
    assert source.fetch(*third) == (tmp_path / "p" / third[0]).read_bytes()


@pytest.mark.needs("s3 credentials")
@pytest.mark.parametrize("engine", ENGINES)
def test_no_credential_is_written_down(
    engine: str, bucket: Place, photos: Path, tmp_path: Path
) -> None:
    """Whether a run succeeds or fails, in what it says, logs or stores."""
    source, log = bucket.upload(photos, "leak"), tmp_path / "log"
    flags = ("--engine", engine, "--workers", "1", "--log-file", log)
    ended = [Pomona().done("run", source, bucket.at(f"leak {engine}"), *flags)]
    wrong = {"AWS_SECRET_ACCESS_KEY": f"{SECRET_KEY}x", "POMONA_DEBUG": "1"}
    ended.append(Pomona(env=wrong)("run", source, bucket.at(f"leak {engine}"), *flags))
    assert [end.status for end in ended] == [0, 1]
    told = "".join(end.stdout + end.stderr for end in ended).encode() + log.read_bytes()
    told += b"".join(bucket.contents(f"leak {engine}").values())
    assert b"leak" in told
    for secret in (ACCESS_KEY, SECRET_KEY):
        assert secret.encode() not in told


def test_a_bucket_must_be_reachable_to_be_opened(bucket: Place) -> None:
    with pytest.raises(ObjectStoreError, match="there is no bucket s3://no-such-bucket"):
        open_store("s3://no-such-bucket/out")


def test_a_manifest_replaces_only_what_was_read_of_it(bucket: Place) -> None:
    mine, other = (open_folder(bucket.at("told")) for _ in range(2))
    mine.write(MANIFEST, b"1")
    mine.write(MANIFEST, b"2")
    assert other.read(MANIFEST) == b"2"
    mine.write(MANIFEST, b"3")
    with pytest.raises(StoreBusyError, match="was changed by another command"):
        other.write(MANIFEST, b"4")
    assert bucket.contents("told") == {MANIFEST: b"3"}
