"""Figures: what the page shows, as image files for slides. The only import of matplotlib."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pomona.errors import PomonaError
from pomona.report.judgement import count, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE_INCHES = (8.0, 5.0)
DOTS_PER_INCH = 200
LABELS_DRAWN = 40
LEGEND_LABELS = 20
LETTERS = 40
GREEN, GOLD = "#2f6b4f", "#b97a1c"


def draw_all(found: dict[str, Any], folder: Path, image_format: str) -> list[Path]:
    """Draws the figures that these numbers allow; returns their files.

    Raises PomonaError where matplotlib is missing, or the folder cannot be written.
    """
    try:
        with _quiet():
            from matplotlib.figure import Figure
    except ModuleNotFoundError as exc:
        raise PomonaError('matplotlib is not installed: pip install "pomona[figures]"') from exc
    drawn = []
    for name, (has_something, draw) in FIGURES.items():
        if not has_something(found):
            continue
        figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        file = folder / f"{name}.{image_format}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _quiet():
                draw(axes, found)
                # Without a date the same store gives the same bytes.
                figure.savefig(file, metadata={"Date": None} if image_format == "svg" else None)
        except OSError as exc:
            raise PomonaError(f"cannot write {file}: {exc.strerror}; check --figures") from exc
        drawn.append(file)
    return drawn


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps to itself what matplotlib says: of letters that its fonts lack, of its cache."""
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


def _variance(axes: Axes, found: dict[str, Any]) -> None:
    variance = found["variance"]
    components, held = zip(*variance["curve"], strict=True)
    axes.plot(components, [100 * share for share in held], color=GREEN, linewidth=2.5)
    kept, explained = variance["kept"], variance["explained"]
    axes.plot([kept, kept], [0, 100 * explained], color="black", linestyle="--", linewidth=1)
    axes.annotate(
        f"{kept:,} kept: {percent(explained)}",
        (kept, 100 * explained),
        (8, -16),
        textcoords="offset points",
    )
    axes.set(xlim=(0, variance["last"]), ylim=(0, 102), title="Cumulative variance")
    axes.set(xlabel="number of components", ylabel="variance held (%)")


def _map(axes: Axes, found: dict[str, Any]) -> None:
    from matplotlib import colormaps

    drawn = found["map"]
    count_of = len(drawn["labels"])
    colours = colormaps["tab10" if count_of <= 10 else "tab20" if count_of <= 20 else "turbo"]
    dots = []
    for number, label in enumerate(drawn["labels"]):
        points = label["points"]
        dots.append(
            axes.scatter(
                [point["x"] for point in points],
                [drawn["height"] - point["y"] for point in points],
                s=12,
                color=colours(number if count_of <= 20 else number / count_of),
            )
        )
    shares = [f"component {i} ({percent(share)})" for i, share in enumerate(drawn["shares"], 1)]
    axes.set(xticks=[], yticks=[], xlabel=shares[0], ylabel=shares[1] if shares[1:] else "")
    axes.set(title=f"{len(drawn['points']):,} of {count(drawn['total'], 'image')}")
    if count_of <= LEGEND_LABELS:
        legend = axes.legend(
            dots, ["x"] * count_of, bbox_to_anchor=(1, 1), loc="upper left", frameon=False
        )
        # Given to the legend itself, names that begin with an underscore would be left out.
        for text, label in zip(legend.get_texts(), drawn["labels"], strict=True):
            text.set_text(_plain(label["label"]))


def _labels(axes: Axes, found: dict[str, Any]) -> None:
    most = sorted(found["labels"]["rows"], key=lambda row: -row["total"])[:LABELS_DRAWN]
    rows = most[::-1]  # from the foot of the figure upwards
    names = [_plain(row["label"]) for row in rows]
    size = min(9.0, 300 / len(rows))
    axes.barh(range(len(rows)), [row["total"] for row in rows], color=GREEN)
    axes.set_yticks(range(len(rows)), names, fontsize=size)
    hidden = len(found["labels"]["rows"]) - len(rows)
    axes.set(
        title="Images per label",
        xlabel=f"images ({count(hidden, 'more label')})" if hidden else "images",
    )


def _times(axes: Axes, found: dict[str, Any]) -> None:
    last = found["times"][0]
    bars = [(f"worker: {text}", seconds, GOLD) for text, seconds in last["inside"]]
    bars += [(text, seconds, GREEN) for text, seconds in last["stages"]]
    names, seconds, colours = zip(*bars[::-1], strict=True)
    axes.barh(range(len(bars)), seconds, color=colours)
    axes.set_yticks(range(len(bars)), names)
    workers = count(last["workers"], "worker")
    axes.set(title=f"Where the time went: {last['engine']}, {workers}", xlabel="seconds")


def _has_variance(found: dict[str, Any]) -> bool:
    return found["variance"] is not None and not found["variance"]["is_flat"]


def _has_map(found: dict[str, Any]) -> bool:
    return found["map"] is not None


def _has_labels(found: dict[str, Any]) -> bool:
    return bool(found["labels"]["rows"])


def _has_times(found: dict[str, Any]) -> bool:
    return any(run["stages"] or run["inside"] for run in found["times"][:1])


# name → whether the numbers have something to draw, and what draws it
FIGURES: dict[
    str, tuple[Callable[[dict[str, Any]], bool], Callable[[Axes, dict[str, Any]], None]]
] = {
    "variance": (_has_variance, _variance),
    "map": (_has_map, _map),
    "labels": (_has_labels, _labels),
    "times": (_has_times, _times),
}
