"""A section of the report is added by one entry in the registry, from outside of pomona."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from jinja2 import DictLoader

from pomona import report
from pomona.pipeline.here import map_here
from pomona.report import registry
from pomona.report.context import ReportContext
from pomona.report.projected import ImageRef
from pomona.report.registry import Section
from pomona.store.layout import REPORT
from pomona.store.recipe import Recipe
from pomona.store.store import Store

TEMPLATE = """
{% from "macros.html.j2" import picture with context %}
<section aria-labelledby="shapes">
<h2 id="shapes">Shapes</h2>
{% if not shapes %}
<p>No size is known.</p>
{% else %}
<p>{{ shapes.square|count("image") }} of {{ page.totals.images }} are square, for example
{{ picture(shapes.example, shapes.example.path) }}</p>
{% endif %}
</section>
"""


@dataclass(frozen=True)
class Shapes:
    """How many images are square, and the first of these."""

    square: int
    example: ImageRef


def gather(context: ReportContext) -> Shapes | None:
    columns = ["path", "label", "split", "sha256", "width", "height"]
    images = context.store.metadata(columns)
    square: pa.Table = images.filter(pc.equal(images["width"], images["height"]))
    if not square.num_rows:
        return None
    [first] = square.slice(0, 1).select(columns[:4]).to_pylist()
    return Shapes(square.num_rows, ImageRef(**first))


def sentences(shapes: Shapes) -> Iterator[str]:
    yield f"{shapes.square} images need no resizing to a square."


def pictures(shapes: Shapes) -> Iterator[ImageRef]:
    yield shapes.example


SHAPES = Section(
    "shapes",
    "Shapes",
    gather,
    sentences,
    pictures,
    loader=DictLoader({"shapes.html.j2": TEMPLATE}),
)


@pytest.fixture(autouse=True)
def _with_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "SECTIONS", (*registry.SECTIONS, SHAPES))


def write(store: Store) -> str:
    with map_here() as run_here:
        report.write(store, store.manifest, map_here=run_here)
    return store.files.read(REPORT).decode()


def test_an_added_section_is_on_the_page(store: Path) -> None:
    html = write(Store(store))
    images = Store(store).metadata()
    square = sum(
        width == height
        for width, height in zip(
            images["width"].to_pylist(), images["height"].to_pylist(), strict=True
        )
    )
    assert square > 0
    assert '<a href="#shapes">Shapes</a>' in html
    headings = re.findall("<h2 id=.*?>(.*?)</h2>", html)
    assert headings[0] == "At a glance"
    assert headings[-1] == "Shapes"
    assert f"<p>{square} images of 40 are square, for example\n<img src=" in html
    assert f"<li>{square} images need no resizing to a square.</li>" in html


def test_an_added_section_without_data_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    store.begin("/data/photos", Recipe("efficientnet_lite0", None, None, 224, 1280))
    html = write(store)
    assert "<p>No size is known.</p>" in html
    assert "resizing" not in html
