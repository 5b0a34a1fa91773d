"""Metadata taken out of image files: nothing of it stays, and no pixel changes."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from random import Random

import numpy as np
import pytest
from damage import WAYS, entries, seeds, splice
from PIL import ExifTags, Image, ImageCms
from test_privacy import PIECES, SECRET, telling

from drawn import chunk, encode, gradients, noise, segment, tiff
from pomona.errors import ImageError
from pomona.images.decode import decode
from pomona.images.stripping.strip import strip_metadata

HEIGHT, WIDTH = 24, 32
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="8"/>' + SECRET.encode() + b"</x:xmpmeta>"
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")


@pytest.fixture(autouse=True)
def _calm() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def tells(data: bytes) -> list[bytes]:
    return [piece for piece in PIECES if piece in data]


def same_pixels(data: bytes, stripped: bytes) -> bool:
    return np.array_equal(decode(data).pixels, decode(stripped).pixels)


def turned(orientation: int, file_format: str) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Model] = SECRET
    place = exif.get_ifd(ExifTags.IFD.GPSInfo)
    place[ExifTags.GPS.GPSLatitude] = (48.0, 51.0, 24.0)
    place[ExifTags.GPS.GPSAreaInformation] = SECRET.encode()
    return encode(gradients(HEIGHT, WIDTH), file_format, exif=exif, icc_profile=PROFILE)


@pytest.mark.parametrize("kind", telling())
def test_nothing_that_an_image_tells_stays(kind: str) -> None:
    data = telling()[kind]
    assert tells(data)
    stripped = strip_metadata(data)
    assert not tells(stripped)
    assert same_pixels(data, stripped)
    assert strip_metadata(stripped) == stripped


@pytest.mark.parametrize("kind", seeds())
def test_pixels_of_every_kind_stay_as_they_are(kind: str) -> None:
    data = seeds()[kind]
    stripped = strip_metadata(data)
    assert same_pixels(data, stripped)
    assert b"comment" not in stripped
    assert strip_metadata(stripped) == stripped


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_all_that_stays_of_exif(orientation: int, file_format: str) -> None:
    data = turned(orientation, file_format)
    stripped = strip_metadata(data)
    assert same_pixels(data, stripped)
    assert not tells(stripped)
    with Image.open(io.BytesIO(stripped)) as image:
        exif = dict(image.getexif())
        assert exif.get(ExifTags.Base.Orientation, 1) == orientation
        assert not image.getexif().get_ifd(ExifTags.IFD.GPSInfo)
        assert ExifTags.Base.Model not in exif
        assert image.info["icc_profile"] == PROFILE


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_orientation_that_xmp_tells_stays(file_format: str) -> None:
    if file_format == "TIFF":
        data = encode(gradients(HEIGHT, WIDTH), file_format, tiffinfo={700: XMP})
    elif file_format == "PNG":
        plain = encode(gradients(HEIGHT, WIDTH), file_format)
        text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
        data = plain[:33] + text + plain[33:]
    else:
        data = encode(gradients(HEIGHT, WIDTH), file_format, xmp=XMP)
    assert decode(data).pixels.shape == (WIDTH, HEIGHT, 3)
    stripped = strip_metadata(data)
    assert same_pixels(data, stripped)
    assert not tells(stripped)


def test_a_jpegs_pixels_are_its_own_bytes() -> None:
    data = turned(6, "JPEG")
    stripped = strip_metadata(data)
    assert stripped.endswith(data[data.index(b"\xff\xdb") :])
    assert len(stripped) < len(data)


def test_thumbnails_and_what_follows_an_image_go() -> None:
    plain = encode(gradients(HEIGHT, WIDTH), "JPEG")
    small = b"JFIF\0\1\1\0\0\1\0\1\2\2" + SECRET.encode()[:12]
    data = plain[:2] + segment(0xE0, small) + plain[20:] + turned(1, "JPEG") + SECRET.encode()
    assert strip_metadata(data) == strip_metadata(plain)
    assert not tells(strip_metadata(data))


def test_text_that_says_it_is_a_profile_goes() -> None:
    false = encode(gradients(HEIGHT, WIDTH), "JPEG", icc_profile=SECRET.encode() * 9)
    assert strip_metadata(false) == strip_metadata(encode(gradients(HEIGHT, WIDTH), "JPEG"))


def test_bytes_of_a_tiff_that_nothing_leads_to_go() -> None:
    data = encode(noise(HEIGHT, WIDTH), "TIFF") + SECRET.encode()
    stripped = strip_metadata(data)
    assert (len(stripped), stripped[-40:]) == (len(data), bytes(40))
    assert same_pixels(data, stripped)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"words " + SECRET.encode(), "not_an_image"),
        (turned(1, "JPEG")[:-30], "truncated"),
        (turned(1, "PNG")[:-9], "truncated"),
        (turned(1, "WEBP")[:-9], "truncated"),
        (turned(1, "PNG").replace(b"IHDR", b"IHDX"), "corrupt"),
        (turned(1, "JPEG")[:300], "truncated"),
        (b"II*\0" + struct.pack("<I", 9_000_000), "corrupt"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        strip_metadata(data)
    assert (caught.value.stage, caught.value.reason) == ("strip", reason)


def test_damaged_files_are_refused_or_tell_nothing() -> None:
    """Splices are left out: they put one file's text where another one's header says pixels are."""
    random = Random(0)  # noqa: S311
    files = [*telling().values(), *seeds().values()]
    ways = [way for way in WAYS if way is not splice]
    outcomes: Counter[str] = Counter()
    for number in range(1_200):
        data = files[number % len(files)]
        for way in random.sample(ways, random.choice([1, 1, 1, 2, 3])):
            data = way(data, random) if len(data) > 16 else data
        try:
            stripped = strip_metadata(data)
        except ImageError as exc:
            outcomes[f"refused by {exc.stage}"] += 1
            continue
        assert not tells(stripped)
        assert len(stripped) <= len(data) + 64
        outcomes["stripped"] += 1
        try:
            before = decode(data, 1_000_000).pixels
        except ImageError:
            continue
        outcomes["good"] += 1
        try:
            outcomes["same"] += np.array_equal(before, decode(stripped, 1_000_000).pixels)
        except ImageError:
            outcomes[f"bad {data[:2]!r}"] += 1
    assert min(outcomes["refused by strip"], outcomes["same"]) > 200, outcomes
    # Of damaged TIFFs and BMPs a few are read differently: some bytes stood for two things.
    assert outcomes["good"] - outcomes["same"] <= outcomes["good"] // 100, outcomes
    known = {"refused by strip", "stripped", "good", "same"}
    assert outcomes.keys() - known <= {f"bad {start!r}" for start in (b"BM", b"II", b"MM", b"RI")}


def goes(data: bytes) -> bytes:
    """Stripped; what it told has gone, and its pixels have stayed."""
    stripped = strip_metadata(data)
    assert tells(data)
    assert not tells(stripped)
    assert same_pixels(data, stripped)
    assert strip_metadata(stripped) == stripped
    return stripped


def refused(data: bytes) -> tuple[str, str]:
    with pytest.raises(ImageError) as caught:
        strip_metadata(data)
    return caught.value.stage, caught.value.reason


def extension(name: bytes, *blocks: bytes) -> bytes:
    parts = b"".join(bytes([len(block)]) + block for block in blocks)
    return b"!\xff\x0b" + name + parts + b"\0"


def test_of_a_gifs_extensions_stays_what_they_are_for() -> None:
    plain, told = seeds()["gif"], SECRET.encode()
    at = plain.index(b"!\xf9")
    begun, control, rest = plain[:at], plain[at : at + 7], plain[at + 8 :]
    loop = extension(b"NETSCAPE2.0", b"\1\0\0")
    pieces = [PROFILE[at : at + 255] for at in range(0, len(PROFILE), 255)]
    profile = extension(b"ICCRGBG1012", *pieces)
    told_block = bytes([len(told)]) + told + b"\0"
    stripped = goes(
        begun + extension(b"NETSCAPE2.0", b"\1\0\0", told) + extension(b"ICCRGBG1012", told * 4)
        + extension(b"ANIMEXTS1.0", told) + profile + control + told_block + rest
    )  # fmt: skip
    kept = begun.partition(b"!\xfe")[0] + loop + profile + control + b"\0"
    assert stripped.startswith(kept)
    assert refused(begun + b"!\xf9" + told_block + rest) == ("strip", "corrupt")


@pytest.mark.parametrize("kind", ["bmp", "bmp palette", "bmp 16-bit", "bmp run-length"])
def test_a_bmps_bytes_before_its_pixels_tell_nothing(kind: str) -> None:
    data = seeds()[kind]
    [start] = struct.unpack_from("<I", data, 10)
    told = SECRET.encode()[:16]
    goes(data[:6] + b"zqzq" + struct.pack("<I", start + len(told)) + data[14:start] + told
         + data[start:])  # fmt: skip


@pytest.mark.parametrize("header", [64, 108, 124])
def test_a_bmps_long_header_tells_nothing(header: int) -> None:
    data, further = seeds()["bmp"], header - 40
    told = bytearray((SECRET.encode() * 3)[:further])
    start = struct.pack("<II", 54 + further, header)
    data = data[:10] + start + data[18:54] + told + data[54:]
    goes(data)


def test_a_bmp_of_another_kind_is_refused() -> None:
    data = bytearray(seeds()["bmp"])
    for compression in (4, 5):
        data[30] = compression
        assert refused(bytes(data)) == ("strip", "unsupported")
    data[30], data[14] = 0, 41
    assert refused(bytes(data)) == ("strip", "corrupt")


def with_chunk(data: bytes, name: bytes, content: bytes) -> bytes:
    return data[:33] + chunk(name, content) + data[33:]


def test_of_a_png_the_profile_stays_without_what_follows_it() -> None:
    plain = encode(gradients(HEIGHT, WIDTH), "PNG")
    packed = b"n\0\0" + zlib.compress(PROFILE, 1) + SECRET.encode()
    stripped = goes(with_chunk(plain, b"iCCP", packed))
    with Image.open(io.BytesIO(stripped)) as image:
        assert image.info["icc_profile"] == PROFILE


def test_a_png_keeps_no_chunk_that_its_kind_does_not_use() -> None:
    plain = encode(gradients(HEIGHT, WIDTH), "PNG")
    goes(with_chunk(plain, b"hIST", SECRET.encode()))
    goes(with_chunk(plain, b"PLTE", SECRET.encode()[:39]))


@pytest.mark.parametrize("name", [b"pHYs", b"tRNS", b"gAMA", b"cHRM", b"bKGD", b"sBIT", b"cLLI"])
def test_a_png_with_a_chunk_of_another_length_is_refused(name: bytes) -> None:
    plain = encode(gradients(HEIGHT, WIDTH), "PNG")
    assert refused(with_chunk(plain, name, SECRET.encode())) == ("strip", "corrupt")
    once = with_chunk(plain, b"pHYs", bytes(9))
    assert same_pixels(once, strip_metadata(once))
    assert refused(with_chunk(once, b"pHYs", b"zqzqzqzqz")) == ("strip", "corrupt")


def test_a_webp_with_pixels_twice_is_refused() -> None:
    plain = encode(gradients(HEIGHT, WIDTH), "WEBP")
    body = plain[8:] + b"VP8 " + struct.pack("<I", len(SECRET)) + SECRET.encode()
    assert refused(b"RIFF" + struct.pack("<I", len(body)) + body) == ("strip", "corrupt")


def in_tiff(jpeg: bytes, tables: bytes) -> bytes:
    """A TIFF of one strip that is a JPEG; its tables are the first of what its data holds."""
    tags = {
        256: (WIDTH,), 257: (HEIGHT,), 258: (8,) * 3, 259: (7,), 262: (6,), 277: (3,),
        278: (HEIGHT,), 273: (len(tables),), 279: (len(jpeg),), 530: (2, 2),
    }  # fmt: skip
    data = tables + jpeg
    if not tables:
        return tiff(tags, data)
    made = bytearray(tiff(tags | {347: (0,) * len(tables)}, data))
    for place, tag, order in entries(bytes(made)):
        if tag == 347:
            struct.pack_into(order + "HII", made, place + 2, 7, len(tables), made.find(data))
    return bytes(made)


def test_a_jpeg_in_a_tiff_tells_nothing() -> None:
    jpeg = encode(gradients(HEIGHT, WIDTH), "JPEG")
    exif = segment(0xE1, b"Exif\0\0" + SECRET.encode())
    thumbnail = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\2\2" + SECRET.encode()[:12])
    tables = jpeg[20 : jpeg.index(b"\xff\xc0")]
    told = exif + thumbnail + segment(0xFE, SECRET.encode()) + segment(0xEE, SECRET.encode())
    goes(in_tiff(jpeg[:2] + told + jpeg[2:] + SECRET.encode(), b""))
    goes(in_tiff(jpeg, jpeg[:2] + told + b"\xff" + tables + b"\xff\xd9" + SECRET.encode()))
    assert refused(in_tiff(SECRET.encode(), b"")) == ("strip", "corrupt")


def test_a_tiff_that_holds_files_of_other_formats_is_refused() -> None:
    data = bytearray(encode(noise(HEIGHT, WIDTH), "TIFF", compression="tiff_lzw"))
    for place, tag, order in entries(bytes(data)):
        if tag == 259:
            struct.pack_into(order + "H", data, place + 8, 50001)
    assert refused(bytes(data)) == ("strip", "unsupported")


@pytest.mark.parametrize("kind", [1, 2, 7])
def test_a_tiff_with_a_text_where_numbers_belong_is_refused(kind: int) -> None:
    values = struct.unpack("<10I", SECRET.encode())
    tags = {
        256: (4,), 257: (4,), 258: (8,), 262: (1,), 273: (0,), 279: (16,), 301: values,
    }  # fmt: skip
    data = bytearray(tiff(tags, bytes(16)))
    for place, tag, order in entries(bytes(data)):
        if tag == 301:
            struct.pack_into(order + "HI", data, place + 2, kind, len(SECRET))
    assert refused(bytes(data)) == ("strip", "corrupt")


def test_a_tiffs_entries_hold_nothing_behind_short_values() -> None:
    tags: dict[int, tuple[int, ...]] = {
        256: (4,), 257: (4,), 258: (8,), 262: (1,), 273: (0,), 279: (16,), 296: (0,),
    }  # fmt: skip
    data = bytearray(tiff(tags, bytes(16)))
    for place, tag, order in entries(bytes(data)):
        if tag == 296:
            struct.pack_into(order + "HI4s", data, place + 2, 3, 0, b"zqzq")
    goes(bytes(data))
