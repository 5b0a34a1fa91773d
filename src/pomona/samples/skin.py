"""Patterns of a fruit's skin: each is a weight from 0 to 1 for every point of the body.

A pattern is a function of the point in space, so it has no seam and turns with the fruit. Each
takes a `scale` (the detail, or the number of elements), a `cover` (roughly the share of the skin,
or the width of elements) and a generator, which makes it unique to a fruit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
TAU = 2 * math.pi


@dataclass(frozen=True)
class Skin:
    """The bare body of a fruit, as a grid.

    Attributes
    ----------
    points : float32[rows, columns, 3]
        Where its points are.
    along : float32[rows, 1]
        How far a row is along the skin: 0 at the stem, 1 at the blossom end.
    turn : float32[1, columns]
        The angle of a column about the axis, in radians.
    """

    points: Floats
    along: Floats
    turn: Floats


Pattern = Callable[[Skin, float, float, np.random.Generator], Floats]


def noise(points: Floats, frequency: float, rng: np.random.Generator, waves: int = 14) -> Floats:
    """Smooth random values that are fixed in space: a sum of plane waves.

    Parameters
    ----------
    points : float32[..., 3]
        Where to evaluate them.
    frequency : float
        The standard deviation of the waves' frequencies, in radians per unit of length.
    rng : numpy.random.Generator
        Decides the waves.
    waves : int
        The number of waves.

    Returns
    -------
    float32[...]
        About standard normal.
    """
    directions = rng.normal(0, frequency, (3, waves)).astype(np.float32)
    angles: Floats = points @ directions
    angles += rng.uniform(0, TAU, waves).astype(np.float32)
    np.cos(angles, out=angles)
    heights: Floats = angles @ np.full(waves, math.sqrt(2 / waves), np.float32)
    return heights


def _ramp(values: Floats, low: float, high: float) -> Floats:
    """0 below `low`, 1 above `high`, and smooth between."""
    t: Floats = np.clip((values - low) * np.float32(1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


def _above(values: Floats, cover: float, softness: float) -> Floats:
    """1 for the highest share `cover` of values that are about standard normal, and soft edges."""
    rim = 2.6 * (0.5 - cover)
    return _ramp(values, rim - softness, rim + softness)


def _blotches(skin: Skin, scale: float, cover: float, rng: np.random.Generator) -> Floats:
    """Clouds of any shape."""
    return _above(noise(skin.points, scale, rng), cover, 1.0)


def _streaks(skin: Skin, scale: float, cover: float, rng: np.random.Generator) -> Floats:
    """Strokes from one end to the other."""
    x, y, z = np.broadcast_arrays(np.cos(skin.turn), np.sin(skin.turn), 0.3 * skin.along)
    strokes = noise(np.stack([x, y, z], -1), scale, rng)
    return _above(strokes + 0.5 * noise(skin.points, 2.5, rng), cover, 1.0)


def _side(skin: Skin, scale: float, cover: float, rng: np.random.Generator) -> Floats:
    """The cheek that faced the sun."""
    rim = 1 - 2 * cover
    return _ramp(skin.points[..., 0] + 0.25 * noise(skin.points, scale, rng), rim - 0.6, rim + 0.6)


def _stem_end(skin: Skin, scale: float, cover: float, rng: np.random.Generator) -> Floats:
    """A ragged patch around the stem."""
    ragged = skin.along + 0.12 * cover * noise(skin.points, 4 * scale, rng)
    return 1 - _ramp(ragged, 0.3 * cover, cover)


def _blossom_end(skin: Skin, scale: float, cover: float, rng: np.random.Generator) -> Floats:
    """A ragged patch around the blossom end."""
    ragged = 1 - skin.along + 0.12 * cover * noise(skin.points, 4 * scale, rng)
    return 1 - _ramp(ragged, 0.3 * cover, cover)


def _pores(skin: Skin, scale: float, cover: float, rng: np.random.Generator) -> Floats:
    """The dimples of a peel."""
    return _above(noise(skin.points, scale, rng), cover, 1.2)


def _dots(skin: Skin, scale: float, cover: float, rng: np.random.Generator) -> Floats:
    """`scale` round dots on a golden spiral, each moved a little, so that they form no rows."""
    count = round(scale)
    height = 1 - (2 * np.arange(count) + 1) / count
    turn = np.arange(count) * (math.pi * (3 - math.sqrt(5)))
    ring = np.sqrt(1 - height * height)
    centres = np.stack([ring * np.cos(turn), ring * np.sin(turn), height], -1)
    centres += rng.normal(0, 0.5 / math.sqrt(count), centres.shape)
    centres = (centres / np.linalg.norm(centres, axis=1, keepdims=True)).astype(np.float32)
    radius = 2 * math.sqrt(cover / count)

    outward = skin.points / np.linalg.norm(skin.points, axis=-1, keepdims=True)
    cosine = np.full(outward.shape[:2], -1, np.float32)
    for first in range(0, len(outward), 10):
        band = outward[first : first + 10]
        low, high = band[..., 2].min() - radius, band[..., 2].max() + radius
        near = centres[(centres[:, 2] > low) & (centres[:, 2] < high)]
        if len(near):
            cosine[first : first + 10] = (band @ near.T).max(-1)
    return 1 - _ramp(np.sqrt(np.maximum(0, 2 - 2 * cosine)), 0.5 * radius, radius)


def _net(skin: Skin, scale: float, cover: float, rng: np.random.Generator) -> Floats:
    """Cords that cross; `cover` is their width."""
    cords = [np.exp(-((noise(skin.points, scale, rng) / cover) ** 2)) for _ in range(2)]
    net: Floats = np.maximum(cords[0], cords[1])
    return net


def _sectors(skin: Skin, scale: float, cover: float, rng: np.random.Generator) -> Floats:
    """`scale` ragged bands from one end to the other."""
    wave = np.cos(round(scale) * skin.turn + 0.7 * noise(skin.points, 5.0, rng))
    rim = 1 - 2 * cover
    return _ramp(wave, rim - 0.35, rim + 0.35)


def _ribs(skin: Skin, scale: float, cover: float, rng: np.random.Generator) -> Floats:
    """`scale` swellings from end to end with creases between them, sharper with less `cover`."""
    turn = skin.turn + 0.12 * noise(skin.points, 1.0, rng)
    swelling: Floats = np.abs(np.sin(turn * round(scale) / 2)) ** np.float32(cover)
    swelling *= np.sqrt(np.sin(math.pi * skin.along))
    return swelling


def _groove(skin: Skin, scale: float, cover: float, rng: np.random.Generator) -> Floats:
    """The seam down one side of a stone fruit; `cover` is its width in radians."""
    aside = (skin.turn + math.pi / 2) % TAU - math.pi
    seam: Floats = np.exp(-((aside / cover) ** 2)) * np.sin(math.pi * skin.along) ** np.float32(0.3)
    return seam


PATTERNS: dict[str, Pattern] = {
    "blotches": _blotches,
    "streaks": _streaks,
    "side": _side,
    "stem end": _stem_end,
    "blossom end": _blossom_end,
    "pores": _pores,
    "dots": _dots,
    "net": _net,
    "sectors": _sectors,
    "ribs": _ribs,
    "groove": _groove,
}
