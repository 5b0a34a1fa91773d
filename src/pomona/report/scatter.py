"""Scatter: the images on the first two components, and those at each component's ends."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from pomona.images.select import spread_sample
from pomona.pca.projection import Projection
from pomona.report.counts import by_number
from pomona.report.projected import Projected

MAP_IMAGES = 600
# A picture's half is within the margin: on a phone it takes 8 % of the map's width.
WIDTH, HEIGHT, MARGIN = 1_000, 640, 44
COMPONENTS_SHOWN, ENDS_SHOWN, ENDS_PER_LABEL = 5, 6, 2
# How far apart pictures on the map are at least, in its units, and how many there may be.
PICTURE_SIDE, PICTURES_SHOWN = 58, 80
# Hues that follow one another by the golden angle never come close soon.
GOLDEN_ANGLE = 137.508


def draw(projected: Projected, projection: Projection) -> dict[str, Any] | None:
    """The map's points by label, as the page draws them; None where there is nothing to place."""
    if not len(projected):
        return None
    sample = spread_sample(projected.images, MAP_IMAGES, seed=0)
    rows = pc.index_in(sample["path"], value_set=projected.images["path"]).to_numpy()
    x = _place(projected.array[rows, 0], WIDTH)
    y = HEIGHT - _place(projected.array[rows, 1 if projection.k > 1 else 0], HEIGHT)
    y = y if projection.k > 1 else np.full_like(y, HEIGHT // 2)
    column = sample["label"].to_pylist()
    names = sorted(set(column), key=by_number)
    numbers = {name: number for number, name in enumerate(names)}
    points = [
        {"x": int(left), "y": int(top), "label": numbers[label], "path": path}
        for left, top, label, path in zip(x, y, column, sample["path"].to_pylist(), strict=True)
    ]
    labels = [
        {"label": name, "number": number, "points": [], **_colour(name, number)}
        for name, number in numbers.items()
    ]
    for point in points:
        labels[point["label"]]["points"].append(point)
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "points": points,
        "labels": labels,
        "pictured": _apart(points),
        "total": projected.total,
        "shares": [float(share) for share in projection.explained[: min(2, projection.k)]],
        "images": sample.select(["path", "sha256"]).to_pylist(),
    }


def _apart(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Points drawn by a seed whose pictures hide no other's."""
    chosen: list[dict[str, Any]] = []
    for at in np.random.default_rng(0).permutation(len(points)).tolist():
        point = points[at]
        if len(chosen) < PICTURES_SHOWN and all(
            max(abs(point["x"] - other["x"]), abs(point["y"] - other["y"])) >= PICTURE_SIDE
            for other in chosen
        ):
            chosen.append(point)
    return chosen


def _place(values: npt.NDArray[np.float32], length: int) -> npt.NDArray[np.int64]:
    """Values → whole numbers from the margin to the margin of `length`."""
    low, high = float(values.min()), float(values.max())
    share = (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
    placed: npt.NDArray[np.int64] = np.rint(MARGIN + share * (length - 2 * MARGIN)).astype(np.int64)
    return placed


def _colour(label: str | None, number: int) -> dict[str, Any]:
    """hue in degrees, chroma, and which of three tones of light; grey where there is no label."""
    hue = round(150 + number * GOLDEN_ANGLE, 1) % 360
    return {"hue": hue, "chroma": 0 if label is None else 0.14, "tone": number % 3}


def find_ends(projected: Projected, projection: Projection) -> list[dict[str, Any]]:
    """Of each of the first components: its share, and the images lowest and highest on it."""
    rows = projected.contents()
    half = len(rows) // 2
    ends = []
    for component in range(min(COMPONENTS_SHOWN, projection.k) if half else 0):
        order = rows[np.argsort(projected.array[rows, component], kind="stable")]
        ends.append(
            {
                "component": component + 1,
                "share": float(projection.explained[component]),
                "low": _first(projected, order[:half]),
                "high": _first(projected, order[::-1][:half]),
            }
        )
    return ends


def _first(projected: Projected, rows: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    """The images of the first rows, few of each label."""
    shown: list[dict[str, Any]] = []
    told: Counter[str] = Counter()
    for row in rows.tolist():
        image = projected.image(row)
        if image["label"] is None or told[image["label"]] < ENDS_PER_LABEL:
            told[image["label"]] += 1
            shown.append(image)
        if len(shown) == ENDS_SHOWN:
            break
    return shown


def to_json(drawn: dict[str, Any], pictures: dict[str, str]) -> str:
    """The map for the page's script; no `<` in it, so that no label can end the script element."""
    data = {
        "labels": [label["label"] for label in drawn["labels"]],
        "points": [
            [point["x"], point["y"], point["label"], point["path"], pictures.get(point["path"])]
            for point in drawn["points"]
        ],
    }
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
