"""Figures: what the report shows, as image files for slides. The only import of matplotlib."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pomona.errors import PomonaError
from pomona.progress import count
from pomona.report.formatting import percent
from pomona.report.sections.data import Data
from pomona.report.sections.map import Map
from pomona.report.sections.timing import Timing
from pomona.report.sections.variance import Variance

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE_INCHES = (8.0, 5.0)
DOTS_PER_INCH = 200
LABELS_DRAWN = 40
LEGEND_LABELS = 20
LETTERS = 40
GREEN, GOLD = "#2f6b4f", "#b97a1c"


def draw_all(sections: Mapping[str, Any], folder: Path, image_format: str) -> list[Path]:
    """Draws the figures of all sections that have something to draw.

    Parameters
    ----------
    sections : mapping of str to object
        The data of each section of the report by its name.
    folder : Path
        Where the files go. It is made if it is missing.
    image_format : str
        "png" or "svg".

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    PomonaError
        If matplotlib is not installed, or a file cannot be written.
    """
    try:
        with _quiet():
            from matplotlib.figure import Figure as Canvas
    except ModuleNotFoundError as exc:
        raise PomonaError('matplotlib is not installed: pip install "pomona[figures]"') from exc
    drawn = []
    for figure in FIGURES:
        data = sections[figure.section]
        if data is None or not figure.has_content(data):
            continue
        canvas = Canvas(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, layout="constrained")
        axes = canvas.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        file = folder / f"{figure.name}.{image_format}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _quiet():
                figure.draw(axes, data)
                # Without a date the same store gives the same bytes.
                canvas.savefig(file, metadata={"Date": None} if image_format == "svg" else None)
        except OSError as exc:
            raise PomonaError(f"cannot write {file}: {exc.strerror}; check `figures`") from exc
        drawn.append(file)
    return drawn


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences matplotlib, which speaks of letters that its fonts lack and of its cache."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _plain(text: str | None) -> str:
    """A label in a line, shortened: matplotlib takes what is between dollar signs for a formula."""
    if text is None:
        return "(no label)"
    line = " ".join(text.split())
    short = line if len(line) <= LETTERS else f"{line[: LETTERS - 1]}…"
    return short.replace("$", r"\$")


def _has_variance(variance: Variance) -> bool:
    return not variance.is_flat


def _draw_variance(axes: Axes, variance: Variance) -> None:
    components, explained = zip(*variance.curve, strict=True)
    axes.plot(components, [100 * share for share in explained], color=GREEN, linewidth=2.5)
    kept, height = variance.kept, 100 * variance.explained
    axes.plot([kept, kept], [0, height], color="black", linestyle="--", linewidth=1)
    axes.annotate(
        f"{kept:,} kept: {percent(variance.explained)}",
        (kept, height),
        (8, -16),
        textcoords="offset points",
    )
    axes.set(xlim=(0, variance.last), ylim=(0, 102), title="Cumulative variance")
    axes.set(xlabel="number of components", ylabel="variance explained (%)")


def _has_points(drawn: Map) -> bool:
    return bool(drawn.points)


def _draw_map(axes: Axes, drawn: Map) -> None:
    from matplotlib import colormaps

    labels = drawn.labels
    colours = colormaps["tab10" if len(labels) <= 10 else "tab20" if len(labels) <= 20 else "turbo"]
    dots = []
    for label in labels:
        dots.append(
            axes.scatter(
                [point.x for point in label.points],
                [drawn.height - point.y for point in label.points],
                s=12,
                color=colours(label.number if len(labels) <= 20 else label.number / len(labels)),
            )
        )
    shares = [f"component {i} ({percent(share)})" for i, share in enumerate(drawn.shares, 1)]
    axes.set(xticks=[], yticks=[], xlabel=shares[0], ylabel=shares[1] if shares[1:] else "")
    axes.set(title=f"{len(drawn.points):,} of {count(drawn.total, 'image')}")
    if len(labels) <= LEGEND_LABELS:
        legend = axes.legend(
            dots, ["x"] * len(labels), bbox_to_anchor=(1, 1), loc="upper left", frameon=False
        )
        # Given to the legend itself, names that begin with an underscore would be left out.
        for text, label in zip(legend.get_texts(), labels, strict=True):
            text.set_text(_plain(label.label))


def _has_labels(data: Data) -> bool:
    return bool(data.labels.rows)


def _draw_labels(axes: Axes, data: Data) -> None:
    most = sorted(data.labels.rows, key=lambda row: -row.total)[:LABELS_DRAWN]
    rows = most[::-1]  # from the foot of the figure upwards
    size = min(9.0, 300 / len(rows))
    axes.barh(range(len(rows)), [row.total for row in rows], color=GREEN)
    axes.set_yticks(range(len(rows)), [_plain(row.label) for row in rows], fontsize=size)
    hidden = len(data.labels.rows) - len(rows)
    axes.set(
        title="Images per label",
        xlabel=f"images ({count(hidden, 'more label')})" if hidden else "images",
    )


def _has_times(timing: Timing) -> bool:
    last = timing.runs[0]
    return bool(last.stages or last.worker_stages)


def _draw_times(axes: Axes, timing: Timing) -> None:
    last = timing.runs[0]
    bars = [(f"worker: {text}", seconds, GOLD) for text, seconds in last.worker_stages]
    bars += [(text, seconds, GREEN) for text, seconds in last.stages]
    names, seconds, colours = zip(*bars[::-1], strict=True)
    axes.barh(range(len(bars)), seconds, color=colours)
    axes.set_yticks(range(len(bars)), names)
    engine, workers = last.entry["engine"], count(last.entry["workers"], "worker")
    axes.set(title=f"Where the time went: {engine}, {workers}", xlabel="seconds")


@dataclass(frozen=True)
class Figure:
    """A figure of a section's data. name: of its file; has_content: whether there is any."""

    name: str
    section: str
    has_content: Callable[[Any], bool]
    draw: Callable[[Axes, Any], None]


FIGURES = (
    Figure("variance", "variance", _has_variance, _draw_variance),
    Figure("map", "map", _has_points, _draw_map),
    Figure("labels", "data", _has_labels, _draw_labels),
    Figure("times", "timing", _has_times, _draw_times),
)
