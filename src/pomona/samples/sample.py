"""Draws a folder of fruit to try pomona on, laid out as Fruits-360 is.

    DIR/Training/Apple Red 1/72_100.jpg      at 72 degrees on the upright spit
    DIR/Test/Apple Red 1/r_144_100.jpg       at 144 degrees on the spit across: it tumbles

Each image's generator comes from the seed, the variety and the frame, so no image depends on the
others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from threadpoolctl import threadpool_limits

from pomona.errors import UsageError
from pomona.samples.fruit import Spit, draw
from pomona.samples.surface import Variety
from pomona.samples.varieties import MAX_VARIETIES, varieties_of

__all__ = ["SampleSummary", "Variety", "draw", "draw_sample"]

SIZE = 100
MAX_PER_VARIETY = 720


@dataclass(frozen=True)
class SampleSummary:
    """What was drawn: counts of images in all, of varieties, and of images in each split."""

    folder: Path
    images: int
    varieties: int
    training: int
    test: int


@dataclass(frozen=True)
class _Shot:
    """Where one photograph of a variety goes, and how it is taken."""

    split: str
    file_name: str
    angle_degrees: int
    spit: Spit


def draw_sample(
    folder: Path,
    *,
    varieties: int = 12,
    per_variety: int = 25,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> SampleSummary:
    """Draw `per_variety` JPEGs of each of `varieties` kinds of fruit into `folder`.

    The same arguments draw the same pixels. `progress` is called with the number of images just
    written. Raises UsageError for a number out of range and a folder that is not free, and OSError
    as it comes.
    """
    _check("--varieties", varieties, MAX_VARIETIES)
    _check("--per-variety", per_variety, MAX_PER_VARIETY)
    if seed < 0:
        raise UsageError(f"--seed {seed} is negative: give 0 or more")
    _check_free(folder)

    shots = _shots(per_variety)
    with threadpool_limits(limits=1):  # products of a few columns: threads only get in the way
        for kind, variety in enumerate(varieties_of(varieties)):
            _photograph(variety, shots, folder, [seed, kind], progress)

    test = varieties * sum(shot.split == "Test" for shot in shots)
    images = varieties * per_variety
    return SampleSummary(folder, images, varieties, training=images - test, test=test)


def _photograph(
    variety: Variety,
    shots: list[_Shot],
    folder: Path,
    seeds: list[int],
    progress: Callable[[int], None] | None,
) -> None:
    for split in {shot.split for shot in shots}:
        (folder / split / variety.name).mkdir(parents=True)
    for frame, shot in enumerate(shots):
        rng = np.random.default_rng([*seeds, frame])
        pixels = draw(variety, shot.angle_degrees, rng, SIZE, spit=shot.spit)
        path = folder / shot.split / variety.name / shot.file_name
        Image.fromarray(pixels).save(path, quality=92, subsampling="4:2:0")
        if progress is not None:
            progress(1)


def _check(flag: str, value: int, maximum: int) -> None:
    if not 1 <= value <= maximum:
        raise UsageError(f"{flag} {value} is out of range: give 1 to {maximum}")


def _check_free(folder: Path) -> None:
    if folder.is_dir():
        if any(folder.iterdir()):
            raise UsageError(
                f"{folder} is not empty and nothing in it is overwritten: "
                "choose another folder, or empty this one"
            )
    elif folder.exists():
        raise UsageError(f"{folder} is a file: choose a folder that is new or empty")


def _shots(count: int) -> list[_Shot]:
    """`count` shots by turns on the two spits, each spit's spread over a full circle; every fifth
    (and of two to four the last) is for testing."""
    shots = []
    for frame in range(count):
        on_this_spit = (count + 1 - frame % 2) // 2
        angle = frame // 2 * 360 // on_this_spit
        spit: Spit = "across" if frame % 2 else "upright"
        prefix = "r_" if spit == "across" else ""
        test = count > 1 and frame % 5 == min(4, count - 1)
        split = "Test" if test else "Training"
        shots.append(_Shot(split, f"{prefix}{angle}_{SIZE}.jpg", angle, spit))
    return shots
