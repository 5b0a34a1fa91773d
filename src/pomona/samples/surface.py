"""Grows a fruit: from the description of a variety to the points of its surface.

    profile ─turned about an axis─▶ body ─markings: colour and relief─┐
    stem, leaves ─────────────────────────────────────────────────────┴─▶ Surface

Lengths are roughly in radii of the fruit; z is the axis, from the blossom end up to the stem.
Colours are sRGB in a `Variety` and linear light in a `Surface`.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from pomona.samples.skin import PATTERNS, TAU, Floats, Skin, noise

Colour = tuple[int, int, int]

GAMMA = 2.2


@dataclass(frozen=True)
class Marking:
    """One layer of the skin.

    Attributes
    ----------
    pattern : str
        A key of `skin.PATTERNS`, which tells where the layer is.
    colour : (int, int, int) or None
        Its sRGB colour. None: it colours nothing.
    scale, cover : float
        As the pattern takes them.
    opacity : float
        How much of the colour beneath it hides, 0 to 1.
    relief : float
        How far it stands out; negative: how deep it goes in.
    """

    pattern: str
    colour: Colour | None = None
    scale: float = 2.0
    cover: float = 0.5
    opacity: float = 1.0
    relief: float = 0.0


@dataclass(frozen=True)
class Stem:
    """The stalk. lean: how far its tip leans aside, as a share of its length."""

    length: float
    radius: float
    colour: Colour
    lean: float = 0.25


@dataclass(frozen=True)
class Leaves:
    """Sepals around one end. lift: how far their tips stand off the skin."""

    count: int
    length: float
    width: float
    colour: Colour
    lift: float = 0.05
    end: Literal["stem", "blossom"] = "stem"


@dataclass(frozen=True)
class Variety:
    """The description of a kind of fruit.

    Attributes
    ----------
    name : str
        Its label.
    profile : tuple of (float, float)
        Control points of the outline, as distance from the axis and height, from the stem to the
        blossom end.
    colour : (int, int, int)
        The sRGB colour of the bare skin.
    markings : tuple of Marking
        The layers of the skin, from the lowest up.
    stem : Stem or None
        The stalk.
    leaves : Leaves or None
        The sepals.
    bend : float
        The curvature of the axis, in 1 / length.
    gloss : float
        The strength of the highlights.
    fuzz : float
        The strength of the pale rim of a downy skin.
    """

    name: str
    profile: tuple[tuple[float, float], ...]
    colour: Colour
    markings: tuple[Marking, ...] = ()
    stem: Stem | None = None
    leaves: Leaves | None = None
    bend: float = 0.0
    gloss: float = 0.5
    fuzz: float = 0.0


class Surface(NamedTuple):
    """The points of a fruit, or of one part of it.

    Attributes
    ----------
    points, normals, colours : float32[n, 3]
        Where they are, their unit normals, and their linear RGB.
    gloss : float32[n]
        The strength of their highlights.
    """

    points: Floats
    normals: Floats
    colours: Floats
    gloss: Floats


@lru_cache(maxsize=4)
def grow(variety: Variety, pixels: int) -> tuple[Surface, float]:
    """Grows the surface of a variety.

    Parameters
    ----------
    variety : Variety
        The fruit.
    pixels : int
        The side of an image that the points are to fill without gaps.

    Returns
    -------
    surface : Surface
        Its points.
    reach : float
        The greatest extent of the body, in units of length.
    """
    curve = _smooth(variety.profile)
    reach = float(max(2 * curve[:, 0].max(), np.ptp(curve[:, 1])))
    spacing = 0.9 * reach / pixels
    outline = _even(curve, spacing)
    parts = [_body(variety, outline, spacing)]
    rng = _generator(variety, len(variety.markings))
    if variety.leaves is not None:
        parts += _leaves(variety.leaves, outline, spacing, rng)
    if variety.stem is not None:
        parts.append(_stem(variety.stem, float(outline[0, 1]), spacing, rng))
    whole = (np.concatenate(fields, dtype=np.float32) for fields in zip(*parts, strict=True))
    return Surface(*whole), reach


def _generator(variety: Variety, layer: int) -> np.random.Generator:
    """The generator of a layer of a variety, which comes from the variety's name alone."""
    return np.random.default_rng([zlib.crc32(variety.name.encode()), layer])


def _smooth(profile: tuple[tuple[float, float], ...]) -> Floats:
    """float32[n, 2]: the profile with its corners cut by Chaikin's algorithm.

    Mirrored neighbours make it cross the axis at a right angle.
    """
    curve = np.array(profile, np.float32)
    mirror = np.array([-1, 1], np.float32)
    curve = np.vstack([curve[1] * mirror, curve, curve[-2] * mirror])
    for _ in range(5):
        near, far = 0.75 * curve[:-1] + 0.25 * curve[1:], 0.25 * curve[:-1] + 0.75 * curve[1:]
        curve = np.stack([near, far], axis=1).reshape(-1, 2)
    return curve[curve[:, 0] >= 0]


def _even(curve: Floats, spacing: float) -> Floats:
    """float32[rows, 2]: the curve in even steps of about `spacing`, without its end points."""
    length = _length_along(curve)
    rows = math.ceil(length[-1] / spacing)
    steps = (np.arange(rows) + 0.5) / rows * length[-1]
    return np.stack([np.interp(steps, length, axis) for axis in curve.T], axis=1, dtype=np.float32)


def _length_along(curve: Floats) -> Floats:
    """float32[n]: the length of a curve up to each of its points."""
    return np.append(0, np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1)))


def _grid(rows: float, columns: float, *, closed: bool) -> tuple[Floats, Floats]:
    """The parameters of a grid: float32[rows, 1], from 0 to 1, and float32[1, columns].

    The latter are angles in radians if the grid is closed, else -1 to 1 across a sheet.
    """
    down = np.linspace(0, 1, math.ceil(rows), dtype=np.float32)[:, None]
    if closed:
        across = np.linspace(0, TAU, math.ceil(columns), endpoint=False, dtype=np.float32)
    else:
        across = np.linspace(-1, 1, math.ceil(columns), dtype=np.float32)
    return down, across[None, :]


def _stacked(x: Floats, y: Floats, z: Floats) -> Floats:
    """Points, from coordinates that are broadcast against each other."""
    return np.stack(np.broadcast_arrays(x, y, z), axis=-1)


def _body(variety: Variety, outline: Floats, spacing: float) -> Surface:
    """The outline turned about the axis, with the markings of its skin."""
    radius, height = outline[:, :1], outline[:, 1:]
    along, turn = _grid(len(outline), TAU * radius.max() / spacing, closed=True)
    along = np.clip(along, 1e-3, 1 - 1e-3)
    points = _stacked(radius * np.cos(turn), radius * np.sin(turn), height)
    skin = Skin(points, along, turn)

    colours = np.full_like(points, _linear(variety.colour))
    relief = np.zeros_like(points[..., 0])
    for layer, marking in enumerate(variety.markings):
        pattern = PATTERNS[marking.pattern]
        weight = pattern(skin, marking.scale, marking.cover, _generator(variety, layer))
        relief += marking.relief * weight
        if marking.colour is not None:
            colours += marking.opacity * weight[..., None] * (_linear(marking.colour) - colours)
    colours *= _openness(outline)[:, None, None]
    if relief.any():
        points = points + relief[..., None] * _normals(points, closed=True)[0]
    if variety.bend:
        points = _bent(points, variety.bend)
    return _patch(points, colours, variety.gloss, spacing, closed=True)


def _bent(points: Floats, bend: float) -> Floats:
    """Points whose axis is bent to a circle of radius 1 / bend."""
    x, y, z = np.moveaxis(points, -1, 0)
    arm = 1 / bend - x
    return _stacked(1 / bend - arm * np.cos(bend * z), y, arm * np.sin(bend * z))


def _openness(outline: Floats) -> Floats:
    """float32[rows]: the share of the sky that is visible from the hollow at either end."""
    widest = int(outline[:, 0].argmax())
    openness = np.ones(len(outline), np.float32)
    for end, up in ((np.s_[:widest], 1), (np.s_[widest:], -1)):
        radius, height = outline[end].T
        rise = up * (height[None, :] - height[:, None])
        run = radius[None, :] - radius[:, None]
        slope = np.where((run > 0) & (rise > 0), rise / (np.abs(run) + 0.05), 0).max(axis=1)
        openness[end] = 1 - 0.75 * slope / np.hypot(1, slope)
    return openness


def _stem(stem: Stem, foot: float, spacing: float, rng: np.random.Generator) -> Surface:
    """The stalk: a tube that leans aside and is thicker at its ends."""
    t, turn = _grid(stem.length / spacing, 1.5 * TAU * stem.radius / spacing, closed=True)
    t = t[::-1]
    radius = stem.radius * (0.8 + 0.5 * (1 - t) ** 4 + 0.6 * t**8) * np.sqrt(1 - t**40)
    toward = rng.uniform(0, TAU)
    aside = stem.lean * stem.length * t**2
    points = _stacked(
        radius * np.cos(turn) + aside * math.cos(toward),
        radius * np.sin(turn) + aside * math.sin(toward),
        foot - 0.03 + stem.length * t,
    )
    bark = np.clip(0.85 + 0.15 * noise(points, 9, rng), 0.4, 1.2)
    return _patch(points, _linear(stem.colour) * bark[..., None], 0.1, spacing, closed=True)


def _leaves(
    leaves: Leaves, outline: Floats, spacing: float, rng: np.random.Generator
) -> list[Surface]:
    """The sepals: pointed sheets of two sides that follow the skin from one end."""
    outline, outwards = (outline, 1) if leaves.end == "stem" else (outline[::-1], -1)
    length = _length_along(outline)
    s, across = _grid(1.2 * leaves.length / spacing, 2.5 * leaves.width / spacing, closed=False)
    half_width = leaves.width * np.sin(math.pi * np.minimum(1, s**0.8 + 0.12))
    colour = _linear(leaves.colour) * (1 - 0.35 * np.exp(-((across[..., None] * 5) ** 2)))
    sides = []
    for number in range(leaves.count):
        turn = (number + rng.uniform(-0.15, 0.15)) * TAU / leaves.count
        reach = s * leaves.length * rng.uniform(0.85, 1.1)
        radius, height = (np.interp(reach, length, axis) for axis in outline.T)
        lift = 0.03 + leaves.lift * rng.uniform(0.6, 1.3) * s**2 - 0.02 * np.abs(across)
        points = _stacked(
            radius * math.cos(turn) - half_width * across * math.sin(turn),
            radius * math.sin(turn) + half_width * across * math.cos(turn),
            height + outwards * lift,
        )
        colours: Floats = np.broadcast_to(colour * rng.uniform(0.8, 1.1), points.shape)
        for side in (points, points[:, ::-1]):
            sides.append(_patch(side, colours, 0.15, spacing, closed=False))
    return sides


def _patch(
    points: Floats, colours: Floats, gloss: float, spacing: float, *, closed: bool
) -> Surface:
    """The points of a grid, thinned where they are closer than `spacing`."""
    normals, area = _normals(points, closed=closed)
    share = np.floor(np.cumsum(area.ravel(), dtype=np.float64) * (1.1 / spacing**2))
    kept = np.flatnonzero(np.diff(share, prepend=-1))
    points, normals, colours = (grid.reshape(-1, 3)[kept] for grid in (points, normals, colours))
    return Surface(points, normals, colours, np.full(len(kept), gloss, np.float32))


def _normals(points: Floats, *, closed: bool) -> tuple[Floats, Floats]:
    """A grid's unit normals, float32[rows, columns, 3], and cell areas, float32[rows, columns].

    closed: whether the last column meets the first.
    """
    wrapped = np.pad(points, ((0, 0), (1, 1), (0, 0)), "wrap" if closed else "edge")
    down = np.gradient(points, axis=0)
    right = (wrapped[:, 2:] - wrapped[:, :-2]) * np.float32(0.5)
    normals = np.cross(down, right)
    area = np.sqrt(np.einsum("ijk,ijk->ij", normals, normals))
    return normals / np.maximum(area, 1e-12)[..., None], area


def _linear(colour: Colour) -> Floats:
    """float32[3]: the linear light of an sRGB colour."""
    return ((np.array(colour) / 255) ** GAMMA).astype(np.float32)
