"""Photographs a fruit: turns its surface on a spit, lights it, and renders it against white.

A surface is a cloud of points, grown once for a variety (`surface.py`) and cached. An image then
takes a rotation, a depth buffer, and the shading of the visible points.
"""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from pomona.samples.skin import Floats
from pomona.samples.surface import GAMMA, Surface, Variety, grow

Indices = npt.NDArray[np.intp]
Spit = Literal["upright", "across"]

SUPERSAMPLING = 2


def draw(
    variety: Variety,
    angle_degrees: float,
    rng: np.random.Generator,
    size: int = 100,
    *,
    spit: Spit = "upright",
) -> npt.NDArray[np.uint8]:
    """Draws one photograph of a fruit on a motor's spit.

    Parameters
    ----------
    variety : Variety
        The fruit.
    angle_degrees : float
        How far the spit is turned.
    rng : numpy.random.Generator
        Decides the light, the camera and this specimen's proportions.
    size : int
        The side of the image, in pixels.
    spit : {"upright", "across"}
        Whether the spit runs along the fruit's axis, seen from a little above, or across it, so
        that the fruit tumbles.

    Returns
    -------
    uint8[size, size, 3]
        RGB, on white.
    """
    surface, reach = grow(variety, size * SUPERSAMPLING)
    nod = rng.normal(0, 5)
    turn, elevation = (angle_degrees, 22 + nod) if spit == "upright" else (nod, angle_degrees)
    stretch = rng.normal(1, 0.025, 3)
    view = (_rotation(turn, elevation, roll=rng.normal(0, 4)) * stretch).astype(np.float32)

    front = np.flatnonzero(surface.normals @ view[2] > 0)
    pixels = size * SUPERSAMPLING
    framed = _framed(view @ surface.points[front].T, reach, pixels, rng)
    seen, nearest = _nearest(framed, pixels)
    light = np.ones((pixels * pixels, 3), np.float32)
    light[seen] = _shade(surface, front[nearest], view, variety.fuzz, rng)
    image = cv2.resize(light.reshape(pixels, pixels, 3), (size, size), interpolation=cv2.INTER_AREA)
    encoded: npt.NDArray[np.float32] = np.clip(image, 0, 1) ** np.float32(1 / GAMMA)
    return np.rint(encoded * 255).astype(np.uint8)


def _rotation(turn: float, elevation: float, roll: float) -> npt.NDArray[np.float64]:
    """float64[3, 3]: from the fruit's axes to the camera's (right, up, to the eye)."""
    (s, c), (se, ce), (sr, cr) = (
        (math.sin(a), math.cos(a)) for a in (math.radians(d) for d in (turn, elevation, roll))
    )
    spin = np.array([[c, -s, 0], [0, 0, 1], [-s, -c, 0]])
    nod = np.array([[1, 0, 0], [0, ce, -se], [0, se, ce]])
    lean = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    view: npt.NDArray[np.float64] = lean @ nod @ spin
    return view


def _framed(points: Floats, reach: float, pixels: int, rng: np.random.Generator) -> Floats:
    """float32[3, n]: column, row and depth of points (right, up, to the eye).

    They fill the frame up to a margin, unless a long fruit is seen end-on.
    """
    low, high = points.min(axis=1), points.max(axis=1)
    half = max(high[0] - low[0], high[1] - low[1], 0.75 * reach) / 2
    fill = rng.uniform(0.9, 0.97)
    centre = (low + high) / 2
    offset = pixels / 2 * (1 + np.append(rng.uniform(-1, 1, 2) * (0.98 - fill), 0))
    scale = fill * pixels / 2 / half * np.array([1, -1, 1])
    shift = offset - centre * scale
    framed: Floats = points * scale.astype(np.float32)[:, None]
    framed += shift.astype(np.float32)[:, None]
    return framed


def _nearest(framed: Floats, pixels: int) -> tuple[Indices, Indices]:
    """The pixels that the fruit covers, and for each the index of its nearest point."""
    column, row, depth = framed
    place = row.astype(np.intp) * pixels + column.astype(np.intp)
    numbers = len(place)
    order = np.floor((depth.astype(np.float64) + 8 * pixels) * 16)
    buffer = np.zeros(pixels * pixels)
    np.maximum.at(buffer, place, order * numbers + np.arange(len(place)))
    # A gap between points that are more than a pixel apart takes the value of a neighbour.
    square = np.ones((3, 3), np.uint8)
    closed = cv2.morphologyEx(buffer.reshape(pixels, pixels), cv2.MORPH_CLOSE, square)
    buffer = np.where(buffer > 0, buffer, closed.ravel())
    seen = np.flatnonzero(buffer)
    return seen, (buffer[seen] % numbers).astype(np.intp)


def _shade(
    surface: Surface, numbers: Indices, view: Floats, fuzz: float, rng: np.random.Generator
) -> Floats:
    """float32[n, 3]: linear light from the points of these indexes to the eye."""
    lamp = _unit(np.array([-0.5, 0.62, 0.8]) + rng.normal(0, 0.06, 3))
    halfway = _unit(lamp + np.array([0, 0, 1]))
    exposure = (rng.normal(1, 0.12) * rng.normal(1, 0.05, 3)).astype(np.float32)

    normals = surface.normals[numbers] @ np.linalg.inv(view)
    normals /= np.sqrt(np.einsum("ij,ij->i", normals, normals))[:, None]
    facing = np.clip(normals[:, 2], 0, 1)
    diffuse = np.clip((normals @ lamp + 0.3) / 1.3, 0, 1)
    ambient = 0.16 + 0.06 * normals[:, 1] + 0.24 * facing
    shine = np.clip(normals @ halfway, 0, 1)
    glint = surface.gloss[numbers] * (0.75 * shine**64 + 0.1 * shine**8)
    glint += fuzz * (1 - facing) ** 2 * (0.3 + diffuse)

    colours = surface.colours[numbers]
    # Light that reaches the shade was reflected by the fruit, and has its colour.
    light = 0.8 * diffuse[:, None] + ambient[:, None] * (0.6 + 0.6 * colours)
    shaded: Floats = colours * light * exposure + glint[:, None]
    return shaded


def _unit(vector: npt.NDArray[np.float64]) -> Floats:
    """A vector of length 1 in the same direction."""
    return (vector / np.linalg.norm(vector)).astype(np.float32)
