"""The sections of the report, in the order of the page.

To add a section:

1. Write `sections/NAME.py` with a frozen dataclass and `gather(context)`, which returns it or None.
2. Write `sections/NAME.html.j2`. It sees the dataclass as `NAME`, beside `page` and `pictures`.
3. Add an entry here. `sentences` and `pictures` are optional.

A column that the context does not have is read in `gather`, from `context.store`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from jinja2 import BaseLoader, PackageLoader

from pomona.report.context import ReportContext
from pomona.report.projected import ImageRef
from pomona.report.sections import (
    classifier,
    data,
    errors,
    glance,
    map,
    provenance,
    quality,
    timing,
    variance,
)

OWN_TEMPLATES = PackageLoader("pomona", "report/sections")


@dataclass(frozen=True)
class Section:
    """A section of the report.

    Parameters
    ----------
    name : str
        An identifier: the section's anchor on the page, and its data's name in its template.
    title : str
        How the page's navigation calls it.
    gather : callable
        Makes the section's data from a `ReportContext`. None: there is nothing to show, which the
        template says.
    sentences : callable, optional
        What stands out in the data, for the top of the page.
    pictures : callable, optional
        The images whose pictures the section shows, the most important first.
    rank : int
        The section with the lowest rank has its sentences first and its pictures made first.
    script : str, optional
        The template of a script that the page runs if there is data.
    loader : jinja2.BaseLoader
        Where its templates are, this one's under `{name}.html.j2`.
    """

    name: str
    title: str
    gather: Callable[[ReportContext], Any]
    sentences: Callable[[Any], Iterable[str]] | None = None
    pictures: Callable[[Any], Iterable[ImageRef]] | None = None
    rank: int = 100
    script: str | None = None
    loader: BaseLoader = OWN_TEMPLATES

    @property
    def template(self) -> str:
        """The file name of the section's template."""
        return f"{self.name}.html.j2"


SECTIONS: tuple[Section, ...] = (
    Section("glance", "At a glance", glance.gather, glance.sentences, rank=0),
    Section("variance", "Variance", variance.gather, variance.sentences, rank=2),
    Section("map", "Map", map.gather, pictures=map.pictures, rank=4, script="map.js"),
    Section("data", "Data", data.gather, data.sentences, rank=1),
    Section("quality", "Data quality", quality.gather, quality.sentences, quality.pictures, rank=3),
    Section(
        "classifier", "Classifier", classifier.gather, classifier.sentences, classifier.pictures
    ),
    Section("errors", "Errors", errors.gather),
    Section("timing", "Time", timing.gather),
    Section("provenance", "How it was made", provenance.gather),
)
