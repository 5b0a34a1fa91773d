"""The page of an evaluation: what it says, and how it looks in a browser."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judgements import make_inputs
from PIL import Image

from machine import find_chromium, need
from pomona.learning.evaluation.base import Candidate, Inputs
from pomona.learning.evaluation.charts import BOTTOM, LEFT, TOP, WIDTH, Chart, growth, sure_first
from pomona.learning.evaluation.figures import evaluate
from pomona.learning.evaluation.page import find_pictures, render
from pomona.learning.evaluation.sentences import cut, exact, leak, sentences

pytest.importorskip("sklearn")

SPACE = "\N{NO-BREAK SPACE}"
SECTIONS = [
    "At a glance",
    "Labels",
    "What is mixed up",
    "How sure it is",
    "Would more images help?",
    "Labels that may be wrong",
    "The choice",
    "How it was made",
]
HOSTILE = "</style></svg><script>document.title='run'</script>\"'&{{ 1 + 1 }}<img src=x>"
VOID = {"meta", "img", "wbr"}


class Text(HTMLParser):
    """A page's text without its style, and its tables; its tags must be closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.tables: list[list[list[str]]] = []
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data
            if {"td", "th"} & set(self.open):
                self.tables[-1][-1][-1] += data

    def table(self, heading: str) -> list[list[str]]:
        """The rows of the first table with this heading."""
        return next(table[1:] for table in self.tables if table[0][0] == heading)


def make_case(name: str) -> Inputs:
    """What an evaluation is made from."""
    if name == "two labels":
        return make_inputs(classes=2)
    if name == "many labels":
        return make_inputs(42, 800, 3000, margin=4.0)
    if name == "no mistake":
        inputs = make_inputs(margin=60.0)
        assert (inputs.test.logits.argmax(axis=1) == inputs.test.labels).all()
        return inputs
    if name == "no test rows":
        return make_inputs(tested=0, copied=4)
    if name == "hostile":
        names = [f"{HOSTILE} {code}" for code in range(12)]
        inputs = make_inputs(copied=3, names=names, margin=3.0)
        test = replace(inputs.test, paths=[f"{HOSTILE}/{row}" for row in range(400)])
        return replace(inputs, test=test)
    inputs = make_inputs(copied=5, of=4, margin=3.0)
    chosen = [Candidate("logistic regression", {"C": 0.1}, 0.86, 0.01, 0.9995, 2.0, True)]
    others = [
        Candidate("nearest neighbours", {"k": k}, 0.8 + k / 100, 0.01, None, 1.0, False)
        for k in (1, 5)
    ]
    return replace(inputs, comparison=chosen + others, mixed=inputs.training)


CASES = ["usual", "two labels", "many labels", "no mistake", "no test rows", "hostile"]


@pytest.fixture(scope="module")
def evaluations() -> dict[str, dict[str, Any]]:
    return {name: json.loads(json.dumps(evaluate(make_case(name)))) for name in CASES}


def test_the_page_says_what_the_figures_are(evaluations: dict[str, dict[str, Any]]) -> None:
    evaluation = evaluations["usual"]
    page = Text(render(evaluation))
    figures = evaluation["figures"]
    assert f"Accuracy{exact(figures['accuracy']['value'])}".replace(SPACE, " ") in page.text
    rows = page.table("Label")
    worst = min(evaluation["per_label"], key=lambda row: row["f1"])
    assert rows[0][0] == evaluation["labels"][worst["label"]]
    assert rows[0][2:] == [
        *(f"{worst[name]:.3f}" for name in ("precision", "recall", "f1")),
        *(f"{worst[name]:,}" for name in ("images", "training")),
    ]
    compared = page.table("Model")
    assert [row[0] for row in compared] == ["logistic regression (chosen)", "nearest neighbours"]
    assert compared[0][2:] == [f"86.0{SPACE}%", f"1.00{SPACE}%", f"99.95{SPACE}%", "2.0"]
    assert compared[1][1] == "k 5"
    against = page.table("On the same test images")
    assert [row[0] for row in against] == ["the most frequent label", "the classifier before"]
    wanted = [row[0].replace(SPACE, " ") for row in page.table("Wanted")]
    assert wanted == ["99.0 %", "99.5 %", "99.9 %"]


def test_the_matrix_has_the_numbers_of_the_cells(evaluations: dict[str, dict[str, Any]]) -> None:
    evaluation = evaluations["usual"]
    page = Text(render(evaluation))
    table = next(table for table in page.tables if table[0][:2] == ["", "1"])
    order = evaluation["confusion"]["order"]
    held = {(label, answer): rows for label, answer, rows in evaluation["confusion"]["cells"]}
    for label, row in zip(order, table[1:], strict=True):
        assert row[0].endswith(evaluation["labels"][label])
        assert row[1:] == [str(held.get((label, answer), "")) for answer in order]


def test_the_leak_comes_first_and_in_plain_words(evaluations: dict[str, dict[str, Any]]) -> None:
    evaluation = evaluations["usual"]
    said = leak(evaluation)
    assert said is not None
    found = evaluation["leak"]
    others = "all" if found["other_label"] == 5 else found["other_label"]
    assert said.replace(SPACE, " ").startswith(
        f"5 of 405 test images are byte for byte among the training images, {others} under "
        "another label. The accuracy leaves them out: "
    )
    text = Text(render(evaluation)).text
    assert text.index(said.replace(SPACE, " ")) < text.index("of 400 test images get their label")
    assert leak(evaluations["two labels"]) is None
    assert "byte for byte" not in Text(render(evaluations["two labels"])).text
    assert "No other test image is left" in Text(render(evaluations["no test rows"])).text


def test_sentences_say_what_groups_change(evaluations: dict[str, dict[str, Any]]) -> None:
    [said] = [one for one in sentences(evaluations["usual"]) if "Cross-validation" in one]
    assert said.replace(SPACE, " ").startswith(
        "Cross-validation says 86.0 % if groups are kept together, 99.95 % if they are torn apart"
    )
    assert not [one for one in sentences(evaluations["hostile"]) if "torn apart" in one]
    assert "more images would help" in " ".join(sentences(evaluations["usual"]))


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1.0, "100 %"),
        (0.0, "0 %"),
        (0.972, "97.2 %"),
        (0.4, "40.0 %"),
        (0.995, "99.5 %"),
        (0.9995, "99.95 %"),
        (0.99951, "99.95 %"),
        (0.99999999, "100.0000 %"),
    ],
)
def test_shares_near_one_have_the_digits_they_need(share: float, text: str) -> None:
    assert exact(share).replace(SPACE, " ") == text


@pytest.mark.parametrize("threshold", [0.3, 0.9084910, 0.999, 0.9993436, 0.99999971])
def test_a_threshold_is_rounded_up(threshold: float) -> None:
    assert threshold <= float(cut(threshold)) < 1
    assert float(cut(threshold)) - threshold < max(0.001, 1 - threshold) / 2 + 0.001


def test_the_page_loads_nothing_and_runs_nothing(evaluations: dict[str, dict[str, Any]]) -> None:
    for evaluation in evaluations.values():
        html = render(evaluation, {})
        assert "script-src 'none'" in html
        page = Text(html)
        assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe")]
        for tag, attributes in page.tags:
            assert not {"src", "onerror", "onload"} & set(attributes) or tag == "img"
            assert (attributes.get("href") or "#").startswith("#")
            assert (attributes.get("src") or "data:").startswith("data:")
    hostile = evaluations["hostile"]
    page = Text(render(hostile))
    assert HOSTILE in page.text
    assert page.table("Label")[0][0] in hostile["labels"]


def test_pictures_are_those_asked_for(evaluations: dict[str, dict[str, Any]]) -> None:
    evaluation = evaluations["usual"]
    wanted = find_pictures(evaluation)
    assert len(wanted) >= 12
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((72, 72, 3), np.uint8)).save(buffer, "WEBP")
    images = dict.fromkeys(list(wanted)[:5], buffer.getvalue())
    page = Text(render(evaluation, images))
    shown = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    assert set(shown) == set(images)
    missing = [a for _, a in page.tags if a.get("class") == "no-picture"]
    assert missing
    assert not [tag for tag, _ in Text(render(evaluation)).tags if tag == "img"]


def test_charts_stay_within_their_frames(evaluations: dict[str, dict[str, Any]]) -> None:
    def check(chart: Chart) -> None:
        places = [point for _, points in chart.curves for point in points]
        places += [(x, y) for x, low, high in chart.ranges for y in (low, high)]
        for x, y in places:
            assert LEFT <= x <= LEFT + WIDTH
            assert TOP <= y <= BOTTOM
        texts = [text for _, text in chart.y_ticks]
        assert len(set(texts)) == len(texts) <= 7
        assert texts[-1] == texts[-1].rstrip(".") in ("100", "100.0", "100.00", "100.000")

    for evaluation in evaluations.values():
        if evaluation["figures"]:
            check(growth(evaluation["learning_curve"]))
            check(sure_first(evaluation["sure_first"], evaluation["thresholds"]))
    for lowest in (0.0, 0.123, 0.5, 0.9, 0.97, 0.9995, 1.0):
        check(sure_first([(0.5, 1.0), (1.0, lowest)], []))


axe = pytest.importorskip("axe_playwright_python.sync_playwright")
playwright = pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    need("chromium")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=find_chromium())
        yield chromium
        chromium.close()


@pytest.mark.parametrize(
    ("case", "width", "scheme"),
    [
        ("usual", 1280, "light"),
        ("usual", 390, "dark"),
        ("two labels", 390, "light"),
        ("many labels", 1280, "dark"),
        ("no mistake", 1280, "light"),
        ("no test rows", 390, "dark"),
        ("hostile", 390, "light"),
    ],
)
def test_every_page_fits_the_window_and_is_accessible(
    evaluations: dict[str, dict[str, Any]],
    browser: Any,
    tmp_path: Path,
    case: str,
    width: int,
    scheme: str,
) -> None:
    file = tmp_path / "evaluation.html"
    file.write_text(render(evaluations[case], {}), encoding="utf-8")
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    headings = page.eval_on_selector_all("h2", "all => all.map(one => one.innerText)")
    assert [heading for heading in headings if heading != "The leak"] == SECTIONS
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    found = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    serious = [flaw for flaw in found if flaw["impact"] in ("serious", "critical")]
    assert [(flaw["id"], flaw["nodes"][0]["html"][:200]) for flaw in serious] == []
    assert page.title() == "fruit · classifier · pomona"
    assert said == []
    assert asked == [file.as_uri()]
    context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_matrix_of_131_labels_keeps_its_names_in_sight(
    browser: Any, tmp_path: Path, width: int
) -> None:
    file = tmp_path / "evaluation.html"
    inputs = make_inputs(131, 2000, 6000, margin=4.0)
    file.write_text(render(evaluate(inputs)), encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert page.locator(".overview path").count() >= 2
    frame = page.locator(".matrix")
    frame.evaluate("one => one.scrollTo(500, 700)")
    names = frame.locator("tbody th").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().left)"
    )
    heads = frame.locator("thead th").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().top)"
    )
    box = frame.bounding_box()
    assert names == pytest.approx([box["x"]] * len(names), abs=2)
    assert heads == pytest.approx([box["y"]] * len(heads), abs=2)
    page.close()
