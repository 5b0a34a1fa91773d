"""Nothing that an image says beside its pixels reaches what a run writes."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damage import cut, flip_bits, overwrite, shuffle_parts
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin

import pomona as api
from conftest import Pomona
from drawn import chunk, encode, noise, png, segment

# Any four letters of it are found, as a chunk's name that is quoted in an error has.
SECRET = "zq" * 20
PIECES = (b"zqzq", b"zq-q", b"qzqz", "zqzq".encode("utf-16-le"))


def exif() -> Image.Exif:
    """A camera, a place, a time, its maker's notes, and a thumbnail."""
    tags = Image.Exif()
    for tag in ("Make", "Model", "Software", "DateTime", "Artist", "ImageDescription", "Copyright"):
        tags[ExifTags.Base[tag]] = SECRET
    camera = tags.get_ifd(ExifTags.IFD.Exif)
    for tag in ("BodySerialNumber", "DateTimeOriginal", "CameraOwnerName", "LensModel"):
        camera[ExifTags.Base[tag]] = SECRET
    camera[ExifTags.Base.MakerNote] = camera[ExifTags.Base.UserComment] = SECRET.encode()
    place = tags.get_ifd(ExifTags.IFD.GPSInfo)
    place[ExifTags.GPS.GPSAreaInformation] = SECRET.encode()
    place[ExifTags.GPS.GPSDateStamp] = SECRET
    thumbnail = tags.get_ifd(ExifTags.IFD.IFD1)
    thumbnail[ExifTags.Base.ImageDescription] = SECRET
    return tags


def telling() -> dict[str, bytes]:
    """Files that tell the secret wherever their format has a place for it."""
    image = Image.fromarray(noise(24, 32))
    told, xmp = SECRET.encode(), f"<x:xmpmeta><photo>{SECRET}</photo></x:xmpmeta>".encode()
    iptc = b"\x1c\x02\x78" + len(told).to_bytes(2, "big") + told
    jpeg = encode(image, "JPEG", exif=exif(), xmp=xmp, comment=told, icc_profile=told * 4)
    photoshop = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + len(iptc).to_bytes(4, "big") + iptc
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", SECRET)
    text.add_text(SECRET, SECRET, zip=True)
    text.add_itxt("XML:com.adobe.xmp", xmp.decode())
    text.add(b"prVt", told)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag in ("Make", "Model", "Software", "DateTime", "Artist", "ImageDescription"):
        tags[ExifTags.Base[tag]] = SECRET
    tags[700], tags[33723] = xmp, iptc
    tags.tagtype.update({700: 1, 33723: 7})
    gif = encode(image.quantize(16), "GIF", comment=told)
    extension = b"!\xff\x0bXMP DataXMP" + bytes([len(told)]) + told + b"\0"
    return {
        "jpg": jpeg[:2] + segment(0xED, photoshop) + segment(0xE5, told) + jpeg[2:],
        "png": encode(image, "PNG", exif=exif(), pnginfo=text, icc_profile=told * 4),
        "webp": encode(image, "WEBP", exif=exif(), xmp=xmp, icc_profile=told * 4),
        "tif": encode(image, "TIFF", tiffinfo=tags, compression="tiff_lzw", icc_profile=told * 4),
        "gif": gif[:-1] + extension + gif[-1:],
    }


def quoted() -> bytes:
    """A PNG whose pixels are cut off where Pillow takes a piece of the text for a chunk's name."""
    pixels = zlib.compress(bytes(33 * 32), 0)[:-200]
    text = chunk(b"tEXt", b"k\0" + b"zq-q" * 20)
    reach = len(pixels) + 4 + 8 + 2 + 8
    begun = png(32, 32, 8, 0, b"").partition(b"\0\0\0\x08IDAT")[0]
    return begun + struct.pack(">I", reach) + b"IDAT" + pixels + bytes(4) + text


def traces(folder: Path) -> Iterator[str]:
    """The files under a folder that hold a piece of the secret, also packed or in base 64."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
            data += f"{table.schema.metadata} {table.select(texts).to_pydict()}".encode()
        for packed in re.findall(rb"base64,([A-Za-z0-9+/=]+)", data):
            data += base64.b64decode(packed)
        if any(piece in data for piece in PIECES):
            yield path.relative_to(folder).as_posix()


@pytest.fixture(scope="module")
def told(pomona: Pomona, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the images (source), a store of them (out/store) and what was said of them."""
    folder, random = tmp_path_factory.mktemp("telling"), Random(0)  # noqa: S311
    for suffix, data in telling().items():
        (folder / "source" / suffix).mkdir(parents=True)
        (folder / "source" / suffix / f"good.{suffix}").write_bytes(data)
        for number in range(40):
            way = random.choice([cut, flip_bits, overwrite, shuffle_parts])
            path = folder / "source" / suffix / f"{way.__name__} {number}.{suffix}"
            path.write_bytes(way(data, random))
    (folder / "source" / "png" / "quoted.png").write_bytes(quoted())
    (folder / "out").mkdir()
    flags = ("--workers", "2", "--max-error-rate", "1", "--log-file", folder / "out" / "log")
    ended = pomona.done("run", folder / "source", folder / "out" / "store", *flags)
    (folder / "out" / "said").write_text(ended.stdout + ended.stderr)
    return folder


def test_every_image_tells_the_secret_that_is_searched_for(told: Path) -> None:
    good = {path for path in traces(told / "source") if "/good." in path}
    assert good == {f"{suffix}/good.{suffix}" for suffix in telling()}


def test_nothing_of_it_is_written(told: Path) -> None:
    store = api.open(told / "out" / "store")
    errors = store.errors().to_pylist()
    assert len(store.features()) + len(errors) == 5 * 41 + 1
    assert not [row for row in errors if "/good." in row["path"]]
    [row] = [row for row in errors if "/quoted." in row["path"]]
    assert (row["reason"], row["detail"]) == ("corrupt", "broken PNG file (chunk …)")
    assert len({row["detail"] for row in errors}) > 10
    assert list(traces(told / "out")) == []


def test_paths_are_relative(told: Path) -> None:
    store = api.open(told / "out" / "store")
    written = [store.errors().to_pylist(), store.metadata().to_pylist(), store.features().paths]
    assert str(told) not in str(written)
