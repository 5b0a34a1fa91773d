"""Speeds: what a core of AWS's machines does, and how long they take to start."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from pomona.errors import UsageError


@dataclass(frozen=True)
class Speed:
    """What one core does, with images of `PIXELS` pixels and the default network on Spark.

    Parameters
    ----------
    machine : str
        "serverless.arm64", "serverless.x86_64", or a family of EC2 such as "c7g".
    precision : {"float32", "bfloat16"}
        Of the network.
    images_per_s, low, high : float
        Images per second of a core: expected, and its range.
    cores_per_vcpu : float
        1, or 0.5 where a vCPU is one of a core's two threads.
    basis : {"measured", "inferred", "given"}
        Whether it was measured on such a processor; given by the user.
    why : str
        Where it is from.
    """

    machine: str
    precision: str
    images_per_s: float
    low: float
    high: float
    cores_per_vcpu: float
    basis: str
    why: str


@dataclass(frozen=True)
class Time:
    """A part of a run that does not depend on the number of images.

    Parameters
    ----------
    machine : {"serverless", "ec2", "any"}
        Where it passes.
    name : {"wait_s", "start_s", "finish_s"}
        The wait for machines, the start on them, and the driver's part, in which they idle.
    value, low, high : float
        Seconds: expected, and its range.
    basis, why : str
        As for `Speed`.
    """

    machine: str
    name: str
    value: float
    low: float
    high: float
    basis: str
    why: str


# The size of the images for which speeds are given: 100 x 100.
PIXELS = 10_000
# Seconds of a core per pixel: decoding JPEGs of 0.2 to 12 megapixels on Sapphire Rapids took
# 3.1 to 5.0 ns a pixel.
DECODE_S_PER_PIXEL = 5e-9
# Seconds of a core per image: PCA of 10,000,000 images takes 13 s on 128 cores (performance.md).
PCA_S_PER_IMAGE = 13 * 128 / 10_000_000
# How far a speed that is given may be off.
GIVEN_SPREAD = 0.1


@cache
def speeds() -> tuple[Speed, ...]:
    """Returns the package's table of speeds."""
    return tuple(Speed(**row) for row in _table()["speeds"])


def with_measured(images_per_s: float) -> tuple[Speed, ...]:
    """Returns the table of speeds with a measured one for EMR Serverless.

    Parameters
    ----------
    images_per_s : float
        What one core does in float32, with images of `PIXELS` pixels.

    Raises
    ------
    UsageError
        If it is not positive.
    """
    if not 0 < images_per_s < 1e6:
        raise UsageError(f"`images_per_second` {images_per_s:g}: give a number above 0")
    return tuple(
        dataclasses.replace(
            speed,
            images_per_s=images_per_s,
            low=images_per_s * (1 - GIVEN_SPREAD),
            high=images_per_s * (1 + GIVEN_SPREAD),
            basis="given",
            why="by you; up to a tenth less or more",
        )
        if speed.machine.startswith("serverless.")
        else speed
        for speed in speeds()
    )


def time_of(machine: str, name: str) -> Time:
    """Returns a part of a run that does not depend on the number of images.

    Parameters
    ----------
    machine : {"serverless", "ec2"}
        Where it passes.
    name : {"wait_s", "start_s", "finish_s"}
        Which part.
    """
    [found] = [
        Time(**row)
        for row in _table()["times"]
        if row["name"] == name and row["machine"] in (machine, "any")
    ]
    return found


@cache
def _table() -> dict[str, list[dict[str, Any]]]:
    table: dict[str, list[dict[str, Any]]] = json.loads(
        (files("pomona.aws") / "speeds.json").read_text(encoding="utf-8")
    )
    return table
