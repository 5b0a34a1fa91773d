from __future__ import annotations

import io
import re
import resource
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from drawn import Pixels, bmp, encode, gif, gradients, noise, png, tiff
from pomona.errors import ImageError
from pomona.images.decode import STRIP_PIXELS, array_to_rgb, decode, in_words, resize, to_rgb
from pomona.images.reader import Reader
from pomona.store import schemas

# Formats


def refusal(data: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decode(data)
    check(caught.value)
    return caught.value


def check(error: ImageError) -> None:
    """An image's error is of the closed vocabulary, and the same for the same bytes."""
    assert error.stage == "decode"
    assert error.reason in schemas.REASONS
    assert not re.search(r"0x[0-9a-f]| object at |/(tmp|home|root|usr)/|\n", error.detail)
    assert len(error.detail) <= 200


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("PNG", {"compress_level": 0}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_deflate"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_a_lossless_format_gives_the_very_pixels(file_format: str, options: dict[str, Any]) -> None:
    pixels = noise(31, 47)
    decoded = decode(encode(pixels, file_format, **options))
    assert np.array_equal(decoded.pixels, pixels)
    assert decoded.pixels.dtype == np.uint8
    assert (decoded.width, decoded.height, decoded.format) == (47, 31, file_format)


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("WEBP", {"quality": 95}),
        ("TIFF", {"compression": "jpeg", "quality": 95}),
    ],
)
def test_a_lossy_format_gives_pixels_close_by(file_format: str, options: dict[str, Any]) -> None:
    pixels = gradients(64, 96)
    decoded = decode(encode(pixels, file_format, **options))
    assert decoded.format == file_format
    assert np.abs(decoded.pixels.astype(int) - pixels).max() <= 8


def test_a_grey_jpeg_has_three_equal_channels() -> None:
    grey = gradients(40, 40)[:, :, 0]
    pixels = decode(encode(grey, "JPEG", quality=95)).pixels
    assert pixels.shape == (40, 40, 3)
    assert np.ptp(pixels, axis=-1).max() == 0
    assert np.abs(pixels[:, :, 0].astype(int) - grey).max() <= 4


@pytest.mark.parametrize(
    ("inks", "rgb"),
    [
        ((0, 0, 0, 0), (255, 255, 255)),
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 255, 0, 0), (255, 0, 255)),
        ((0, 0, 255, 0), (255, 255, 0)),
        ((0, 0, 0, 255), (0, 0, 0)),
        ((0, 0, 0, 100), (155, 155, 155)),
        ((55, 105, 155, 0), (200, 150, 100)),
    ],
)
@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_inks_become_light(
    file_format: str, inks: tuple[int, ...], rgb: tuple[int, int, int]
) -> None:
    options = {"quality": 100} if file_format == "JPEG" else {}
    pixels = decode(encode(Image.new("CMYK", (16, 16), inks), file_format, **options)).pixels
    assert np.abs(pixels.astype(int) - rgb).max() <= 3


def test_an_mpo_of_a_camera_is_its_first_jpeg() -> None:
    first, second = gradients(48, 64), gradients(48, 64)[::-1]
    data = encode(first, "MPO", save_all=True, append_images=[Image.fromarray(second)], quality=95)
    decoded = decode(data)
    assert decoded.format == "JPEG"
    assert np.abs(decoded.pixels.astype(int) - first).max() <= 8


# Orientation: how EXIF 2.3, tag 0x0112, says that the upright picture is stored.

STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Software] = "tests"
    return exif


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    ("file_format", "options", "tolerance"),
    [
        ("JPEG", {"quality": 100, "subsampling": 0}, 4),
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("TIFF", {}, 0),
    ],
)
def test_every_orientation_gives_the_same_upright_picture(
    file_format: str, options: dict[str, Any], tolerance: int, orientation: int
) -> None:
    upright = gradients(24, 40)
    stored = np.ascontiguousarray(STORED[orientation](upright))
    decoded = decode(encode(stored, file_format, exif=oriented(orientation), **options))
    assert decoded.pixels.shape == upright.shape
    assert np.abs(decoded.pixels.astype(int) - upright).max() <= tolerance
    assert (decoded.width, decoded.height) == (40, 24)


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_unknown_orientation_is_none(orientation: int) -> None:
    pixels = noise(8, 12)
    assert np.array_equal(decode(encode(pixels, "PNG", exif=oriented(orientation))).pixels, pixels)


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0no TIFF at all",
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x04abc\0\0\0\0\0",
    ],
)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_data_costs_no_picture(file_format: str, exif: bytes) -> None:
    assert decode(encode(noise(8, 12), file_format, exif=exif)).pixels.shape == (8, 12, 3)


@given(st.lists(st.tuples(st.integers(6, 70), st.integers(0, 255)), max_size=4), st.integers(6, 80))
@settings(max_examples=60, deadline=None)
def test_flipped_bytes_in_exif_data_cost_no_picture(flips: list[tuple[int, int]], end: int) -> None:
    exif = bytearray(oriented(6).tobytes())
    for position, value in flips:
        exif[position % len(exif)] = value
    for file_format in ("JPEG", "PNG"):
        data = encode(noise(8, 12), file_format, exif=bytes(exif[:end]))
        assert sorted(decode(data).pixels.shape) == [3, 8, 12]


# Modes


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_grey_of_few_bits_spans_black_to_white(depth: int) -> None:
    levels = 2**depth
    bits = "".join(f"{level:0{depth}b}" for level in range(levels))
    row = int(bits, 2).to_bytes(-(-len(bits) // 8), "big") if len(bits) >= 8 else b"\x40"
    pixels = decode(png(levels, 1, depth, 0, b"\0" + row)).pixels
    expected = np.round(np.arange(levels) * 255 / (levels - 1))
    assert np.array_equal(pixels[0, :, 0], expected)
    assert np.ptp(pixels, axis=-1).max() == 0


WIDE = {
    0: 0,
    128: 0,
    129: 1,
    257: 1,
    32_768: 128,
    65_278: 254,
    65_406: 254,
    65_407: 255,
    65_535: 255,
}


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(file_format: str) -> None:
    grey = Image.fromarray(np.array([list(WIDE)], np.uint16))
    assert grey.mode == "I;16"
    pixels = decode(encode(grey, file_format)).pixels
    assert pixels[0].tolist() == [[value] * 3 for value in WIDE.values()]


@pytest.mark.parametrize("colour", [2, 4, 6])
def test_16_bit_colours_are_scaled_not_clipped(colour: int) -> None:
    channels = {2: 3, 4: 2, 6: 4}[colour]
    values = [(value,) * channels for value in (0, 257, 32_768, 65_535)]
    opaque = [(*v[:-1], 65_535) if colour in (4, 6) else v for v in values]
    row = b"".join(struct.pack(f">{channels}H", *value) for value in opaque)
    pixels = decode(png(4, 1, 16, colour, b"\0" + row)).pixels
    assert pixels[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]


def test_a_palette_is_looked_up() -> None:
    indexes = np.random.default_rng(0).integers(0, 256, (9, 13), np.uint8)
    palette = noise(256, 1)[:, 0]
    image = Image.fromarray(indexes)
    image.putpalette(palette.tobytes())
    assert image.mode == "P"
    for file_format in ("PNG", "BMP", "GIF", "TIFF"):
        assert np.array_equal(decode(encode(image, file_format)).pixels, palette[indexes])


def test_a_transparent_colour_of_a_palette_is_white() -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    for file_format in ("PNG", "GIF"):
        pixels = decode(encode(image, file_format, transparency=1)).pixels
        assert pixels.tolist() == [[[255, 0, 0], [255, 255, 255], [0, 0, 255]]]
    half = decode(encode(image, "PNG", transparency=bytes([255, 128, 0]))).pixels
    assert np.abs(half.astype(int) - [[[255, 0, 0], [127, 255, 127], [255, 255, 255]]]).max() <= 1


@pytest.mark.parametrize(
    ("file_format", "mode"),
    [("PNG", "RGBA"), ("PNG", "LA"), ("WEBP", "RGBA"), ("TIFF", "RGBA"), ("TIFF", "LA")],
)
def test_what_shines_through_is_white(file_format: str, mode: str) -> None:
    alpha = np.array([[0, 64, 128, 255]], np.uint8)
    colour = np.full((1, 4, 3), (200, 100, 0), np.uint8)
    colour = colour if mode == "RGBA" else colour[:, :, :1]
    image = Image.fromarray(np.concatenate([colour, alpha[:, :, None]], axis=-1))
    assert image.mode == mode
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    share = alpha[:, :, None] / 255
    expected = share * colour + (1 - share) * 255
    pixels = decode(encode(image, file_format, **options)).pixels
    assert pixels.shape == (1, 4, 3)
    assert np.abs(pixels - expected).max() <= 1


@pytest.mark.parametrize(
    ("colour", "key", "row"), [(2, (9, 8, 7), (9, 8, 7, 1, 2, 3)), (0, (9,), (9, 1))]
)
def test_a_colour_key_is_white(colour: int, key: tuple[int, ...], row: tuple[int, ...]) -> None:
    transparent = struct.pack(f">{len(key)}H", *key)
    pixels = decode(png(2, 1, 8, colour, bytes([0, *row]), tRNS=transparent)).pixels
    assert pixels[0, 0].tolist() == [255] * 3
    assert pixels[0, 1].tolist() == ([1, 2, 3] if colour == 2 else [1] * 3)


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("GIF", {}),
        ("WEBP", {"lossless": True}),
        ("PNG", {"default_image": False}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_of_several_pictures_the_first_counts(file_format: str, options: dict[str, Any]) -> None:
    pictures = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue", "lime")]
    data = encode(pictures[0], file_format, save_all=True, append_images=pictures[1:], **options)
    with Image.open(io.BytesIO(data)) as image:
        assert getattr(image, "n_frames", 1) == 3
    assert np.array_equal(decode(data).pixels, np.full((6, 8, 3), (255, 0, 0)))


def test_floating_point_pixels_are_unsupported() -> None:
    error = refusal(encode(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))
    assert (error.reason, error.detail) == ("unsupported", "floating-point pixels")


# What is no picture


@pytest.mark.parametrize(
    "data",
    [
        b"words, and not so few of them that it could be taken for a header",
        b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>',
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        b"P6 1 1 255\n\0\0\0",
        b"\0" * 1000,
        b"\n",
        np.random.default_rng(3).bytes(5000),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_other_content_is_not_an_image(data: bytes) -> None:
    assert refusal(data).reason == "not_an_image"


def test_no_bytes_are_empty() -> None:
    assert refusal(b"").reason == "empty"


FILES = {
    "JPEG": encode(noise(40, 60), "JPEG"),
    "progressive JPEG": encode(noise(40, 60), "JPEG", progressive=True),
    "PNG": encode(noise(40, 60), "PNG"),
    "WebP": encode(noise(40, 60), "WEBP"),
    "lossless WebP": encode(noise(40, 60), "WEBP", lossless=True),
    "BMP": encode(noise(40, 60), "BMP"),
    "GIF": encode(Image.fromarray(noise(40, 60)).quantize(), "GIF"),
    "TIFF": encode(noise(40, 60), "TIFF"),
    "LZW TIFF": encode(noise(40, 60), "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_ends_early_is_an_error_never_half_a_picture(name: str, share: float) -> None:
    data = FILES[name]
    assert refusal(data[: max(16, int(share * len(data)))]).reason in ("truncated", "corrupt")


@pytest.mark.parametrize("name", FILES)
def test_a_header_that_ends_early_is_of_an_image(name: str) -> None:
    for end in range(16, 64):
        assert refusal(FILES[name][:end]).reason in ("truncated", "corrupt")


@pytest.mark.parametrize("make", [lambda w, h: png(w, h, 8, 2, b""), bmp, gif])
@pytest.mark.parametrize("size", [(0, 0), (0, 7), (7, 0)])
def test_a_picture_without_pixels_has_zero_size(
    make: Callable[[int, int], bytes], size: tuple[int, int]
) -> None:
    assert refusal(make(*size)).reason == "zero_size"


@pytest.mark.parametrize("make", [lambda w, h: png(w, h, 8, 2, b""), bmp, gif])
@pytest.mark.parametrize("size", [(40_000, 40_000), (12_000, 9_000), (60_000, 1_700)])
def test_a_huge_picture_is_refused_before_it_takes_memory(
    make: Callable[[int, int], bytes], size: tuple[int, int]
) -> None:
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(make(*size)).reason == "too_large"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 32 * 1024


@pytest.mark.parametrize(
    ("file_format", "size", "told"),
    [
        ("PNG", (300, 201), "300 × 201 pixels, more than 60,000"),
        ("JPEG", (300, 401), "300 × 401 pixels, more than 60,000"),
        ("WEBP", (300, 401), "120,300 pixels, more than 60,000"),  # by Pillow
        ("PNG", (300, 200), None),
    ],
)
def test_the_largest_size_can_be_chosen(
    file_format: str, size: tuple[int, int], told: str | None
) -> None:
    data = encode(Image.new("RGB", size), file_format)
    before = Image.MAX_IMAGE_PIXELS
    with Reader("/", max_pixels=60_000) as reader:
        if told is None:
            assert reader.decode(data).width == 300
        else:
            with pytest.raises(ImageError) as caught:
                reader.decode(data)
            assert caught.value.reason == "too_large"
            assert caught.value.detail in (told, "60,300 pixels, more than 60,000")
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_tile_larger_than_any_picture_is_refused_before_it_takes_memory() -> None:
    tags = {256: (100,), 257: (100,), 258: (8,), 259: (8,), 262: (1,), 277: (1,)}
    tile = zlib.compress(bytes(2**20))
    data = tiff({**tags, 322: (20_000,), 323: (20_000,), 324: (0,), 325: (len(tile),)}, tile)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(data).reason == "too_large"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 32 * 1024


@pytest.mark.parametrize("name", ["zTXt", "iCCP", "iTXt"])
def test_text_that_is_a_bomb_takes_no_memory(name: str) -> None:
    deflate = zlib.compressobj()
    zeros = b"".join(deflate.compress(bytes(2**20)) for _ in range(200)) + deflate.flush()
    head = {"zTXt": b"k\0\0", "iCCP": b"k\0\0", "iTXt": b"k\0\1\0\0\0"}[name]
    chunks: dict[str, Any] = {name: head + zeros}
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(png(1, 1, 8, 0, bytes(2), **chunks)).reason == "corrupt"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 32 * 1024


def test_exif_data_that_names_the_same_bytes_many_times_takes_no_memory() -> None:
    value = bytes(60_000)
    entries = b"".join(
        struct.pack("<HHII", 50_000 + index, 7, len(value), 0) for index in range(4000)
    )
    exif = b"II*\0\x08\0\0\0" + struct.pack("<H", 4000) + entries + bytes(4) + value
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert decode(png(1, 1, 8, 0, bytes(2), eXIf=exif)).pixels.shape == (1, 1, 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 32 * 1024


JPEG_KINDS = {
    (0xC1, 12): "12-bit JPEG",
    (0xC3, 8): "lossless JPEG",
    (0xC3, 16): "16-bit JPEG",
    (0xC5, 8): "hierarchical JPEG",
    (0xCA, 8): "arithmetic-coded JPEG",
    (0xCB, 8): "lossless JPEG",
}


@pytest.mark.parametrize("frame", JPEG_KINDS)
def test_rare_kinds_of_jpeg_are_unsupported_and_told(frame: tuple[int, int]) -> None:
    marker, bits = frame
    data = bytearray(FILES["JPEG"])
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = marker, bits
    error = refusal(bytes(data))
    assert (error.reason, error.detail) == ("unsupported", JPEG_KINDS[frame])


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (bmp(4, 4, 2, bytes(16)), "unsupported", "Unsupported BMP pixel depth (2)"),
        (
            tiff(
                {256: (2,), 257: (2,), 258: (64,), 262: (1,), 273: (0,), 278: (2,), 339: (3,)},
                bytes(32),
            ),
            "unsupported",
            "unknown pixel mode",
        ),
        (FILES["PNG"][:30], "corrupt", "its header is cut off or damaged"),
    ],
)
def test_what_a_library_says_is_told(data: bytes, reason: str, detail: str) -> None:
    error = refusal(data)
    assert (error.reason, error.detail) == (reason, detail)


@given(st.text(max_size=300))
def test_a_detail_is_one_short_line(text: str) -> None:
    detail = in_words(text)
    assert len(detail) <= 200
    assert detail.isprintable()
    detail.encode()


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("object at 0x7f00AB is bad", "object at 0x… is bad"),
        ("cannot open /home/ann/a b.tif\n now", "cannot open … b.tif now"),
        ("broken PNG file (chunk b'GPS\\x00')", "broken PNG file (chunk …)"),
        ("invalid literal: 'Canon EOS'", "invalid literal: …"),
        (r"unknown value: b'abc\'def Berlin' x", "unknown value: … x"),
        ("can't read and/or isn't right", "can't read and/or isn't right"),
    ],
)
def test_a_detail_holds_no_address_no_path_and_nothing_of_the_image(text: str, detail: str) -> None:
    assert in_words(text) == detail


@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    st.one_of(st.none(), st.floats(0, 1)),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_damaged_bytes_give_an_image_error_or_a_picture(
    name: str, flips: list[tuple[float, int]], cut: float | None, early: bool
) -> None:
    data = bytearray(FILES[name])
    reach = 100 if early else len(data)
    for where, value in flips:
        data[min(int(where * reach), len(data) - 1)] = value
    if cut is not None:
        del data[int(cut * len(data)) :]
    try:
        pixels = decode(bytes(data)).pixels
    except ImageError as error:
        check(error)
    else:
        assert pixels.dtype == np.uint8
        assert (pixels.ndim, pixels.shape[2]) == (3, 3)


# Pictures in memory


def test_a_pillow_image_that_ends_early_is_an_image_error() -> None:
    with (
        Image.open(io.BytesIO(FILES["JPEG"][:2000])) as image,
        pytest.raises(ImageError) as caught,
    ):
        to_rgb(image)
    check(caught.value)
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Image.new("RGB", (0, 0)), "zero_size"),
        (Image.new("RGB", (0, 5)), "zero_size"),
        (Image.new("F", (2, 2)), "unsupported"),
        (Image.new("La", (2, 2)), "unsupported"),
    ],
)
def test_a_pillow_image_that_cannot_be_rgb_is_an_image_error(
    image: Image.Image, reason: str
) -> None:
    with pytest.raises(ImageError) as caught:
        to_rgb(image)
    check(caught.value)
    assert caught.value.reason == reason


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I"])
def test_a_pillow_image_of_any_mode_becomes_rgb_and_stays_as_it_is(mode: str) -> None:
    image = Image.new(mode, (5, 4))
    before = image.copy()
    assert to_rgb(image).shape == (4, 5, 3)
    assert image == before


def in_one_piece(image: Image.Image) -> Pixels:
    """The same as `to_rgb` with Pillow alone: the whole image from one mode to the next."""
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "I;16"):
        wide = np.asarray(image).astype(np.int64).clip(0, 65_535)
        image = Image.fromarray(np.floor(wide / 257 + 0.5).astype(np.uint8))
    if "A" in image.mode or "transparency" in image.info:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), over)
    return np.asarray(image.convert("RGB"))


KEYS: dict[str, Any] = {"1": 255, "L": 77, "P": bytes(range(255, -1, -1)), "RGB": (1, 2, 3)}


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("mode", "key"),
    [
        *((mode, None) for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK")),
        *((mode, None) for mode in ("YCbCr", "LAB", "HSV", "I", "I;16")),
        *KEYS.items(),
    ],
)
def test_strips_give_the_very_pixels_of_the_whole(mode: str, key: Any, orientation: int) -> None:
    height, width = 1001, 1100
    assert height * width > STRIP_PIXELS
    rng = np.random.default_rng(len(mode))
    if mode in ("I", "I;16"):
        wide = rng.integers(-9_999 if mode == "I" else 0, 65_536, (height, width))
        image = Image.fromarray(wide.astype(np.int32 if mode == "I" else np.uint16))
    else:
        size = (height * width * len(Image.new(mode, (1, 1)).getbands()),)
        bits = rng.integers(0, 256, size, np.uint8).tobytes()
        image = Image.frombytes(
            mode, (width, height), bits[: -(-width // 8) * height] if mode == "1" else bits
        )
    if mode in ("P", "PA"):
        image.putpalette(rng.integers(0, 256, 768, np.uint8).tobytes())
    if key is not None:
        image.info["transparency"] = key
        if mode == "RGB":
            image.paste(key, (10, 10, 500, 1000))
    assert image.mode == mode
    image.getexif()[ExifTags.Base.Orientation] = orientation
    expected = in_one_piece(image)
    assert expected.shape[:2] == ((width, height) if orientation == 6 else (height, width))
    assert np.array_equal(to_rgb(image), expected)


@pytest.mark.parametrize("layout", ["contiguous", "strided", "Fortran"])
def test_an_array_becomes_rgb(layout: str) -> None:
    arrange: dict[str, Callable[[Pixels], Pixels]] = {
        "contiguous": lambda array: array,
        "strided": lambda array: np.repeat(array, 2, axis=1)[:, ::2],
        "Fortran": np.asfortranarray,
    }
    pixels = noise(6, 9)
    arranged = arrange[layout](pixels)
    assert np.array_equal(array_to_rgb(arranged), pixels)
    grey = pixels[:, :, :1].repeat(3, axis=-1)
    assert np.array_equal(array_to_rgb(arranged[:, :, 0]), grey)
    assert np.array_equal(array_to_rgb(arranged[:, :, :1]), grey)


def test_an_array_with_alpha_lies_on_white() -> None:
    array = np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], np.uint8)
    assert array_to_rgb(array).tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((4, 5, 3), np.float32), "unsupported"),
        (np.zeros((4, 5), np.uint16), "unsupported"),
        (np.zeros((4, 5, 3), np.int8), "unsupported"),
        (np.zeros((4, 5), bool), "unsupported"),
        (np.zeros((4, 5, 2), np.uint8), "unsupported"),
        (np.zeros((3, 4, 5), np.uint8), "unsupported"),
        (np.zeros((4, 5, 0), np.uint8), "unsupported"),
        (np.zeros((1, 4, 5, 3), np.uint8), "unsupported"),
        (np.zeros(5, np.uint8), "unsupported"),
        (np.zeros((), np.uint8), "unsupported"),
        (np.zeros((0, 5, 3), np.uint8), "zero_size"),
        (np.zeros((5, 0), np.uint8), "zero_size"),
        (np.broadcast_to(np.uint8(0), (10_001, 10_000)), "too_large"),
    ],
    ids=lambda value: f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else "",
)
def test_an_array_that_is_no_picture_is_an_image_error(
    array: npt.NDArray[np.generic], reason: str
) -> None:
    with pytest.raises(ImageError) as caught:
        array_to_rgb(array)
    check(caught.value)
    assert caught.value.reason == reason


# Resizing


def resized(
    pixels: Pixels, size: int = 224, fit: str = "stretch", crop_fraction: float | None = None
) -> Pixels:
    out = np.full((size, size, 3), 111, np.uint8)
    resize(pixels, out, fit=fit, crop_fraction=crop_fraction)
    return out


SIZES = [
    (1, 1), (1, 1000), (1000, 1), (2, 3), (224, 224), (223, 225), (224, 448), (100, 100),
    (3000, 2), (2, 3000), (50_000, 3), (3, 50_000), (448, 448), (300, 199),
]  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_one_colour_stays_that_colour(size: tuple[int, int], fit: str) -> None:
    colour = (10, 200, 77)
    assert (
        resized(np.full((*size, 3), colour, np.uint8), fit=fit, crop_fraction=0.875) == colour
    ).all()


@pytest.mark.parametrize("size", SIZES)
def test_the_mean_and_the_range_are_kept(size: tuple[int, int]) -> None:
    pixels = gradients(*size) if max(size) > 1 else noise(*size)
    out = resized(pixels)
    assert np.abs(out.mean((0, 1)) - pixels.mean((0, 1))).max() < 2
    assert (out.min((0, 1)) >= pixels.min((0, 1))).all()
    assert (out.max((0, 1)) <= pixels.max((0, 1))).all()


def test_the_right_size_is_kept_to_the_byte() -> None:
    pixels = noise(224, 224)
    assert np.array_equal(resized(pixels), pixels)


@pytest.mark.parametrize("factors", [(2, 2), (3, 3), (4, 2), (1, 2), (5, 1)])
def test_shrinking_takes_the_mean_of_blocks(factors: tuple[int, int]) -> None:
    down, across = factors
    pixels = noise(64 * down, 64 * across)
    means = pixels.reshape(64, down, 64, across, 3).mean((1, 3))
    assert np.abs(resized(pixels, 64) - means).max() <= 1


@pytest.mark.parametrize("size", [(1000, 100), (1000, 224), (1000, 900)])
def test_fine_stripes_become_grey_whatever_the_other_side_does(size: tuple[int, int]) -> None:
    stripes = np.zeros((*size, 3), np.uint8)
    stripes[::2] = 255
    for pixels in (stripes, stripes.transpose(1, 0, 2)):
        out = resized(pixels)
        assert out.min() >= 105
        assert out.max() <= 150


def test_growing_is_linear_between_the_pixels() -> None:
    ramp = np.repeat(np.array([0, 100, 200], np.uint8), 3).reshape(1, 3, 3)
    out = resized(ramp, 9)[4, :, 0].astype(int)
    assert out.tolist() == pytest.approx([0, 0, 33, 67, 100, 133, 167, 200, 200], abs=1)


def weights(size: int, side: int) -> npt.NDArray[np.float64]:
    """Of `size` pixels for each of `side`, float64[side, size]: by area, or else linear."""
    at = (np.arange(side) + 0.5) * size / side
    if size > side:
        edges = np.clip(np.arange(size + 1), (at - size / side / 2)[:, None], None)
        parts = np.diff(np.minimum(edges, (at + size / side / 2)[:, None])) * side / size
    else:
        distance = np.abs(np.clip(at, 0.5, size - 0.5)[:, None] - (np.arange(size) + 0.5))
        parts = np.clip(1 - distance, 0, None)
    return np.asarray(parts, np.float64)


@pytest.fixture(params=["Intel's", "OpenCV's own"])
def resizes(request: pytest.FixtureRequest) -> Iterator[None]:
    before = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(before and request.param == "Intel's")
    yield
    cv2.ipp.setUseIPP(before)


@pytest.mark.usefixtures("resizes")
@pytest.mark.parametrize(
    ("size", "most"),
    [
        *(((100, 100), 0.55), ((82, 82), 0.55), ((100, 224), 0.55), ((223, 223), 0.55)),
        ((480, 640), 0.501),
        ((100, 640), 1.05),  # shrunk, rounded, grown and rounded again
    ],
)
def test_what_is_resized_is_rounded_to_the_nearest(size: tuple[int, int], most: float) -> None:
    pixels = noise(*size)
    down, across = weights(size[0], 224), weights(size[1], 224)
    exact = np.einsum("ai,ijc,bj->abc", down, pixels, across, optimize=True)
    assert np.abs(resized(pixels) - exact).max() <= most
    assert not cv2.ipp.useIPP_NotExact()


@pytest.mark.parametrize("size", [(256, 300), (300, 256), (256, 256), (256, 1001)])
def test_a_crop_is_the_central_square(size: tuple[int, int]) -> None:
    pixels = noise(*size)
    top, left = (size[0] - 224) // 2, (size[1] - 224) // 2
    out = resized(pixels, fit="crop", crop_fraction=0.875)
    assert np.array_equal(out, pixels[top : top + 224, left : left + 224])


def test_a_crop_leaves_the_borders_out() -> None:
    pixels = np.full((200, 400, 3), 255, np.uint8)
    pixels[13:187, 113:287] = 0
    assert resized(pixels, fit="crop", crop_fraction=0.87).max() == 0
    assert resized(pixels, fit="crop", crop_fraction=1.0).max() == 255
    assert resized(pixels, fit="stretch").max() == 255


def test_pixels_as_they_come_from_a_decoder_can_be_resized() -> None:
    decoded = decode(FILES["PNG"]).pixels
    expected = resized(noise(40, 60), 32)
    assert np.array_equal(resized(decoded, 32), expected)
    assert np.array_equal(resized(np.repeat(noise(40, 60), 2, axis=1)[:, ::2], 32), expected)


def test_only_the_given_row_of_a_batch_is_written() -> None:
    batch = np.full((3, 16, 16, 3), 9, np.uint8)
    resize(noise(30, 40), batch[1], fit="stretch", crop_fraction=None)
    assert (batch[[0, 2]] == 9).all()
    assert (batch[1] != 9).any()
