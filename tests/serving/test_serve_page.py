"""The page of a server in a browser: Chromium, as the system has it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from servers import Running, serving

from conftest import Here, Pomona, wait_for
from machine import find_chromium, need
from means import teach
from pomona.backbones.overrides import ModelOverrides
from pomona.feedback.journal import Journal
from pomona.pipeline import run as pipeline
from pomona.pipeline.context import RunSettings
from pomona.pipeline.settings import ExtractSettings, ReduceSettings
from pomona.store.store import Store

HOSTILE = "<img src=x onerror=\"document.title='run'\">&amp; 😀"
WIDTHS_AND_SCHEMES = [(1280, "dark"), (390, "light")]


@pytest.fixture(scope="module")
def hostile_photos(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos, a label of which is HTML."""
    folder = tmp_path_factory.mktemp("hostile") / "photos"
    for path in photos.rglob("*.*"):
        split, label, name = path.relative_to(photos).parts
        to = folder / split / label.replace("Plum 2", HOSTILE) / name
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to)
    return folder


@pytest.fixture(scope="module")
def store(hostile_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "fruit"
    extracting = ExtractSettings(source=hostile_photos, overrides=ModelOverrides(input_size=32))
    settings = RunSettings(Here(), thumbnails=True)
    pipeline.run(out, extracting, ReduceSettings(components=6), settings)
    teach(out)
    changed = hostile_photos / changed_path(out)
    changed.write_bytes(changed.read_bytes() + b"changed")
    return out


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Running]:
    with serving(store) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; without one the tests are skipped, but not where CI is set."""
    need("chromium")
    with import_module("playwright.sync_api").sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=find_chromium())
        yield chromium
        chromium.close()


@pytest.fixture
def look(browser: Any, server: Running) -> Callable[..., Any]:
    """Opens the page; it asks nobody but its server, and nothing goes wrong in it."""

    @contextmanager
    def opened(width: int = 1280, **settings: Any) -> Iterator[Any]:
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        page, said, asked = context.new_page(), [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda problem: said.append(str(problem)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(server.started["address"])
        yield page
        assert [text for text in said if "status of 4" not in text] == []  # of what is refused
        foreign = (server.started["address"], "data:", "blob:")
        assert [url for url in asked if not url.startswith(foreign)] == []
        assert page.title() == "fruit · pomona"
        context.close()

    return opened


def changed_path(store: Path) -> str:
    """The path of the image whose file has changed since the store was made."""
    paths: list[str] = Store(store).metadata()["path"].to_pylist()
    return max(path for path in paths if "/Pear/" in path)


def photo_of(photos: Path, label: str) -> Path:
    return min(path for path in photos.rglob("*.jpg") if path.parent.name == label)


def choose(page: Any, photo: Path) -> None:
    page.locator("input[type=file]").first.set_input_files(photo)
    page.locator("#answer h2").wait_for()


def flaws(page: Any) -> list[tuple[str, str]]:
    """What axe finds, and where first."""
    axe = import_module("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [(flaw["id"], flaw["nodes"][0]["html"][:200]) for flaw in found]


def last_entry(store: Path) -> dict[str, Any]:
    rows: list[dict[str, Any]] = Journal(store).read().to_pylist()
    return rows[-1]


def test_a_photograph_is_chosen_answered_and_corrected(
    look: Callable[..., Any],
    server: Running,
    store: Path,
    hostile_photos: Path,
    pomona: Pomona,
) -> None:
    photo = photo_of(hostile_photos, HOSTILE)
    expected = server.predict(photo).content
    with look() as page:
        assert not page.locator("#preview").is_visible()
        choose(page, photo)
        assert page.locator("#answer h2").text_content() == expected["label"]
        rows = page.locator(".top tbody tr")
        assert rows.locator("th").all_text_contents() == [row["label"] for row in expected["top"]]
        assert page.locator("#preview").is_visible()
        near = page.locator(".nearest li")
        assert near.count() == 5
        assert near.first.locator("b").text_content() == HOSTILE
        assert near.first.locator("img").evaluate("one => one.complete && one.naturalWidth") == 72
        page.get_by_role("button", name="Wrong").click()
        page.get_by_label("The right label").fill(HOSTILE)
        assert last_entry(store)["label"] is None
        assert last_entry(store)["predicted"] == expected["label"]
        page.get_by_role("button", name="Keep").click()
        page.locator("#judged b").wait_for()
        assert page.locator("#judged b").text_content() == HOSTILE
        assert page.locator("#preview").is_visible()
        entry = last_entry(store)
        assert (entry["label"], entry["confirmed"]) == (HOSTILE, expected["label"] == HOSTILE)
        assert entry["model"] == expected["model"]
    told = json.loads(pomona.done("feedback", store, "--json").stdout)["feedback"]
    assert [each["label"] for each in told if each["id"] == entry["id"]] == [HOSTILE]


def test_one_touch_says_that_it_is_right(
    look: Callable[..., Any], store: Path, hostile_photos: Path
) -> None:
    with look(390, has_touch=True) as page:
        choose(page, photo_of(hostile_photos, "Pear"))
        label = page.locator("#answer h2").text_content()
        page.get_by_role("button", name="Right").tap()
        page.locator("#judged b").wait_for()
        assert (last_entry(store)["label"], last_entry(store)["confirmed"]) == (label, True)


def test_it_works_without_script_as_a_plain_form(
    look: Callable[..., Any], store: Path, hostile_photos: Path
) -> None:
    with look(390, java_script_enabled=False) as page:
        page.get_by_role("button", name="Ask").click()
        assert "Choose a photograph first" in page.locator(".problem").text_content()
        page.locator("input[type=file]").first.set_input_files(photo_of(hostile_photos, "Pear"))
        page.get_by_role("button", name="Ask").click()
        label = page.locator("#answer h2").text_content()
        page.get_by_role("button", name="Wrong").click()
        page.get_by_label("The right label").fill("Quince")
        page.get_by_role("button", name="Keep").click()
        assert page.locator("#judged b").text_content() == "Quince"
        assert (last_entry(store)["predicted"], last_entry(store)["label"]) == (label, "Quince")


def test_the_keyboard_is_enough(
    look: Callable[..., Any], store: Path, hostile_photos: Path
) -> None:
    with look() as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.type") == "file"
        choose(page, photo_of(hostile_photos, "Pear"))
        page.locator("#answer h2").wait_for()
        for _ in range(10):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent") == "Right":
                break
        page.keyboard.press("Enter")
        page.locator("#judged b").wait_for()
        assert last_entry(store)["confirmed"] is True


def test_a_photograph_can_be_dropped(look: Callable[..., Any], hostile_photos: Path) -> None:
    data = list(photo_of(hostile_photos, "Pear").read_bytes())
    drop = """data => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(data)], "dropped.jpg"));
        document.body.dispatchEvent(
            new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
    }"""
    with look() as page:
        page.evaluate(drop, data)
        page.locator("#answer h2").wait_for()
        assert page.locator("#preview").is_visible()


def test_what_is_no_photograph_is_said_in_words(look: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    with look() as page:
        page.locator("input[type=file]").first.set_input_files(tmp_path / "text.jpg")
        page.locator(".problem").wait_for()
        assert "not_an_image" in page.locator(".problem").text_content()
        wait_for(lambda: not page.locator("#preview").is_visible())


@pytest.mark.parametrize(("width", "scheme"), WIDTHS_AND_SCHEMES)
def test_axe_finds_nothing_and_nothing_runs_over_the_edge(
    look: Callable[..., Any], hostile_photos: Path, width: int, scheme: str
) -> None:
    with look(width, color_scheme=scheme) as page:
        assert flaws(page) == []
        choose(page, photo_of(hostile_photos, HOSTILE))
        page.get_by_role("button", name="Wrong").click()
        page.get_by_label("The right label").wait_for()
        assert flaws(page) == []
        fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        assert page.evaluate(fits)
        for button in page.get_by_role("button").all():
            assert button.bounding_box()["height"] >= 40


def test_a_file_that_has_changed_has_no_picture(server: Running, store: Path) -> None:
    digests = {row["path"]: row["sha256"] for row in Store(store).metadata().to_pylist()}
    changed = digests.pop(changed_path(store))
    assert server.get(f"/v1/images/{changed}").problem["status"] == 404
    assert server.get(f"/v1/images/{min(digests.values())}").status == 200


def test_its_policy_lets_nothing_else_in(server: Running) -> None:
    headers = server.get("/").headers
    policy = dict(
        part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"].startswith("'sha256-")
    assert "unsafe" not in headers["content-security-policy"]
    assert policy["frame-ancestors"] == "'none'"
    assert server.get("/").body.count(b"<script") == 1
