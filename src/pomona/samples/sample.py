"""Draws a folder of fruit to try pomona with, in the layout of Fruits-360.

    DIR/Training/Apple Red 1/72_100.jpg      turned by 72 degrees about its axis
    DIR/Test/Apple Red 1/r_144_100.jpg       turned by 144 degrees across it: it tumbles

Each image has a generator of its own, from the seed, the variety and the frame: no image depends
on another.
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
    """Counts of the images that were drawn.

    Attributes
    ----------
    folder : Path
        Where the images are.
    images, varieties : int
        How many there are.
    training, test : int
        The images of each split.
    """

    folder: Path
    images: int
    varieties: int
    training: int
    test: int


@dataclass(frozen=True)
class _Shot:
    """One photograph of a variety: its split, its file, and how the fruit is turned."""

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
    """Draws JPEGs of fruit. The same arguments draw the same pixels.

    Parameters
    ----------
    folder : Path
        Where the images go: a new or an empty folder.
    varieties : int
        The number of varieties, which are the labels: 1 to `MAX_VARIETIES`.
    per_variety : int
        The images of each variety: 1 to `MAX_PER_VARIETY`.
    seed : int
        Decides the light, the camera and the proportions of each fruit; 0 or more.
    progress : callable, optional
        Gets the number of images written since it was last called.

    Returns
    -------
    SampleSummary
        What was drawn.

    Raises
    ------
    UsageError
        For a number out of range, or a folder that is not new or empty.
    OSError
        If a file cannot be written.
    """
    _check("varieties", varieties, MAX_VARIETIES)
    _check("per_variety", per_variety, MAX_PER_VARIETY)
    if seed < 0:
        raise UsageError(f"`seed` {seed} is negative: give 0 or more")
    _check_free(folder)

    shots = _shots(per_variety)
    with threadpool_limits(limits=1):  # products of a few columns are faster without threads
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
    """Writes all shots of a variety."""
    for split in {shot.split for shot in shots}:
        (folder / split / variety.name).mkdir(parents=True)
    for frame, shot in enumerate(shots):
        rng = np.random.default_rng([*seeds, frame])
        pixels = draw(variety, shot.angle_degrees, rng, SIZE, spit=shot.spit)
        path = folder / shot.split / variety.name / shot.file_name
        Image.fromarray(pixels).save(path, quality=92, subsampling="4:2:0")
        if progress is not None:
            progress(1)


def _check(setting: str, value: int, maximum: int) -> None:
    """Raises UsageError for a number that is not from 1 to the maximum."""
    if not 1 <= value <= maximum:
        raise UsageError(f"`{setting}` {value} is out of range: give 1 to {maximum}")


def _check_free(folder: Path) -> None:
    """Raises UsageError for a folder that is not new or empty."""
    if folder.is_dir():
        if any(folder.iterdir()):
            raise UsageError(
                f"{folder} is not empty, and nothing in it is overwritten: "
                "choose another folder, or empty this one"
            )
    elif folder.exists():
        raise UsageError(f"{folder} is a file: choose a folder that is new or empty")


def _shots(count: int) -> list[_Shot]:
    """Shots by turns on the two spits, over a full circle on each; every fifth is for testing.

    Of two to four shots, the last is for testing.
    """
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
