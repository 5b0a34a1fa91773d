"""Files that are damaged, huge, rare or no images: each is an ImageError with its reason."""

from __future__ import annotations

import resource
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from decoding import FILES, check_decode_error, refusal
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from drawn import bmp, encode, gif, png, tiff
from pomona.errors import ImageError
from pomona.images.decode import decode, to_detail
from pomona.images.reader import Reader


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


def test_a_file_without_bytes_is_empty() -> None:
    assert refusal(b"").reason == "empty"


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98])
@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_an_error_and_never_half_an_image(name: str, share: float) -> None:
    data = FILES[name]
    assert refusal(data[: max(16, int(share * len(data)))]).reason in ("truncated", "corrupt")


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_header_is_still_that_of_an_image(name: str) -> None:
    for end in range(16, 64):
        assert refusal(FILES[name][:end]).reason in ("truncated", "corrupt")


@pytest.mark.parametrize("make", [lambda w, h: png(w, h, 8, 2, b""), bmp, gif])
@pytest.mark.parametrize("size", [(0, 0), (0, 7), (7, 0)])
def test_an_image_without_pixels_has_zero_size(
    make: Callable[[int, int], bytes], size: tuple[int, int]
) -> None:
    assert refusal(make(*size)).reason == "zero_size"


@pytest.mark.parametrize("make", [lambda w, h: png(w, h, 8, 2, b""), bmp, gif])
@pytest.mark.parametrize("size", [(40_000, 40_000), (12_000, 9_000), (60_000, 1_700)])
def test_a_huge_image_is_refused_before_it_takes_memory(
    make: Callable[[int, int], bytes], size: tuple[int, int]
) -> None:
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(make(*size)).reason == "too_large"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 32 * 1024


@pytest.mark.parametrize(
    ("file_format", "size", "detail"),
    [
        ("PNG", (300, 201), "300 × 201 pixels, more than 60,000"),
        ("JPEG", (300, 401), "300 × 401 pixels, more than 60,000"),
        ("WEBP", (300, 401), "120,300 pixels, more than 60,000"),  # by Pillow
        ("PNG", (300, 200), None),
    ],
)
def test_max_pixels_sets_the_largest_size(
    file_format: str, size: tuple[int, int], detail: str | None
) -> None:
    data = encode(Image.new("RGB", size), file_format)
    before = Image.MAX_IMAGE_PIXELS
    with Reader("/", max_pixels=60_000) as reader:
        if detail is None:
            assert reader.decode(data).width == 300
        else:
            with pytest.raises(ImageError) as caught:
                reader.decode(data)
            assert caught.value.reason == "too_large"
            assert caught.value.detail in (detail, "60,300 pixels, more than 60,000")
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_huge_tile_is_refused_before_it_takes_memory() -> None:
    tags = {256: (100,), 257: (100,), 258: (8,), 259: (8,), 262: (1,), 277: (1,)}
    tile = zlib.compress(bytes(2**20))
    data = tiff({**tags, 322: (20_000,), 323: (20_000,), 324: (0,), 325: (len(tile),)}, tile)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(data).reason == "too_large"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 32 * 1024


@pytest.mark.parametrize("name", ["zTXt", "iCCP", "iTXt"])
def test_a_decompression_bomb_in_text_costs_neither_memory_nor_the_image(name: str) -> None:
    deflate = zlib.compressobj()
    zeros = b"".join(deflate.compress(bytes(2**20)) for _ in range(200)) + deflate.flush()
    head = {"zTXt": b"k\0\0", "iCCP": b"k\0\0", "iTXt": b"k\0\1\0\0\0"}[name]
    chunks: dict[str, Any] = {name: head + zeros}
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert decode(png(1, 1, 8, 0, bytes(2), **chunks)).pixels.shape == (1, 1, 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 32 * 1024


def test_exif_entries_that_share_their_bytes_take_no_memory() -> None:
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
def test_rare_kinds_of_jpeg_are_unsupported_and_named(frame: tuple[int, int]) -> None:
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
def test_the_message_of_a_library_is_the_detail(data: bytes, reason: str, detail: str) -> None:
    error = refusal(data)
    assert (error.reason, error.detail) == (reason, detail)


@given(st.text(max_size=300))
def test_a_detail_is_one_short_line(text: str) -> None:
    detail = to_detail(text)
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
def test_a_detail_has_no_memory_address_no_path_and_no_metadata(text: str, detail: str) -> None:
    assert to_detail(text) == detail


@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    st.one_of(st.none(), st.floats(0, 1)),
    st.booleans(),
)
@example("TIFF", [(0.875, 1)], None, True)  # 257 values where one belongs, of which Pillow warns
@settings(max_examples=300, deadline=None)
def test_damaged_bytes_give_an_image_error_or_pixels(
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
        check_decode_error(error)
    else:
        assert pixels.dtype == np.uint8
        assert (pixels.ndim, pixels.shape[2]) == (3, 3)
