"""Damage that a codec notices is no picture, of whatever format; what no pixel needs costs none."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import tifffile
from decoding import refusal
from PIL import ExifTags, Image
from skimage import data as photographs

from drawn import chunk, encode, noise, png, tiff
from pomona.errors import ImageError
from pomona.extraction.featurize import read_pixels
from pomona.images import lzw
from pomona.images.decode import decode
from pomona.images.reader import CarefulReader, Reader
from pomona.images.stripping.strip import strip_decodable

END = b"\xff\xd9"


@cache
def photograph(kind: str = "RGB", **options: object) -> bytes:
    image = Image.fromarray(photographs.astronaut())  # type: ignore[no-untyped-call]
    image = image.resize((160, 120)).convert(kind)
    return encode(image, "JPEG", quality=85, **options)


@cache
def turned() -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return photograph("RGB", exif=exif.tobytes())


JPEGS: dict[str, Callable[[], bytes]] = {
    "plain": photograph,
    "turned": turned,
    "grey": lambda: photograph("L"),
    "CMYK": lambda: photograph("CMYK"),
    "progressive": lambda: photograph("RGB", progressive=True),
}


@pytest.mark.parametrize("kind", JPEGS)
def test_half_of_a_jpeg_is_no_picture_even_with_an_end_marker(kind: str) -> None:
    data = JPEGS[kind]()
    assert refusal(data[: len(data) // 2] + END).reason in ("damaged", "truncated")


@pytest.mark.parametrize("kind", JPEGS)
def test_a_warning_of_libjpeg_is_an_error(kind: str) -> None:
    data = JPEGS[kind]()
    error = refusal(data[:-2] + b"\x12" * 40 + END)
    assert (error.reason, "extraneous bytes" in error.detail) == ("damaged", True)


def test_a_progressive_jpeg_without_its_last_scans_is_cut() -> None:
    data = photograph("RGB", progressive=True)
    scans = [at for at in range(len(data)) if data.startswith(b"\xff\xda", at)]
    tables = [data.rfind(b"\xff\xc4", 0, at) for at in scans]
    decode(data)
    for at in tables[2:5]:
        error = refusal(data[:at] + END)
        assert (error.reason, error.detail) == ("truncated", "some of its scans are missing")


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize(
    "end",
    [b"", bytes(512), bytes(512) + END, END + b"words"],
    ids=["none", "zeros", "late", "more"],
)
def test_a_jpeg_with_all_its_pixels_needs_no_end_marker(kind: str, end: bytes) -> None:
    data = JPEGS[kind]()
    assert np.array_equal(decode(data[:-2] + end).pixels, decode(data).pixels)
    stripped = strip_decodable(data[:-2] + end)
    assert np.array_equal(decode(stripped).pixels, decode(data).pixels)


def test_a_jpeg_with_restart_markers_that_lost_a_piece_is_damaged() -> None:
    data = encode(noise(120, 160), "JPEG", restart_marker_blocks=4)
    at = data.index(b"\xff\xd2") + 30
    assert refusal(data[:at] + data[at + 32 :]).reason == "damaged"


def short_png(depth: int = 8, colour: int = 2, *, width: int = 40, height: int = 30) -> bytes:
    row = -(-width * depth * {0: 1, 2: 3, 6: 4}[colour] // 8)
    rows = b"".join(b"\0" + b"\xa5" * row for _ in range(height // 2))
    return png(width, height, depth, colour, rows)


@pytest.mark.parametrize(("depth", "colour"), [(1, 0), (8, 0), (8, 2), (16, 2), (8, 6), (16, 6)])
def test_a_png_with_half_its_rows_is_cut(depth: int, colour: int) -> None:
    error = refusal(short_png(depth, colour))
    assert error.reason == "truncated"
    assert error.detail.endswith("bytes of its pixels are missing")


def test_a_png_with_black_rows_at_its_end_is_whole() -> None:
    pixels = noise(30, 40)
    pixels[10:] = 0
    assert np.array_equal(decode(encode(pixels, "PNG")).pixels, pixels)


def test_an_interlaced_png_is_whole_with_all_its_passes() -> None:
    # Of 4 × 4 pixels, width and height of each pass that has any (Adam7).
    passes = [(1, 1), (1, 1), (2, 1), (2, 2), (4, 2)]
    rows = b"".join((b"\0" + b"\xa5" * width) * height for width, height in passes)

    def interlaced(raw: bytes) -> bytes:
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 1))
        pixels = chunk(b"IDAT", zlib.compress(raw))
        return b"".join([b"\x89PNG\r\n\x1a\n", header, pixels, chunk(b"IEND", b"")])

    assert decode(interlaced(rows)).pixels.min() == 0xA5
    assert refusal(interlaced(rows[:-5])).reason == "truncated"


def test_a_png_whose_pixels_have_another_checksum_is_damaged() -> None:
    data = encode(noise(30, 40), "PNG")
    at = data.index(b"IDAT") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    wrong = bytes([data[at + 8 + size] ^ 1])
    error = refusal(data[: at + 8 + size] + wrong + data[at + 9 + size :])
    assert (error.reason, error.detail) == ("damaged", "the checksum of its pixels is wrong")


def _with_chunk(name: bytes, content: bytes, *, sound: bool = True) -> bytes:
    data = encode(noise(30, 40), "PNG")
    piece = chunk(name, content)
    piece = piece if sound else piece[:-1] + bytes([piece[-1] ^ 1])
    return data[:33] + piece + data[33:]


EXTRAS: dict[str, Callable[[], bytes]] = {
    "damaged text": lambda: _with_chunk(b"tEXt", b"key\0text", sound=False),
    "long text": lambda: _with_chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(2_000_000))),
    "long profile": lambda: _with_chunk(b"iCCP", b"key\0\0" + zlib.compress(bytes(2_000_000))),
    "no end": lambda: encode(noise(30, 40), "PNG")[:-12],
}


@pytest.mark.parametrize("name", EXTRAS)
def test_a_png_with_all_its_pixels_needs_nothing_else(name: str) -> None:
    data = EXTRAS[name]()
    assert np.array_equal(decode(data).pixels, noise(30, 40))
    assert np.array_equal(decode(strip_decodable(data)).pixels, noise(30, 40))


@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_a_deflated_tiff_with_zeros_in_its_pixels_is_damaged(tile: tuple[int, int] | None) -> None:
    image = Image.fromarray(photographs.astronaut()).resize((64, 48))  # type: ignore[no-untyped-call]
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.asarray(image), photometric="rgb", compression="zlib", tile=tile)
    data = buffer.getvalue()
    assert np.array_equal(decode(data).pixels, np.asarray(image))
    for at in range(len(data) // 3, len(data) - 64, len(data) // 7):
        assert refusal(data[:at] + bytes(32) + data[at + 32 :]).reason in ("damaged", "corrupt")


def test_a_webp_that_is_cut_off_is_an_error() -> None:
    for options in ({"quality": 80}, {"lossless": True}):
        data = encode(noise(60, 80), "WEBP", **options)
        for end in range(len(data) // 2, len(data) - 1, len(data) // 9):
            assert refusal(data[:end]).reason in ("truncated", "corrupt")


def _written(name: str, **options: object) -> bytes:
    image = Image.fromarray(photographs.astronaut()).resize((160, 120))  # type: ignore[no-untyped-call]
    return encode(image.quantize() if name == "GIF" else image, name, **options)


WITHOUT_CHECKSUMS: dict[str, Callable[[], bytes]] = {
    "WebP": lambda: _written("WEBP", quality=85),
    "animated WebP": lambda: _written(
        "WEBP", save_all=True, append_images=[Image.new("RGB", (160, 120))]
    ),
    "GIF": lambda: _written("GIF"),
    "LZW TIFF": lambda: _written("TIFF", compression="tiff_lzw"),
    "AVIF": lambda: _written("AVIF", quality=80),
}


@pytest.mark.parametrize("name", WITHOUT_CHECKSUMS)
def test_pixels_that_end_elsewhere_than_their_data_are_damaged(name: str) -> None:
    data = WITHOUT_CHECKSUMS[name]()
    decode(data)
    for at in range(len(data) // 3, len(data) // 2, len(data) // 30):
        error = refusal(data[:at] + b"\xa7\x31" * 16 + data[at + 32 :])
        assert error.reason in ("damaged", "corrupt", "truncated")


def test_most_heifs_whose_pixels_end_elsewhere_are_damaged() -> None:
    data = _written("HEIF", quality=80)
    decode(data)
    taken = 0
    for at in range(len(data) // 3, len(data) // 3 + 100, 10):
        with contextlib.suppress(ImageError):
            decode(data[:at] + b"\xa7\x31" * 16 + data[at + 32 :])
            taken += 1
    assert taken < 5


@pytest.mark.parametrize("name", ["WEBP", "AVIF", "HEIF", "GIF", "TIFF"])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (65, 67), (300, 20)])
@pytest.mark.parametrize("content", ["white", "noise"])
def test_sound_files_of_any_size_are_not_damaged(
    name: str, size: tuple[int, int], content: str
) -> None:
    width, height = size
    image = Image.fromarray(noise(height, width))
    image = image if content == "noise" else Image.new("RGB", size, content)
    options: dict[str, dict[str, object]] = {
        "TIFF": {"compression": "tiff_lzw"},
        "WEBP": {"lossless": True},
    }
    decoded = decode(encode(image, name, **options.get(name, {})))
    assert (decoded.width, decoded.height) == size


@pytest.mark.parametrize("name", ["WEBP", "AVIF", "HEIF", "TIFF"])
def test_sound_files_that_lie_on_their_side_are_not_damaged(name: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    options = {"compression": "tiff_lzw"} if name == "TIFF" else {}
    written = encode(noise(70, 110), name, exif=exif.tobytes(), **options)
    assert (decode(written).width, decode(written).height) == (70, 110)


def test_a_tiff_may_say_once_how_many_bits_all_samples_have() -> None:
    data = encode(noise(20, 30), "TIFF", compression="tiff_lzw")
    own = Image.open(io.BytesIO(data)).tag_v2  # type: ignore[attr-defined]
    [offset], [size] = own[273], own[279]
    tags: dict[int, tuple[int, ...]] = {256: (30,), 257: (20,), 258: (8,), 259: (5,), 262: (2,)}
    tags |= {273: (0,), 277: (3,), 278: (20,), 279: (size,)}
    found = decode(tiff(tags, data[offset : offset + size]))
    assert (found.width, found.height) == (30, 20)


def test_one_value_and_its_repetitions_make_few_codes() -> None:
    # 1, then strings of two, three, ... ones: LZW's own table, by hand (GIF89a, appendix F).
    stream = (4 | 1 << 3 | 6 << 6 | 7 << 9 | 5 << 12).to_bytes(2, "little")
    assert not lzw.is_damaged(stream, 2, [1 + 2 + 3], is_tiff=False)
    assert lzw.is_damaged(stream, 2, [1 + 2 + 2], is_tiff=False)
    impossible = (4 | 1 << 3 | 7 << 6 | 5 << 9).to_bytes(2, "little")
    assert lzw.is_damaged(impossible, 2, range(100), is_tiff=False)


DAMAGED: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: photograph()[:3000] + END,
    "cut jpeg": lambda: photograph()[:3000],
    "CMYK jpeg": lambda: photograph("CMYK")[:4000] + END,
    "png": short_png,
    "cut png": lambda: encode(noise(60, 80), "PNG")[:5000],
    "gif": lambda: encode(Image.fromarray(noise(60, 80)).quantize(), "GIF")[:3000],
    "bmp": lambda: encode(noise(60, 80), "BMP")[:9000],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_allowed_damage_is_decoded_as_far_as_it_can_be_and_marked(name: str) -> None:
    data = DAMAGED[name]()
    error = refusal(data)
    decoded = decode(data, allow_damaged=True)
    assert decoded.damage == (error.detail or error.reason)
    assert np.ptp(decoded.pixels) > 0
    assert np.array_equal(read_pixels(data, None, allow_damaged=True), decoded.pixels)
    with pytest.raises(ImageError):
        decode(data)


def test_sound_images_are_not_marked_where_damage_is_allowed() -> None:
    for data in (photograph(), turned(), encode(noise(30, 40), "PNG")):
        decoded = decode(data, allow_damaged=True)
        assert decoded.damage is None
        assert np.array_equal(decoded.pixels, decode(data).pixels)


def test_both_readers_allow_damage() -> None:
    reader = Reader("/", allow_damaged=True)
    data = DAMAGED["png"]()
    with reader, CarefulReader(reader) as careful:
        assert reader.decode(data).damage == careful.decode(data).damage is not None


def test_pillow_is_left_as_it_was() -> None:
    data = encode(noise(60, 80), "PNG")[:5000]
    decode(data, allow_damaged=True)
    with Image.open(io.BytesIO(data)) as image, pytest.raises(OSError, match="truncated"):
        image.load()
