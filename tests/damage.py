"""Bad images: files of all formats, damaged at random in the ways that files are.

Every image comes from its number and the seed alone: `damaged(seed, number)`.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random

import pillow_heif
from PIL import ExifTags, Image
from pydicom.data import get_testdata_file

from drawn import bmp, chunk, encode, gif, noise, png, segment, tiff

pillow_heif.register_heif_opener()  # the encoder
WIDTH, HEIGHT = 37, 29


@cache
def seeds() -> dict[str, bytes]:
    """Whole files: kind → bytes. The kind's first word is the format."""
    rgb = Image.fromarray(noise(HEIGHT, WIDTH))
    grey, palette, cmyk = rgb.convert("L"), rgb.quantize(64), rgb.convert("CMYK")
    rgba = rgb.copy()
    rgba.putalpha(grey)
    exif = Image.Exif()
    exif.update({ExifTags.Base.Orientation: 6, ExifTags.Base.Model: "tests"})
    others = [rgb.rotate(90), rgb.rotate(180)]
    wide = Image.frombytes("I;16", (WIDTH // 2, HEIGHT), grey.tobytes()[: WIDTH // 2 * 2 * HEIGHT])
    passes = [(2, 2), (2, 2), (4, 2), (4, 4), (8, 4), (8, 8), (16, 8)]
    rows = b"".join((b"\0" + rgba.tobytes()[: 8 * width]) * height for width, height in passes)
    run_length = b"".join(bytes([20, 5, WIDTH - 20, 9, 0, 0]) for _ in range(HEIGHT)) + b"\0\1"
    planar = {
        256: (WIDTH,), 257: (HEIGHT,), 258: (8,) * 3, 262: (2,), 277: (3,), 278: (HEIGHT,),
        273: tuple(index * WIDTH * HEIGHT for index in range(3)),
        279: (WIDTH * HEIGHT,) * 3, 284: (2,),
    }  # fmt: skip
    return {
        "jpg": encode(rgb, "JPEG", exif=exif, comment=b"a comment"),
        "jpg progressive": encode(rgb, "JPEG", progressive=True, exif=exif),
        "jpg restarts": encode(rgb, "JPEG", restart_marker_rows=1, subsampling=0),
        "jpg grey": encode(grey, "JPEG"),
        "jpg CMYK": encode(cmyk, "JPEG", progressive=True),
        "jpg MPO": encode(rgb, "MPO", save_all=True, append_images=others),
        "png": encode(rgb, "PNG", exif=exif),
        "png palette": encode(palette, "PNG", transparency=bytes(range(64))),
        "png 16-bit": encode(wide, "PNG"),
        "png 16-bit interlaced": png(16, 16, 16, 6, rows, interlaced=True),
        "png 1-bit": encode(rgb.convert("1"), "PNG"),
        "png animated": encode(rgba, "PNG", save_all=True, append_images=others),
        "webp": encode(rgb, "WEBP"),
        "webp lossless": encode(rgb, "WEBP", lossless=True),
        "webp alpha": encode(rgba, "WEBP", exif=exif),
        "webp animated": encode(rgb, "WEBP", save_all=True, append_images=others),
        "bmp": encode(rgb, "BMP"),
        "bmp palette": encode(palette, "BMP"),
        "bmp run-length": bmp(WIDTH, HEIGHT, 8, run_length, 1, bytes(range(256)) * 4),
        "bmp 16-bit": bmp(
            WIDTH, HEIGHT, 16, noise(HEIGHT, 76).tobytes()[: 76 * HEIGHT], 3,
            masks=struct.pack("<III", 0xF800, 0x7E0, 0x1F),
        ),
        "gif": encode(palette, "GIF", transparency=3, comment=b"a comment"),
        "gif animated": encode(palette, "GIF", save_all=True, append_images=others, disposal=2),
        "tif": encode(rgb, "TIFF"),
        "tif LZW": encode(rgb, "TIFF", compression="tiff_lzw", exif=exif),
        "tif deflate": encode(wide, "TIFF", compression="tiff_deflate"),
        "tif JPEG": encode(rgb, "TIFF", compression="jpeg"),
        "tif packed bits": encode(palette, "TIFF", compression="packbits"),
        "tif fax": encode(rgb.convert("1"), "TIFF", compression="group4"),
        "tif CMYK": encode(cmyk, "TIFF", compression="tiff_lzw"),
        "tif pages": encode(rgb, "TIFF", save_all=True, append_images=others),
        "tif tiled": _tiled(),
        "tif planar, big": tiff(planar, noise(HEIGHT, WIDTH).tobytes(), big=True),
        "avif": encode(rgb, "AVIF", exif=exif),
        "avif animated": encode(rgba, "AVIF", save_all=True, append_images=[rgba.rotate(180)]),
        "dcm": _sample("MR_small.dcm"),
        "dcm run-length": _sample("SC_rgb_rle_2frame.dcm"),
        "dcm JPEG": _sample("SC_rgb_jpeg_dcmtk.dcm"),
        "dcm JPEG 2000": _sample("MR_small_jp2klossless.dcm"),
        "heic": encode(rgb, "HEIF", exif=exif),
        "heic several": encode(rgba, "HEIF", save_all=True, append_images=others),
    }  # fmt: skip


def _sample(name: str) -> bytes:
    """One of pydicom's own."""
    return Path(str(get_testdata_file(name, download=False))).read_bytes()


def _tiled() -> bytes:
    """A big-endian TIFF of six deflated tiles."""
    tile = zlib.compress(bytes(range(256)) * 3)
    tags = {
        256: (WIDTH,), 257: (HEIGHT,), 258: (8,) * 3, 259: (8,), 262: (2,), 277: (3,), 322: (16,),
        323: (16,), 324: tuple(index * len(tile) for index in range(6)), 325: (len(tile),) * 6,
    }  # fmt: skip
    return tiff(tags, tile * 6, order=">")


_BOXES = (b"meta", b"pitm", b"iloc", b"iinf", b"iprp", b"ipco", b"ispe", b"ipma", b"mdat", b"moov")


def parts(data: bytes) -> list[int]:
    """Where the parts of a file begin: its segments, chunks, directories or strips."""
    places = {4, 8, 12}
    if data.startswith(b"\xff\xd8"):
        at = 2
        while at + 4 <= len(data) and data[at] == 0xFF:
            places.add(at)
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        places.add(at)
    elif data.startswith(b"\x89PNG"):
        places |= set(_chunks(data, 8, ">", 4))
    elif data.startswith(b"RIFF"):
        places |= set(_chunks(data, 12, "<", 0))
    elif data.startswith(b"BM"):
        places |= {14, 18, 26, 30, 54, int.from_bytes(data[10:14], "little")}
    elif data[4:8] == b"ftyp":
        places |= {at for name in _BOXES if (at := data.find(name) - 4) > 0}
    elif data.startswith(b"GIF"):
        places |= {6, 10, 13, 13 + 192, data.find(b","), data.find(b"!"), len(data) - 1}
    else:
        places |= {at for at, _, _ in entries(data)}
    return sorted(at for at in places if 0 < at < len(data))


def _chunks(data: bytes, at: int, order: str, after: int) -> Iterator[int]:
    name_first = order == "<"
    while at + 8 <= len(data):
        yield at
        [size] = struct.unpack_from(order + "I", data, at + (4 if name_first else 0))
        at += 8 + size + (size & 1 if name_first else 0) + after


def entries(data: bytes) -> list[tuple[int, int, str]]:
    """Of a TIFF's first directory: where each entry begins, its tag, and the order of bytes."""
    order, big = (">" if data[:2] == b"MM" else "<"), 43 in data[2:4]
    try:
        [at] = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        [count] = struct.unpack_from(order + ("Q" if big else "H"), data, at)
        first, step = (at + 8, 20) if big else (at + 2, 12)
        places = [first + index * step for index in range(min(count, 40))]
        return [(place, *struct.unpack_from(order + "H", data, place), order) for place in places]
    except (struct.error, OverflowError):
        return []


# Ways to damage a file: `way(data, random)`


def cut(data: bytes, random: Random) -> bytes:
    """In the header, between parts, within the pixels, or before the last bytes."""
    place = random.choice(
        [
            random.randrange(1, min(64, len(data))),
            random.choice(parts(data)),
            random.choice(parts(data)) + random.randrange(1, 5),
            random.randrange(1, len(data)),
            len(data) - random.randrange(1, 4),
        ]
    )
    return data[:place]


def flip_bits(data: bytes, random: Random) -> bytes:
    damaged, reach = bytearray(data), random.choice([64, 400, len(data)])
    for _ in range(random.choice([1, 1, 2, 8, 64])):
        damaged[random.randrange(min(reach, len(data)))] ^= 1 << random.randrange(8)
    return bytes(damaged)


def overwrite(data: bytes, random: Random) -> bytes:
    size = random.choice([1, 2, 4, 16, 300])
    filling = random.choice([bytes(size), b"\xff" * size, random.randbytes(size)])
    place = random.choice([random.randrange(len(data)), random.choice(parts(data))])
    return data[:place] + filling + data[place + size :]


def splice(data: bytes, random: Random) -> bytes:
    """One file's header before another one's body."""
    other = random.choice(list(seeds().values()))
    return other[: random.choice(parts(other))] + data[random.choice(parts(data)) :]


def lie(data: bytes, random: Random) -> bytes:
    """Another size in the header than the file has."""
    size = random.choice([0, 1, WIDTH * 2, 1_900, 60_000, 65_535, 2**31 - 1, 2**32 - 1])
    places: list[tuple[int, str]] = []
    if data.startswith(b"\xff\xd8"):
        frames = [at for at in parts(data) if data[at : at + 2] in (b"\xff\xc0", b"\xff\xc2")]
        places = [(at + offset, ">H") for at in frames for offset in (5, 7)]
    elif data.startswith(b"\x89PNG"):
        places = [(16, ">I"), (20, ">I")]
    elif data.startswith(b"RIFF"):
        places = [(at, "<H") for at in (21, 24, 26, 27, 28)]
    elif data.startswith(b"BM"):
        places = [(18, "<I"), (22, "<I")]
    elif data[4:8] == b"ftyp":
        sizes = data.find(b"ispe") + 8
        places = [(sizes, ">I"), (sizes + 4, ">I")]
    elif data.startswith(b"GIF"):
        frame = data.find(b",")
        places = [(6, "<H"), (8, "<H"), (frame + 5, "<H"), (frame + 7, "<H")]
    else:
        places = [
            (at + (12 if 43 in data[2:4] else 8), order + "I")
            for at, tag, order in entries(data)
            if tag in (256, 257, 258, 259, 262, 273, 277, 278, 279, 322, 323, 324, 325)
        ]
    damaged = bytearray(data)
    for place, kind in random.sample(places, min(len(places), random.randint(1, 2))):
        limit = 2 ** (8 * struct.calcsize(kind))
        damaged[place : place + struct.calcsize(kind)] = struct.pack(kind, size % limit)
    if data.startswith(b"\x89PNG"):
        damaged[29:33] = struct.pack(">I", zlib.crc32(damaged[12:29]))
    return bytes(damaged)


def shuffle_parts(data: bytes, random: Random) -> bytes:
    """A part twice, not at all, or in another's place."""
    places = [0, *parts(data), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(places)]
    index, other = random.randrange(len(pieces)), random.randrange(len(pieces))
    if (way := random.randrange(3)) == 0:
        pieces[index:index] = [pieces[index]] * random.choice([1, 2, 500])
    elif way == 1:
        del pieces[index]
    else:
        pieces[index], pieces[other] = pieces[other], pieces[index]
    return b"".join(pieces)


def append(data: bytes, random: Random) -> bytes:
    """Something after the end, which is a good image still."""
    return data + random.choice([bytes(100), data, b"<html>", random.randbytes(50)])


WAYS: tuple[Callable[[bytes, Random], bytes], ...] = (
    cut, cut, flip_bits, flip_bits, overwrite, splice, lie, lie, shuffle_parts, append,
)  # fmt: skip


@cache
def special() -> dict[str, bytes]:
    """Bombs, rare kinds and other content, by name."""
    zeros = zlib.compress(bytes(8 * 2**20))
    side = {256: (200,), 257: (200,), 258: (8,), 259: (8,), 262: (1,), 277: (1,)}
    jpeg = seeds()["jpg"]
    frame = jpeg.index(b"\xff\xc0")
    canvas = b"VP8X" + struct.pack("<II", 10, 0) + b"\xfe\x3f\0" * 2
    return {
        "empty.jpg": b"",
        "words.png": b"no image at all",
        "page.jpg": b"<!DOCTYPE html><title>404</title>",
        "zeros.tif": bytes(500),
        "huge.png": png(60_000, 60_000, 8, 2, b""),
        "long.png": png(2**31 - 1, 1, 1, 0, b""),
        "no pixels.png": png(0, 9, 8, 2, b""),
        "no pixels.bmp": bmp(0, 9),
        "no pixels.gif": gif(9, 0),
        "huge.bmp": bmp(60_000, 60_000),
        "huge.gif": gif(65_535, 65_535),
        "huge.webp": b"RIFF" + struct.pack("<I", len(canvas) + 4) + b"WEBP" + canvas,
        "huge.tif": tiff({**side, 256: (60_000,), 257: (60_000,), 273: (0,)}, bytes(9)),
        "tile.tif": tiff({**side, 322: (50_000,), 323: (50_000,), 324: (0,), 325: (9,)}, zeros),
        "strip.tif": tiff({**side, 273: (0,), 278: (2**31,), 279: (len(zeros),)}, zeros),
        "samples.tif": tiff({**side, 277: (60_000,), 273: (0,), 279: (len(zeros),)}, zeros),
        "deep.tif": tiff({**side, 258: (64,), 273: (0,), 278: (200,), 279: (len(zeros),)}, zeros),
        "text.png": png(1, 1, 8, 0, bytes(2), **{"zTXt": b"k\0\0" + zeros}),  # type: ignore[arg-type]
        "rows.png": png(9, 9, 8, 0, bytes(2**24)),
        "12-bit.jpg": jpeg[: frame + 4] + b"\x0c" + jpeg[frame + 5 :],
        "lossless.jpg": jpeg[: frame + 1] + b"\xc3" + jpeg[frame + 2 :],
        "segments.jpg": jpeg[:2] + segment(0xE1, b"Exif\0\0" + bytes(6_000)) * 30 + jpeg[2:],
        "crc.png": seeds()["png"].replace(chunk(b"IEND", b"")[-4:], b"\0\0\0\0"),
    }


def damaged(seed: int, number: int, kinds: tuple[str, ...] = ()) -> tuple[str, bytes]:
    """The name and the bytes of an image: one of the seeds after one to three kinds of damage.

    kinds: of which seeds; none: of all, by turns. Every ninth has another format's extension.
    """
    names = kinds or tuple(seeds())
    random = Random(f"{seed} {number}")  # noqa: S311
    kind = names[number % len(names)]
    data = seeds()[kind]
    ways = random.sample(WAYS, random.choice([1, 1, 1, 2, 3]))
    for way in ways:
        if len(data) > 16:
            data = way(data, random)
    suffix = random.choice(["jpg", "png", "tif"]) if number % 9 == 8 else kind.split()[0]
    return f"{kind}/{number:06d} {' '.join(way.__name__ for way in ways)}.{suffix}", data
