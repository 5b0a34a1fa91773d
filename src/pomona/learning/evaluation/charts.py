"""Charts: where the lines and words of a figure go, in a frame of 560 × 316."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pomona.report.formatting import percent

LEFT, TOP, WIDTH, HEIGHT = 64, 36, 476, 220
BOTTOM = TOP + HEIGHT

# A bin of fewer answers says next to nothing.
FEWEST_DRAWN = 5

Point = tuple[float, float]


@dataclass(frozen=True)
class Chart:
    """A line chart, in pixels of its frame.

    Attributes
    ----------
    name, title, description : str
        An identifier; what it shows; and what can be seen in it, for those who cannot see it.
    x_title, y_title : str
        What is along the axes.
    x_ticks, y_ticks : list of (float, str)
        Where the grid is, and what stands beside it.
    curves : list of (str, list of (float, float))
        Lines, each with its class.
    dots : list of (str, float, float)
        Dots, each with its class.
    ranges : list of (float, float, float)
        Vertical lines: x, and the two ends.
    texts : list of (float, float, str)
        Words at a dot, to its left.
    """

    name: str
    title: str
    description: str
    x_title: str
    y_title: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    curves: list[tuple[str, list[Point]]]
    dots: list[tuple[str, float, float]] = field(default_factory=list)
    ranges: list[tuple[float, float, float]] = field(default_factory=list)
    texts: list[tuple[float, float, str]] = field(default_factory=list)
    left: int = LEFT
    top: int = TOP
    right: int = LEFT + WIDTH
    bottom: int = BOTTOM


def _x(share: float) -> float:
    return round(LEFT + WIDTH * share, 1)


@dataclass(frozen=True)
class _Heights:
    """The axis of accuracies, from a round number below the lowest of them to 1."""

    low: float
    step: float

    @classmethod
    def of(cls, lowest: float) -> _Heights:
        span = max(1 - lowest, 1e-4)
        step = next(
            factor * 10.0**power
            for power in range(-5, 1)
            for factor in (1, 2, 5)
            if span <= 5 * factor * 10.0**power
        )
        return cls(max(0.0, 1 - step * math.ceil(round(span / step, 6))), step)

    def y(self, accuracy: float) -> float:
        return round(BOTTOM - HEIGHT * (accuracy - self.low) / (1 - self.low), 1)

    def ticks(self) -> list[tuple[float, str]]:
        digits = max(0, -math.floor(math.log10(100 * self.step) + 1e-9))
        values = [self.low + self.step * at for at in range(round((1 - self.low) / self.step) + 1)]
        return [(self.y(value), f"{100 * value:.{digits}f}") for value in values]


def reliability(calibration: Mapping[str, Any]) -> Chart:
    """The reliability diagram, before and after temperature.

    Parameters
    ----------
    calibration : mapping
        That of an evaluation.
    """
    heights = _Heights(0.0, 0.2)
    before, after = (
        [one for one in calibration[when]["curve"] if one["rows"] >= FEWEST_DRAWN]
        for when in ("before", "after")
    )

    def place(one: Mapping[str, Any]) -> Point:
        return _x(one["probability"]), heights.y(one["accuracy"])

    return Chart(
        name="reliability",
        title="Accuracy by probability",
        description="; ".join(
            f"of {one['rows']} answers with a mean probability of {one['probability']:.2f}, "
            f"{percent(one['accuracy'])} are right"
            for one in after
        ),
        x_title="mean probability of the answers (%)",
        y_title="right (%)",
        x_ticks=[(_x(tick / 5), str(20 * tick)) for tick in range(6)],
        y_ticks=heights.ticks(),
        curves=[
            ("even", [(_x(0), heights.y(0)), (_x(1), heights.y(1))]),
            ("before", [place(one) for one in before]),
            ("curve", [place(one) for one in after]),
        ],
        dots=[("dot", *place(one)) for one in after],
        ranges=[
            (_x(one["probability"]), heights.y(one["low"]), heights.y(one["high"])) for one in after
        ],
    )


def sure_first(
    curve: Sequence[tuple[float, float]], thresholds: Sequence[Mapping[str, Any]]
) -> Chart:
    """The accuracy of the surest answers, by how many of the images get one.

    Parameters
    ----------
    curve : sequence of (float, float)
        Shares answered, and the accuracy of these.
    thresholds : sequence of mapping
        Those of an evaluation, of which the ones that can be promised are marked.
    """
    heights = _Heights.of(min(accuracy for _, accuracy in curve))
    marked = [one for one in thresholds if one["test"] and one["test"]["rows"]]
    dots: dict[Point, list[str]] = {}
    for one in marked:
        place = _x(one["test"]["answered"]), heights.y(one["test"]["accuracy"])
        dots.setdefault(place, []).append(f"{100 * one['wanted']:g}")
    return Chart(
        name="sure-first",
        title="Accuracy by the share of images that get an answer",
        description=f"If all are answered {percent(curve[-1][1])} are right; "
        + "; ".join(
            f"if {percent(share)} are, {percent(accuracy)}" for share, accuracy in curve[:-1:20]
        ),
        x_title="test images that get an answer, the surest first (%)",
        y_title="right (%)",
        x_ticks=[(_x(tick / 5), str(20 * tick)) for tick in range(6)],
        y_ticks=heights.ticks(),
        curves=[("curve", [(_x(share), heights.y(accuracy)) for share, accuracy in curve])],
        dots=[("dot", *dot) for dot in dots],
        texts=[(x - 9, y + 18, ", ".join(wanted)) for (x, y), wanted in dots.items()],
    )


def growth(curve: Mapping[str, Any]) -> Chart:
    """The learning curve.

    Parameters
    ----------
    curve : mapping
        That of an evaluation.
    """
    points = curve["points"]
    heights = _Heights.of(min(one["accuracy"]["low"] or one["accuracy"]["value"] for one in points))
    first, last = (math.log(points[at]["rows"]) for at in (0, -1))

    def x(rows: int) -> float:
        return _x(0.06 + 0.88 * (math.log(rows) - first) / max(last - first, 1e-9))

    places = [(x(one["rows"]), heights.y(one["accuracy"]["value"])) for one in points]
    return Chart(
        name="growth",
        title="Accuracy by number of training images",
        description="; ".join(
            f"{one['rows']:,} images: {percent(one['accuracy']['value'])}" for one in points
        ),
        x_title="training images",
        y_title="right (%)",
        x_ticks=[(x(one["rows"]), f"{one['rows']:,}") for one in points],
        y_ticks=heights.ticks(),
        curves=[("curve", places)],
        dots=[("dot", *place) for place in places],
        ranges=[
            (x(one["rows"]), heights.y(one["accuracy"]["low"]), heights.y(one["accuracy"]["high"]))
            for one in points
            if one["accuracy"]["low"] is not None
        ],
    )
