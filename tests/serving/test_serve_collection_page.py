"""The pages of the collection in a browser: Chromium, as the system has it."""

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
from suspected import HTML, suspects_of

from conftest import Pomona
from machine import find_chromium, need
from pomona.store.store import Store

pytest_plugins = ("served_stores",)

TOKEN = "a token of the tests"  # noqa: S105
# Where a point lies that no other one covers, and to which image it leads.
UNCOVERED_POINT = """() => {
    for (const link of document.querySelectorAll(".map-frame svg a")) {
        const box = link.querySelector(".dots").getBoundingClientRect();
        const x = box.x + box.width / 2, y = box.y + box.height / 2;
        const hit = document.elementFromPoint(x, y);
        if (hit && hit.closest("a") === link) {
            return [x, y, link.getAttribute("href").split("/").pop()];
        }
    }
}"""
WIDTHS_AND_SCHEMES = [(1280, "light"), (390, "dark")]


@pytest.fixture(scope="module")
def store(collected: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the collected store without feedback."""
    ignored = shutil.ignore_patterns("feedback")
    out = tmp_path_factory.mktemp("walked") / "fruit"
    return Path(shutil.copytree(collected, out, ignore=ignored))


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
def look(browser: Any) -> Callable[..., Any]:
    """Opens a page of a server; it asks nobody else, and nothing goes wrong in it."""

    @contextmanager
    def opened(
        server: Running, path: str = "/collection", width: int = 1280, **settings: Any
    ) -> Iterator[Any]:
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        page, said, asked = context.new_page(), [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda problem: said.append(str(problem)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(server.started["address"] + path)
        yield page
        assert [text for text in said if "status of 4" not in text] == []  # of what is refused
        own = (server.started["address"], "data:", "blob:")
        assert [url for url in asked if not url.startswith(own)] == []
        assert page.title() != "run"
        context.close()

    return opened


@pytest.fixture(scope="module")
def images(store: Path) -> dict[str, str]:
    """The SHA-256 of each image by its path."""
    rows = Store(store).metadata(["path", "sha256"]).to_pylist()
    return {row["path"]: row["sha256"] for row in rows}


def flaws(page: Any) -> list[tuple[str, str]]:
    """What axe finds, and where first."""
    axe = import_module("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [(flaw["id"], flaw["nodes"][0]["html"][:200]) for flaw in found]


def labels_said(pomona: Pomona, store: Path, sha256: str) -> list[str]:
    told = json.loads(pomona.done("feedback", store, "--json").stdout)
    return [each["label"] for each in told["feedback"] if each["sha256"] == sha256]


def press_tab_until(page: Any, text: str) -> None:
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText").strip().startswith(text):
            return
    raise AssertionError(f"the keyboard does not reach {text}")


def test_the_suspects_are_walked_without_script_and_corrected(
    look: Callable[..., Any],
    server: Running,
    store: Path,
    images: dict[str, str],
    pomona: Pomona,
    tmp_path: Path,
) -> None:
    first, second, _ = suspects_of(store)["path"].to_pylist()
    with look(server, width=390, java_script_enabled=False) as page:
        page.get_by_role("link", name="Look at them one by one").click()
        assert page.locator("h1").text_content() == "Suspect 1 of 3"
        page.get_by_role("button", name="Take").click()
        assert page.locator("h1").text_content() == "Suspect 2 of 3"
        assert f"Suspect 1 is kept as {HTML}" in page.get_by_role("status").text_content()
        page.get_by_label("Another label").fill("Quince")
        page.get_by_role("button", name="Keep", exact=True).click()
        assert page.locator("h1").text_content() == "Suspect 3 of 3"
        page.get_by_role("link", name="← Previous").click()
        assert "Kept as Quince" in page.locator("main").inner_text()
        page.get_by_role("link", name="Collection").click()
        assert "2 answers so far" in page.locator("main").inner_text()
        page.get_by_role("link", name="Go on one by one").click()
        assert page.locator("h1").text_content() == "Suspect 3 of 3"
    assert labels_said(pomona, store, images[first]) == [HTML]
    assert labels_said(pomona, store, images[second]) == ["Quince"]
    pomona.done("feedback", store, "--labels-file", tmp_path / "labels.csv")
    assert f'"{second}","Quince"'.encode() in (tmp_path / "labels.csv").read_bytes().replace(
        b'""', b'"'
    )


def test_a_point_of_the_map_leads_to_its_image_and_from_there_to_those_like_it(
    look: Callable[..., Any], server: Running, images: dict[str, str]
) -> None:
    with look(server) as page:
        page.locator(".map-frame").scroll_into_view_if_needed()
        x, y, shown = page.evaluate(UNCOVERED_POINT)
        page.mouse.click(x, y)
        page.locator(".looked-at").wait_for()
        assert page.url.rpartition("/")[2] == shown
        assert shown in images.values()
        picture = page.locator(".looked-at img")
        assert picture.evaluate("one => one.complete && one.naturalWidth") == 72
        page.locator(".nearest a").first.click()
        page.wait_for_url(lambda url: url.rpartition("/")[2] not in (shown, "collection"))
        assert page.locator(".nearest li").count() == 12


def test_what_is_asked_leads_to_the_images_like_it(
    look: Callable[..., Any], server: Running, collected: Path, images: dict[str, str]
) -> None:
    path = min(path for path in images if "/Apple" in path)
    with look(server, "/") as page:
        page.locator("input[type=file]").first.set_input_files(collected.parent / "photos" / path)
        page.locator("#answer .nearest a").first.click()
        page.locator(".looked-at").wait_for()
        assert page.url.endswith(images[path])


def test_the_keyboard_is_enough(
    look: Callable[..., Any],
    server: Running,
    store: Path,
    images: dict[str, str],
    pomona: Pomona,
) -> None:
    with look(server) as page:
        press_tab_until(page, "Pear")  # the points of the map are not on the way
        page.keyboard.press("Enter")
        page.locator(".tiles-of-images").wait_for()
        press_tab_until(page, "photo")
        page.keyboard.press("Enter")
        page.locator(".looked-at").wait_for()
        shown = page.url.rpartition("/")[2]
        press_tab_until(page, "It is Pear")
        page.keyboard.press("Enter")
        page.get_by_role("status").wait_for()
        assert page.get_by_role("status").text_content() == "Kept as Pear."
    assert labels_said(pomona, store, shown) == ["Pear"]


def test_enter_in_another_label_takes_that_one(
    look: Callable[..., Any],
    server: Running,
    store: Path,
    images: dict[str, str],
    pomona: Pomona,
) -> None:
    digest = images[max(path for path in images if "/Apple" in path)]
    with look(server, f"/collection/images/{digest}") as page:
        page.get_by_label("Another label").fill("Medlar")
        page.keyboard.press("Enter")
        page.get_by_role("status").wait_for()
    assert labels_said(pomona, store, digest) == ["Medlar"]


@pytest.mark.parametrize(("width", "scheme"), WIDTHS_AND_SCHEMES)
def test_axe_finds_nothing_and_nothing_runs_over_the_edge(
    look: Callable[..., Any], server: Running, images: dict[str, str], width: int, scheme: str
) -> None:
    html = next(digest for path, digest in images.items() if f"/{HTML}/" in path)
    paths = [
        "/collection",
        "/collection/labels?label=Pear",
        f"/collection/images/{html}",
        "/collection/suspects/1",
        "/collection/suspects/99",
    ]
    with look(server, paths[0], width, color_scheme=scheme) as page:
        for path in paths:
            page.goto(server.started["address"] + path)
            assert (path, flaws(page)) == (path, [])
            fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            assert page.evaluate(fits), path
            for button in page.get_by_role("button").all():
                assert button.bounding_box()["height"] >= 40
        page.goto(server.started["address"] + paths[0])
        colours = page.locator(".dots").evaluate_all(
            "all => [...new Set(all.map(one => getComputedStyle(one).stroke))]"
        )
        assert len(colours) == 4


def test_a_browser_signs_in_and_out_and_no_address_has_the_token(
    look: Callable[..., Any], store: Path, tmp_path: Path
) -> None:
    (tmp_path / "tokens").write_text(f"{TOKEN}\n")
    with (
        serving(store, "--token-file", tmp_path / "tokens") as server,
        look(server, width=390, java_script_enabled=False) as page,
    ):
        addresses: list[str] = []
        page.on("request", lambda request: addresses.append(request.url))
        assert "give a token" in page.locator("main").inner_text()
        page.get_by_label("Token").fill("a wrong one, that is long")
        page.get_by_role("button", name="Sign in").click()
        assert "does not know" in page.locator(".problem").text_content()
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name="Pear").click()
        page.locator(".tiles-of-images a").first.click()
        assert page.locator(".looked-at").is_visible()
        page.get_by_role("button", name="It is Pear").click()
        assert "Kept as Pear" in page.get_by_role("status").text_content()
        page.get_by_role("button", name="Sign out").click()
        assert "give a token" in page.locator("main").inner_text()
        assert not [address for address in addresses if "token" in address]
