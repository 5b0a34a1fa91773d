"""Memory: the peak of a process that decodes each format and mode of pixels."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from PIL import ExifTags, Image

from drawn import bmp, encode, gif, png, tiff
from pomona.images.decode import BYTES_PER_PIXEL

SIDE = 3000
TRANSPARENT = {"LA": (200, 100), "RGBA": (200, 100, 0, 100)}
# For each file, from a process of its own: its pixels, and the KiB that decoding it takes at most.
# What the code itself needs is there before, by decoding a small file of the same kind.
CHILD = """
import os, sys
from pathlib import Path
from pomona.images.decode import decode
def memory(name):
    return int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0])
for small, large in zip(sys.argv[1::2], sys.argv[2::2]):
    if not os.fork():
        decode(Path(small).read_bytes())
        data = Path(large).read_bytes()
        before = memory("VmRSS")
        decoded = decode(data)
        print(large, decoded.width * decoded.height, memory("VmHWM") - before, flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, large
"""

pytestmark = pytest.mark.needs("linux")
pillow_heif.register_heif_opener()  # the encoder


def saved(
    mode: str, file_format: str, *, frames: int = 1, **options: Any
) -> Callable[[int], bytes]:
    def make(side: int) -> bytes:
        image = Image.new(mode, (side, side), TRANSPARENT.get(mode, 0))
        if mode == "P":
            image.putpalette(bytes(range(256)) * 3)
        more = {"save_all": True, "append_images": [image] * (frames - 1)} if frames > 1 else {}
        return encode(image, file_format, **options, **more)

    return make


def oriented(**options: Any) -> dict[str, Any]:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return {"exif": exif, **options}


def interlaced(depth: int, colour: int, channels: int) -> Callable[[int], bytes]:
    """A black PNG of seven passes (sides divisible by 8)."""

    def make(side: int) -> bytes:
        passes = [(8, 8), (8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 2)]
        rows = b"".join(
            bytes((1 + side // across * channels * depth // 8) * (side // down))
            for across, down in passes
        )
        return png(side, side, depth, colour, rows, interlaced=True)

    return make


def by_hand(depth: int, colour: int, channels: int, **chunks: Any) -> Callable[[int], bytes]:
    return lambda side: png(
        side, side, depth, colour, bytes((1 + side * channels * depth // 8) * side), **chunks
    )


def in_one_strip(
    bits: int,
    channels: int,
    photometric: int,
    more: dict[int, tuple[int, ...]] | None = None,
    *,
    planes: int = 1,
    jpeg: Callable[[int], bytes] | None = None,
) -> Callable[[int], bytes]:
    """A TIFF of a single strip for each plane: a JPEG, or black and deflated."""

    def make(side: int) -> bytes:
        black = zlib.compress(bytes(side * side * bits // 8 * channels // planes), 1)
        plane = jpeg(side) if jpeg else black
        tags = {
            256: (side,), 257: (side,), 258: (bits,) * channels, 259: (7 if jpeg else 8,),
            262: (photometric,), 273: tuple(index * len(plane) for index in range(planes)),
            277: (channels,), 278: (side,), 279: (len(plane),) * planes,
            284: (1 if planes == 1 else 2,), **(more or {}),
        }  # fmt: skip
        return tiff(tags, plane * planes)

    return make


KINDS: dict[str, Callable[[int], bytes]] = {
    "JPEG": saved("RGB", "JPEG"),
    "grey JPEG": saved("L", "JPEG"),
    "progressive JPEG": saved("RGB", "JPEG", progressive=True, subsampling=0),
    "turned JPEG": saved("RGB", "JPEG", **oriented(progressive=True, subsampling=0)),
    "CMYK JPEG": saved("CMYK", "JPEG"),
    "progressive CMYK JPEG": saved("CMYK", "JPEG", progressive=True, subsampling=0),
    "1-bit PNG": saved("1", "PNG", compress_level=1),
    "palette PNG": saved("P", "PNG", compress_level=1),
    "palette PNG, half transparent": saved("P", "PNG", compress_level=1, transparency=b"\x80" * 9),
    "RGB PNG": saved("RGB", "PNG", compress_level=1),
    "turned RGB PNG": saved("RGB", "PNG", **oriented(compress_level=1)),
    "RGB PNG, a colour transparent": by_hand(8, 2, 3, tRNS=bytes(6)),
    "RGBA PNG": saved("RGBA", "PNG", compress_level=1),
    "LA PNG": saved("LA", "PNG", compress_level=1),
    "16-bit grey PNG": saved("I;16", "PNG", compress_level=1),
    "16-bit RGBA PNG": by_hand(16, 6, 4),
    "interlaced 16-bit RGBA PNG": interlaced(16, 6, 4),
    "WebP": saved("RGB", "WEBP", method=0),
    "WebP with alpha": saved("RGBA", "WEBP", method=0),
    "lossless WebP": saved("RGBA", "WEBP", lossless=True, method=0, quality=0),
    "animated WebP": saved("RGBA", "WEBP", method=0, frames=2),
    "AVIF": saved("RGB", "AVIF", speed=10),
    "AVIF with alpha and all colours": saved("RGBA", "AVIF", speed=10, subsampling="4:4:4"),
    "turned AVIF": saved("RGB", "AVIF", **oriented(speed=10)),
    "HEIC": saved("RGB", "HEIF", quality=10),
    "HEIC with alpha and all colours": saved("RGBA", "HEIF", quality=10, chroma=444),
    "RGB BMP": saved("RGB", "BMP"),
    "run-length BMP": lambda side: bmp(
        side, side, 8, (b"\xff\1" * (side // 255) + bytes([side % 255, 1, 0, 0])) * side + b"\0\1",
        1, bytes(range(256)) * 4,
    ),
    "GIF": saved("P", "GIF"),
    "transparent GIF": saved("P", "GIF", transparency=0, disposal=2),
    "GIF with a tiny frame": lambda side: gif(side, side).replace(
        b"," + struct.pack("<HHHH", 0, 0, side, side), b"," + struct.pack("<HHHH", 0, 0, 1, 1)
    ),
    "raw TIFF": saved("RGB", "TIFF"),
    "turned TIFF": saved("RGB", "TIFF", **oriented(compression="tiff_lzw")),
    "JPEG TIFF": saved("RGB", "TIFF", compression="jpeg"),
    "CMYK TIFF": saved("CMYK", "TIFF", compression="tiff_lzw"),
    "16-bit grey TIFF": in_one_strip(16, 1, 1),
    "16-bit RGBA TIFF": in_one_strip(16, 4, 2, {338: (2,)}),
    "16-bit CMYK TIFF": in_one_strip(16, 4, 5),
    "32-bit grey TIFF": in_one_strip(32, 1, 1),
    "planar TIFF": in_one_strip(8, 3, 2, planes=3),
    "YCbCr TIFF": in_one_strip(8, 3, 6, {530: (1, 1)}),
    "turned 16-bit RGBA TIFF": in_one_strip(16, 4, 2, {274: (6,), 338: (2,)}),
    "progressive CMYK JPEG TIFF": in_one_strip(
        8, 4, 5, jpeg=saved("CMYK", "JPEG", progressive=True, subsampling=0)
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, float, float]]:
    """Of each kind: the pixels of an image, the file's MiB, and the MiB that decoding it takes."""
    return measure(tmp_path_factory.mktemp("kinds"), SIDE)


def measure(folder: Path, side: int) -> dict[str, tuple[int, float, float]]:
    files = {kind: (folder / f"{kind} small", folder / kind) for kind in KINDS}
    for kind, (small, large) in files.items():
        small.write_bytes(KINDS[kind](64))
        large.write_bytes(KINDS[kind](side))
    paths = [path for pair in files.values() for path in pair]
    done = subprocess.run([sys.executable, "-c", CHILD, *paths], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    taken = {}
    for line in done.stdout.decode().splitlines():
        name, pixels, kib = line.rsplit(" ", 2)
        size = Path(name).stat().st_size
        taken[Path(name).name] = int(pixels), size / 2**20, int(kib) / 1024
    return taken


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_takes_no_more_bytes_a_pixel_than_promised(
    kind: str, taken: dict[str, tuple[int, float, float]]
) -> None:
    pixels, file_mib, mib = taken[kind]
    assert pixels == SIDE * SIDE
    assert mib <= BYTES_PER_PIXEL * pixels / 2**20 + 3 * file_mib
    # It has the file's pixels at least once as RGB; else this measures nothing.
    assert mib >= 3 * pixels / 2**20


if __name__ == "__main__":
    for kind, (pixels, file_mib, mib) in measure(Path(sys.argv[1]), int(sys.argv[2])).items():
        print(f"{kind:32} {file_mib:7.1f} MiB file {mib * 2**20 / pixels:6.2f} B/pixel")
