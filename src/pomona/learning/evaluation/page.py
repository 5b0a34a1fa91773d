"""Page: an evaluation as a person reads it, in one file that loads nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from pomona.learning.evaluation import charts
from pomona.learning.evaluation.sentences import between, cut, exact, leak, sentences
from pomona.progress import count, duration
from pomona.report.formatting import natural_key, percent
from pomona.report.page import Pictures
from pomona.report.thumbnails import to_base64

FRAME = "evaluation.html.j2"
LABELS_SHOWN = 12
# A row of the matrix is shaded in so many steps.
SHADES = 4
# A matrix of more labels does not fit a window: a picture shows the whole.
OVERVIEW_FROM = 40


def find_pictures(evaluation: Mapping[str, Any]) -> dict[str, str]:
    """Lists the pictures that the page shows.

    Parameters
    ----------
    evaluation : mapping
        Of `figures.evaluate`.

    Returns
    -------
    dict
        The SHA-256 of each image's file by its path, the most important first.
    """
    return {image["path"]: image["sha256"] for image in _images(evaluation)}


def _images(evaluation: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for pair in (evaluation["confusion"] or {"pairs": []})["pairs"]:
        yield from (pair[name] for name in ("mistaken", "like") if name in pair)
    yield from evaluation["suspects"]["shown"]
    yield from evaluation["suspects"]["conflicts_shown"]
    for pair in evaluation["leak"]["shown"]:
        yield from pair.values()


def render(evaluation: Mapping[str, Any], images: Mapping[str, bytes] | None = None) -> str:
    """Renders an evaluation as HTML that loads nothing.

    Parameters
    ----------
    evaluation : mapping
        Of `figures.evaluate`, or as it was read from evaluation.json.
    images : mapping of str to bytes, optional
        The pictures of `find_pictures`, WebP by path. None: the page is to show none.
    """
    missing = 0 if images is None else len(find_pictures(evaluation)) - len(images)
    drawn = {}
    if evaluation["figures"]:
        drawn["reliability"] = charts.reliability(evaluation["calibration"])
        drawn["sure_first"] = charts.sure_first(evaluation["sure_first"], evaluation["thresholds"])
    if evaluation["learning_curve"]:
        drawn["growth"] = charts.growth(evaluation["learning_curve"])
    return (
        compile_templates()
        .get_template(FRAME)
        .render(
            evaluation=evaluation,
            labels=evaluation["labels"],
            pictures=Pictures(to_base64(images or {}), images is not None, missing),
            leak=leak(evaluation),
            sentences=list(sentences(evaluation)),
            charts=drawn,
            matrix=_matrix(evaluation) if evaluation["figures"] else None,
            worst_first=_worst_first(evaluation) if evaluation["figures"] else None,
            shown=LABELS_SHOWN,
            overview_from=OVERVIEW_FROM,
            best_of_models=_best_of_models(evaluation),
        )
    )


def _worst_first(evaluation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The labels with test rows by their F1, then by name; those without come last."""
    labels = evaluation["labels"]
    return sorted(
        evaluation["per_label"],
        key=lambda row: (not row["images"], row["f1"], natural_key(labels[row["label"]])),
    )


def _best_of_models(evaluation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Of each model that was compared the chosen settings, or else the best."""
    best: dict[str, Mapping[str, Any]] = {}
    for one in evaluation["comparison"]:
        so_far = best.setdefault(one["model"], one)
        if (one["is_chosen"], one["accuracy"]) > (so_far["is_chosen"], so_far["accuracy"]):
            best[one["model"]] = one
    return list(best.values())


def _matrix(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """The confusion matrix of the labels that are mixed up.

    rows: the code of each label, and its cells, None where there is no image; marks: for each
    class of cells where they are, (column, row); never: the codes of the labels that are not
    mixed up; hidden: how many are left out for their number.
    """
    confusion, per_label = evaluation["confusion"], evaluation["per_label"]
    order, found = confusion["order"], confusion["cells"]
    held = {(label, answer): number for label, answer, number in found}
    rows, marks = [], defaultdict(list)
    for y, label in enumerate(order):
        cells: list[dict[str, Any] | None] = []
        for x, answer in enumerate(order):
            number = held.get((label, answer), 0)
            shade = -(-SHADES * number // max(1, per_label[label]["images"]))
            kind = "right" if x == y else f"wrong{shade}"
            cells.append({"class": kind, "answer": answer, "number": number} if number else None)
            if number:
                marks[kind].append((x, y))
        rows.append((label, cells))
    mixed = {code for label, answer, _ in found if label != answer for code in (label, answer)}
    never = [row["label"] for row in per_label if row["images"] and row["label"] not in mixed]
    return {
        "rows": rows,
        "marks": sorted(marks.items()),
        "never": never,
        "hidden": len(mixed) - len(order),
    }


@cache
def compile_templates() -> Environment:
    """Compiles the page's templates."""
    environment = Environment(
        loader=ChoiceLoader(
            [
                PackageLoader("pomona", "learning/evaluation/templates"),
                PackageLoader("pomona", "report"),
            ]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        between=between,
        count=count,
        cut=cut,
        duration=duration,
        exact=exact,
        percent=percent,
        whole="{:,}".format,
    )
    environment.get_template(FRAME)
    return environment
