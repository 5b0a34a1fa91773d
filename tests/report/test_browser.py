"""The page in a browser: Chromium, as the system has it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_stores import Row, error, fit, image, needed, run, write_report, write_store

from conftest import REAL, Pomona, draw_photos, unpack_fruits
from machine import find_chromium, need
from pomona.store.layout import REPORT
from pomona.store.store import Store

axe = needed("axe_playwright_python.sync_playwright")
playwright = needed("playwright.sync_api")

SECTIONS = [
    "At a glance",
    "Variance",
    "Map",
    "Data",
    "Data quality",
    "Classifier",
    "Errors",
    "Where the time went",
    "How it was made",
]
HOSTILE_LABEL = "</script><img src=x onerror=\"document.title='run'\"> & '😀' \u2028 ${1} <!--"
HOSTILE_PATH = "<!--<script>document.title='run';\"</script>'😀.png"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; without one the tests are skipped, but not where CI is set."""
    need("chromium")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=find_chromium())
        yield chromium
        chromium.close()


@pytest.fixture
def look(browser: Any) -> Callable[..., Any]:
    """Opens a store's report; after the test's look it must have asked for and said nothing."""

    @contextmanager
    def opened(store: Path, width: int = 1280, **settings: Any) -> Iterator[Any]:
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        page, said, asked = context.new_page(), [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda problem: said.append(str(problem)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        address = (store / REPORT).absolute().as_uri()
        page.goto(address)
        yield page
        assert said == []
        assert [url for url in asked if not url.startswith("data:")] == [address]
        context.close()

    return opened


def rows_of(labels: list[str | None]) -> list[Row]:
    return [image(f"Training/{i}.jpg", label, "Training") for i, label in enumerate(labels)]


def projected(count: int) -> dict[str, Any]:
    projection = fit(("components", 3))
    points = np.random.default_rng(1).normal(size=(count, 3)).astype(np.float32)
    return {"projection": projection, "projected": points}


def make_case(name: str, folder: Path, finished: Path) -> Path:
    """A store with its report: folder/out."""
    out = folder / "out"
    if name in ("finished", "no thumbnails"):
        shutil.copytree(finished, out)
    elif name == "photographs":
        # A small input is as good for the page, and takes a tenth of the time.
        flags = ("--input-size", "32", "--no-csv", "--quiet")
        Pomona().done("run", unpack_fruits(folder, every=4), out, *flags)
    elif name == "one image":
        write_store(out, rows_of(["one"]), runs=[run(1)])
    elif name == "one label":
        write_store(out, rows_of(["one"] * 30), **projected(30), runs=[run(30)])
    elif name == "no labels":
        write_store(out, rows_of([None] * 30), **projected(30), runs=[run(30)])
    elif name == "only errors":
        images = rows_of(["one"] * 12)
        failed = [error(row["path"], "truncated", "unexpected end") for row in images]
        write_store(out, images, failed, runs=[run(12)])
    elif name == "1,000 labels":
        write_store(out, rows_of([f"label {i}" for i in range(1000)]), **projected(1000))
    else:
        make_hostile(folder / "photos", out)
    store = Store(out)
    write_report(store, {**store.manifest, "thumbnails": name != "no thumbnails"})
    return out


def make_hostile(source: Path, out: Path) -> None:
    """Images under names that a page might take for its own text, in a folder that is there."""
    photo = min(draw_photos(source, 8).rglob("*.png"))
    names = [HOSTILE_PATH, *(f"plain {i}.png" for i in range(11))]
    images = []
    for i, name in enumerate(names):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # What follows the image in its file makes each its own content.
        path.write_bytes(photo.read_bytes() + bytes(i))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        images.append(image(name, HOSTILE_LABEL if i % 2 == 0 else "b", sha256=digest))
    write_store(out, images, **projected(12), source=str(source))


CASES = [
    "finished",
    "no thumbnails",
    "one image",
    "one label",
    "no labels",
    "only errors",
    "1,000 labels",
    "hostile",
    pytest.param("photographs", marks=REAL),
]


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory, finished: Path) -> Callable[[str], Path]:
    """The cases' stores, each made once."""
    made: dict[str, Path] = {}

    def store(name: str) -> Path:
        if name not in made:
            made[name] = make_case(name, tmp_path_factory.mktemp("report"), finished)
        return made[name]

    return store


def number(text: str) -> int:
    """The digits of a text as a number."""
    return int(re.sub(r"\D", "", text))


def tiles(page: Any) -> dict[str, str]:
    pairs = page.eval_on_selector_all(
        ".tiles > div", "all => all.map(one => [...one.children].map(part => part.innerText))"
    )
    return {pair[0]: pair[1] for pair in pairs}


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("case", CASES)
def test_every_page_is_complete_fits_the_window_and_is_accessible(
    look: Callable[..., Any], stores: Callable[[str], Path], case: str, width: int
) -> None:
    out = stores(case)
    scheme = "light" if width == 1280 else "dark"
    with look(out, width, color_scheme=scheme) as page:
        assert page.eval_on_selector_all("h2", "all => all.map(one => one.innerText)") == SECTIONS
        overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert overflow <= 0
        store, shown = Store(out), tiles(page)
        assert number(shown["Images"]) == store.metadata().num_rows
        assert number(shown["Errors"]) == store.errors().num_rows
        labels = set(store.metadata()["label"].to_pylist()) - {None}
        assert number(shown["Labels"]) == len(labels)
        projection = store.find_projection()
        assert shown["Components"] == (f"{projection.k:,}" if projection else "none")
        assert page.locator("#map-frame").count() == (1 if projection else 0)
        assert serious_flaws(page) == []


def serious_flaws(page: Any) -> list[tuple[str, str]]:
    """What axe finds, and where first."""
    found = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    serious = [flaw for flaw in found if flaw["impact"] in ("serious", "critical")]
    return [(flaw["id"], flaw["nodes"][0]["html"][:200]) for flaw in serious]


@pytest.mark.parametrize("width", [1280, 390])
def test_both_colour_schemes_have_enough_contrast(
    look: Callable[..., Any], stores: Callable[[str], Path], width: int
) -> None:
    scheme = "dark" if width == 1280 else "light"
    with look(stores("finished"), width, color_scheme=scheme) as page:
        assert serious_flaws(page) == []


def points(page: Any) -> list[list[Any]]:
    """x, y, number of the label, path and picture of each point of the map."""
    found: list[list[Any]] = json.loads(page.locator("#map-data").text_content())["points"]
    return found


def point_at(page: Any, point: list[Any]) -> tuple[float, float]:
    """Where a point of the map is in the window."""
    box = page.locator("#map-frame").bounding_box()
    _, _, width, height = map(
        float, page.locator("#map-frame svg").get_attribute("viewBox").split()
    )
    return box["x"] + point[0] / width * box["width"], box["y"] + point[1] / height * box["height"]


def lonely(found: list[list[Any]]) -> list[Any]:
    """The point that is farthest from its nearest."""
    places = np.array([point[:2] for point in found], float)
    apart = np.linalg.norm(places[:, None] - places, axis=2) + np.eye(len(places)) * 1e9
    return found[int(apart.min(axis=1).argmax())]


@pytest.mark.parametrize("width", [1280, 390])
def test_the_pointer_shows_the_image_below_it(
    look: Callable[..., Any], stores: Callable[[str], Path], width: int
) -> None:
    with look(stores("finished"), width) as page:
        page.locator("#map-frame").scroll_into_view_if_needed()
        found = points(page)
        assert len(found) == 40
        point, tip = lonely(found), page.locator(".tip")
        assert not tip.is_visible()
        page.mouse.move(*point_at(page, point))
        assert tip.locator("span").text_content() == point[3]
        assert tip.locator("b").text_content() == point[3].split("/")[1]
        assert (
            tip.locator("img").evaluate("async one => (await one.decode(), one.naturalWidth)") == 72
        )
        box = tip.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        page.mouse.move(1, 1)
        assert not tip.is_visible()


def test_the_keyboard_moves_over_the_map(
    look: Callable[..., Any], stores: Callable[[str], Path]
) -> None:
    with look(stores("finished")) as page:
        tip, svg = page.locator(".tip"), page.locator("#map-frame svg")
        whole = svg.get_attribute("viewBox")
        page.focus("#map-frame")
        walked = []
        for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown"):
            page.keyboard.press(key)
            walked.append(tip.locator("span").text_content())
        assert len(set(walked)) >= 3
        assert set(walked) <= {point[3] for point in points(page)}
        page.keyboard.press("+")
        assert float(str(svg.get_attribute("viewBox")).split()[2]) < float(str(whole).split()[2])
        page.keyboard.press("0")
        assert svg.get_attribute("viewBox") == whole
        page.keyboard.press("Escape")
        assert not tip.is_visible()


def test_a_zoomed_map_can_be_dragged(
    look: Callable[..., Any], stores: Callable[[str], Path]
) -> None:
    with look(stores("finished")) as page:
        frame, svg = page.locator("#map-frame"), page.locator("#map-frame svg")
        frame.scroll_into_view_if_needed()
        page.get_by_role("button", name="Zoom in").click()
        page.get_by_role("button", name="Zoom in").click()
        before = [float(number) for number in str(svg.get_attribute("viewBox")).split()]
        box = frame.bounding_box()
        page.mouse.move(box["x"] + 200, box["y"] + 200)
        page.mouse.down()
        page.mouse.move(box["x"] + 150, box["y"] + 220)
        page.mouse.up()
        after = [float(number) for number in str(svg.get_attribute("viewBox")).split()]
        assert after[2:] == before[2:]
        assert after[0] - before[0] == pytest.approx(50 * before[2] / box["width"])
        assert after[1] - before[1] == pytest.approx(-20 * before[3] / box["height"])


def test_a_label_can_be_highlighted(
    look: Callable[..., Any], stores: Callable[[str], Path]
) -> None:
    with look(stores("finished")) as page:
        button = page.get_by_role("button", name="Crème brûlée")
        button.click()
        assert button.get_attribute("aria-pressed") == "true"
        assert page.locator(".dots.lit").count() == 1
        page.focus("#map-frame")
        for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
            page.keyboard.press(key)
            assert page.locator(".tip b").text_content() == "Crème brûlée"
        button.click()
        assert page.locator(".has-lit").count() == 0


def test_hostile_names_are_shown_and_run_nothing(
    look: Callable[..., Any], stores: Callable[[str], Path]
) -> None:
    with look(stores("hostile")) as page:
        assert page.title() == "photos · pomona"
        assert page.locator("img[src='x']").count() == 0
        assert page.locator("script").count() == 2
        found = points(page)
        [point] = [point for point in found if point[3] == HOSTILE_PATH]
        page.locator("#map-frame").scroll_into_view_if_needed()
        page.mouse.move(*point_at(page, point))
        assert page.locator(".tip span").text_content() == HOSTILE_PATH
        assert page.locator(".tip b").text_content() == HOSTILE_LABEL
        labels = page.locator("table.labels th.name").all_text_contents()
        assert labels == [HOSTILE_LABEL, "b"]
        cards = page.locator(".cards .card figcaption > span:first-of-type").all_text_contents()
        assert HOSTILE_PATH in cards


def test_without_thumbnails_there_is_no_picture(
    look: Callable[..., Any], stores: Callable[[str], Path]
) -> None:
    out = stores("no thumbnails")
    assert not (out / "_pomona" / "thumbnails.parquet").exists()
    assert "data:image/webp;base64,U" not in (out / REPORT).read_text()
    with look(out) as page:
        assert page.locator("main img").count() == 1  # the map's own, for what it has not
        page.locator("#map-frame").scroll_into_view_if_needed()
        page.mouse.move(*point_at(page, lonely(points(page))))
        assert page.locator(".tip").is_visible()
        assert not page.locator(".tip img").is_visible()


def test_the_page_works_without_scripts_and_can_be_printed(
    look: Callable[..., Any], stores: Callable[[str], Path]
) -> None:
    with look(stores("finished"), java_script_enabled=False) as page:
        drawn = [path.get_attribute("d") for path in page.locator(".dots").all()]
        assert sum(str(path).count("M") for path in drawn) == 40
        assert page.locator(".legend li").count() == 4
        assert page.locator(".strip img").count() >= 12
        assert page.pdf().startswith(b"%PDF")


def test_printed_tables_fit_on_a4(look: Callable[..., Any], tmp_path: Path) -> None:
    command = "pomona run /data/photographs/of/2026 /data/stores/of-2026 --workers 16 --quiet"
    runs = [{**run(1_000_000, command), "engine": "spark", "workers": 128}] * 3
    images = [image(f"{i}", f"label {i % 3}", f"fold {i % 7}") for i in range(42)]
    store, manifest = write_store(tmp_path, images, runs=runs)
    write_report(store, manifest)
    with look(tmp_path, width=718) as page:  # A4 without the printer's margins
        page.emulate_media(media="print")
        assert page.locator(".wide").count() == 3
        assert page.locator(".wide").evaluate_all(ENDS) == [True] * 3


# Whether each table shows all its columns: within the page, and not within a frame that cuts it.
ENDS = """all => all.map(one => getComputedStyle(one).overflowX === "visible"
  && one.firstElementChild.getBoundingClientRect().right <= document.documentElement.clientWidth)"""


@pytest.mark.parametrize("width", [1280, 390])
def test_the_maps_pictures_are_within_its_frame(
    look: Callable[..., Any], stores: Callable[[str], Path], width: int
) -> None:
    with look(stores("finished"), width) as page:
        frame = page.locator("#map-frame").bounding_box()
        boxes = [one.bounding_box() for one in page.locator(".faces img").all()]
        assert len(boxes) > 10
        for start, size in (("x", "width"), ("y", "height")):
            assert min(box[start] for box in boxes) >= frame[start]
            ends = [box[start] + box[size] for box in boxes]
            assert max(ends) <= frame[start] + frame[size]


def test_the_open_option_starts_the_browser(finished: Path, tmp_path: Path) -> None:
    store = shutil.copytree(finished, tmp_path / "a store")
    opener, seen = tmp_path / "browser", tmp_path / "seen"
    opener.write_text(f'#!/bin/sh\nprintf %s "$1" > "{seen}"\n')
    opener.chmod(0o755)
    opening = Pomona(env={"BROWSER": f"{opener} %s"})
    opening.done("report", store, "--open")
    assert seen.read_text() == (store / REPORT).as_uri()
    ended = Pomona(env={"BROWSER": "/bin/false %s", "PATH": "/nowhere"}).done(
        "report", store, "--open"
    )
    assert "no browser could be started: open file://" in ended.stderr
