"""Map: the images on the first two components, and those at each component's ends."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from pomona.images.select import spread_sample
from pomona.pca.projection import Projection
from pomona.report.context import ReportContext
from pomona.report.formatting import natural_key
from pomona.report.projected import ImageRef, Projected

MAP_IMAGES = 600
LEGEND_SHOWN = 24
# A picture's half is within the margin: on a phone it takes 8 % of the map's width.
WIDTH, HEIGHT, MARGIN = 1_000, 640, 44
COMPONENTS_SHOWN, ENDS_SHOWN, ENDS_PER_LABEL = 5, 6, 2
# The least distance of two pictures on the map, in its units, and how many there may be.
PICTURE_SIDE, PICTURES_SHOWN = 58, 80
# Hues that are the golden angle apart take long to come close to one another.
GOLDEN_ANGLE = 137.508


@dataclass(frozen=True)
class Point:
    """An image on the map: its place in the map's units, and the number of its label."""

    x: int
    y: int
    label: int
    image: ImageRef


@dataclass(frozen=True)
class MapLabel:
    """A label of the map.

    Attributes
    ----------
    label : str or None
        Its name. None: these images have no label.
    number : int
        Its place among the labels.
    points : list of Point
        Its images.
    hue : float
        The colour, in degrees.
    chroma : float
        How colourful it is, 0 for grey.
    tone : int
        Which of three tones of light it has, 0 to 2.
    """

    label: str | None
    number: int
    points: list[Point]
    hue: float
    chroma: float
    tone: int


@dataclass(frozen=True)
class Ends:
    """The images lowest and highest on a component.

    Attributes
    ----------
    component : int
        Its number, from 1 on.
    share : float
        The share of the variance that it explains.
    low, high : list of ImageRef
        The images, the outermost first.
    """

    component: int
    share: float
    low: list[ImageRef]
    high: list[ImageRef]


@dataclass(frozen=True)
class Map:
    """The map as the page draws it.

    Attributes
    ----------
    total : int
        How many images the store has on the components.
    points : list of Point
        These images or a sample, in the store's order.
    labels : list of MapLabel
        The same by label.
    pictured : list of Point
        Those that are drawn as pictures.
    shares : list of float
        The shares of the variance of the one or two components.
    ends : list of Ends
        The two ends of each of the first components.
    width, height : int
        The map's size in its units.
    legend_shown : int
        How many labels the legend shows at first.
    """

    total: int
    points: list[Point]
    labels: list[MapLabel]
    pictured: list[Point]
    shares: list[float]
    ends: list[Ends]
    width: int = WIDTH
    height: int = HEIGHT
    legend_shown: int = LEGEND_SHOWN

    def to_json(self, pictures: Mapping[str, str]) -> str:
        """The points for the page's script. No `<` is in it, so no label can end the script.

        Parameters
        ----------
        pictures : mapping of str to str
            Pictures in Base64, by path.
        """
        content = {
            "labels": [label.label for label in self.labels],
            "points": [
                [point.x, point.y, point.label, point.image.path, pictures.get(point.image.path)]
                for point in self.points
            ],
        }
        text = json.dumps(content, separators=(",", ":"))
        return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def gather(context: ReportContext) -> Map | None:
    """Places the images. None: none is on components."""
    projected, projection = context.projected, context.projection
    return None if not projected or projection is None else draw(projected, projection)


def draw(projected: Projected, projection: Projection) -> Map:
    """Places images, at least one.

    Parameters
    ----------
    projected : Projected
        The images. The map has at most `MAP_IMAGES` of them.
    projection : Projection
        Of their components.
    """
    points, names = _points(projected, projection)
    by_label: defaultdict[int, list[Point]] = defaultdict(list)
    for point in points:
        by_label[point.label].append(point)
    return Map(
        total=projected.total,
        points=points,
        labels=[
            MapLabel(name, number, by_label[number], *_colour(name, number))
            for number, name in enumerate(names)
        ],
        pictured=_choose_pictured(points),
        shares=[float(share) for share in projection.explained[: min(2, projection.k)]],
        ends=list(_ends(projected, projection)),
    )


def pictures(drawn: Map) -> Iterator[ImageRef]:
    """Yields the images at the ends of the components, then those of the map."""
    for ends in drawn.ends:
        yield from (*ends.low, *ends.high)
    for point in drawn.points:
        yield point.image


def _points(projected: Projected, projection: Projection) -> tuple[list[Point], list[str | None]]:
    """The points, and the names of the labels by number."""
    sample = spread_sample(projected.images, MAP_IMAGES, seed=0)
    rows = pc.index_in(sample["path"], value_set=projected.images["path"]).to_numpy()
    x = _place(projected.array[rows, 0], WIDTH)
    y = HEIGHT - _place(projected.array[rows, 1 if projection.k > 1 else 0], HEIGHT)
    y = y if projection.k > 1 else np.full_like(y, HEIGHT // 2)
    images = [ImageRef(**row) for row in sample.to_pylist()]
    names = sorted({image.label for image in images}, key=natural_key)
    numbers = {name: number for number, name in enumerate(names)}
    points = [
        Point(int(left), int(top), numbers[image.label], image)
        for left, top, image in zip(x, y, images, strict=True)
    ]
    return points, names


def _place(values: npt.NDArray[np.float32], length: int) -> npt.NDArray[np.int64]:
    """Values → whole numbers from the margin to the margin of `length`."""
    low, high = float(values.min()), float(values.max())
    share = (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
    placed: npt.NDArray[np.int64] = np.rint(MARGIN + share * (length - 2 * MARGIN)).astype(np.int64)
    return placed


def _colour(label: str | None, number: int) -> tuple[float, float, int]:
    """hue, chroma and tone."""
    hue = round(150 + number * GOLDEN_ANGLE, 1) % 360
    return hue, 0 if label is None else 0.14, number % 3


def _choose_pictured(points: list[Point]) -> list[Point]:
    """Points drawn by a seed whose pictures hide no other's."""
    chosen: list[Point] = []
    for at in np.random.default_rng(0).permutation(len(points)).tolist():
        point = points[at]
        if len(chosen) < PICTURES_SHOWN and all(
            max(abs(point.x - other.x), abs(point.y - other.y)) >= PICTURE_SIDE for other in chosen
        ):
            chosen.append(point)
    return chosen


def _ends(projected: Projected, projection: Projection) -> Iterator[Ends]:
    """The two ends of each of the first components, where there are two different images."""
    rows = projected.distinct()
    half = len(rows) // 2
    for component in range(min(COMPONENTS_SHOWN, projection.k) if half else 0):
        order = rows[np.argsort(projected.array[rows, component], kind="stable")]
        yield Ends(
            component=component + 1,
            share=float(projection.explained[component]),
            low=_first(projected, order[:half]),
            high=_first(projected, order[::-1][:half]),
        )


def _first(projected: Projected, rows: npt.NDArray[np.int64]) -> list[ImageRef]:
    """The images of the first rows, few of each label."""
    shown: list[ImageRef] = []
    per_label: Counter[str] = Counter()
    for row in rows.tolist():
        image = projected.image(row)
        if image.label is None or per_label[image.label] < ENDS_PER_LABEL:
            if image.label is not None:
                per_label[image.label] += 1
            shown.append(image)
        if len(shown) == ENDS_SHOWN:
            break
    return shown
