"""Damaged files of all formats that give other features without a word: how many, and of which.

    PYTHONPATH=tests python tests/corpus/silence.py [--files 1000] [--seed N]

Photographs are written in each format and damaged once: cut off, 32 bytes lost, zeroed or
overwritten, or a bit flipped. A file is silent if it is decoded without an error to features whose
cosine to those of the sound file is below 0.95.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable
from random import Random

import numpy as np
import pillow_heif
from PIL import Image
from skimage import data as photographs

from drawn import encode
from pomona.errors import ImageError
from pomona.extraction.featurize import featurize
from pomona.images.decode import decode

pillow_heif.register_heif_opener()  # the encoder
SIZE = 160, 120
LOST = 32
LEAST_COSINE = 0.95
SUBJECTS = ("astronaut", "chelsea", "coffee", "immunohistochemistry", "rocket", "retina")

FORMATS: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG": lambda image: encode(image, "JPEG", quality=85),
    "progressive JPEG": lambda image: encode(image, "JPEG", quality=85, progressive=True),
    "PNG": lambda image: encode(image, "PNG"),
    "WebP": lambda image: encode(image, "WEBP", quality=85),
    "lossless WebP": lambda image: encode(image, "WEBP", lossless=True),
    "BMP": lambda image: encode(image, "BMP"),
    "GIF": lambda image: encode(image.quantize(), "GIF"),
    "TIFF": lambda image: encode(image, "TIFF"),
    "LZW TIFF": lambda image: encode(image, "TIFF", compression="tiff_lzw"),
    "deflated TIFF": lambda image: encode(image, "TIFF", compression="tiff_adobe_deflate"),
    "AVIF": lambda image: encode(image, "AVIF", quality=80),
    "HEIC": lambda image: encode(image, "HEIF", quality=80),
}


def _bit(data: bytes, at: int, random: Random) -> bytes:
    return data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1 :]


WAYS: dict[str, Callable[[bytes, int, Random], bytes]] = {
    "cut off": lambda data, at, random: data[:at],
    "lost": lambda data, at, random: data[:at] + data[at + LOST :],
    "zeroed": lambda data, at, random: data[:at] + bytes(LOST) + data[at + LOST :],
    "overwritten": lambda data, at, random: data[:at] + random.randbytes(LOST) + data[at + LOST :],
    "a bit flipped": _bit,
}


def damaged(data: bytes, way: str, random: Random) -> bytes:
    """The file, damaged somewhere behind its signature."""
    return WAYS[way](data, random.randrange(16, len(data) - LOST), random)


def measure(files: int, seed: int) -> dict[str, Counter[str]]:
    """Format → outcome ("refused", "close", "silent") → how many; prints the silent ones."""
    images = [Image.fromarray(getattr(photographs, name)()).resize(SIZE) for name in SUBJECTS]
    sound = {name: [write(image) for image in images] for name, write in FORMATS.items()}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    kept = []
    for number in range(files):
        random = Random(f"{seed} {number}")  # noqa: S311
        name, way = list(FORMATS)[number % len(FORMATS)], random.choice(list(WAYS))
        whole = random.choice(sound[name])
        data = damaged(whole, way, random)
        try:
            kept.append((name, way, decode(whole).pixels, decode(data).pixels))
        except ImageError:
            counts[name]["refused"] += 1
    features = [featurize([pixels for *_, pixels, _ in kept]), featurize([row[3] for row in kept])]
    good, bad = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in features)
    for (name, way, *_), cosine in zip(kept, (good * bad).sum(axis=1), strict=True):
        is_silent = cosine < LEAST_COSINE
        counts[name]["silent" if is_silent else "close"] += 1
        if is_silent:
            print(f"{name}, {way}: {cosine:.3f}")
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    counts = measure(given.files, given.seed)
    for name, found in counts.items():
        print(f"{name}: " + ", ".join(f"{count} {outcome}" for outcome, count in found.items()))
    print(f"{sum(counts.values(), Counter[str]())}")


if __name__ == "__main__":
    main()
