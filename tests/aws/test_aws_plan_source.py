"""`pomona aws plan SOURCE`: images counted, headers read, nothing decoded or written."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from conftest import Here, contents
from in_process import run_in_process
from pomona.pipeline.context import RunSettings
from pomona.transfer.pack import PackSettings, make_pack
from s3_server import Place, bucket, s3_server

__all__ = ["bucket", "s3_server"]


def draw(folder: Path, number: int, size: tuple[int, int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(number):
        Image.new("RGB", size, (index, 0, 0)).save(folder / f"{index}.png")


def plan(source: Path | str, *args: object) -> dict[str, Any]:
    ended = run_in_process("aws", "plan", source, "out", "--region", "eu-west-1", "--json", *args)
    assert ended.status == 0, ended.stderr
    assert not Path("out").exists()
    content: dict[str, Any] = json.loads(ended.stdout)
    return content


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan") / "photos"
    draw(folder / "small", 20, (30, 20))
    draw(folder / "large", 20, (300, 200))
    return folder


def test_a_folder_is_counted_and_eight_headers_are_read(photos: Path) -> None:
    before = contents(photos)
    sizes = [len(data) for data in before.values() if data is not None]
    content = plan(photos)
    assert content["images"] == 40
    assert content["image_bytes"] == round(sum(sizes) / 40, 1)
    assert content["image_pixels"] == (600 + 60_000) / 2
    assert content["packed"]
    assert content["notes"] == [
        "Their size in pixels is that of 8 images of them.",
        "They count as packed: run `pomona pack`, and upload the pack with "
        "`aws s3 cp --recursive`.",
    ]
    assert contents(photos) == before


def test_images_can_be_left_out_and_pixels_be_given(photos: Path) -> None:
    content = plan(photos, "--include", "large/*", "--exclude", "0.png", "--pixels", "1MP")
    assert (content["images"], content["image_pixels"]) == (19, 1_000_000)


def test_a_container_is_counted(photos: Path) -> None:
    archive = photos.parent / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((photos / "large").iterdir()):
            file.write(path, f"large/{path.name}")
    content = plan(archive)
    assert (content["images"], content["image_pixels"], content["packed"]) == (20, 60_000, True)


def test_objects_of_a_bucket_are_counted_each_until_they_are_packed(
    photos: Path, bucket: Place
) -> None:
    content = plan(bucket.upload(photos, "photos"))
    assert (content["images"], content["image_pixels"]) == (40, (600 + 60_000) / 2)
    assert not content["packed"]
    items = content["chosen"]["items"]
    paid = items["requests"] + items["kms"] + items["audit"]
    assert paid == pytest.approx(content["single_objects_usd"], abs=0.0001)
    make_pack(bucket.at("pack"), PackSettings(photos), RunSettings(Here()))
    packed = plan(bucket.at("pack"))
    assert (packed["images"], packed["image_pixels"]) == (40, (600 + 60_000) / 2)
    assert packed["packed"]
    assert packed["single_objects_usd"] > packed["packed_objects_usd"]


def test_headers_that_cannot_be_read_leave_the_assumption(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x" * 5000)
    (tmp_path / "photos" / "b.jpg").write_bytes(b"")
    content = plan(tmp_path / "photos")
    assert (content["images"], content["image_bytes"]) == (2, 2500)
    assert content["image_pixels"] == 5000
    assert content["notes"][1:] == ["Their size in pixels is assumed: 2 for each byte."]


@pytest.mark.parametrize(
    ("name", "complaint"), [("empty", "no images in "), ("nowhere", "does not exist: check")]
)
def test_a_source_without_images_is_one_line(tmp_path: Path, name: str, complaint: str) -> None:
    (tmp_path / "empty").mkdir()
    ended = run_in_process("aws", "plan", tmp_path / name, "out", "--region", "eu-west-1")
    assert (ended.status, ended.stdout) == (1, "")
    assert complaint in ended.complaint
    assert len(ended.stderr.splitlines()) == 1
