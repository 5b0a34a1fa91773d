"""The documentation as a site: it builds offline, is searched in a browser, and fits a phone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
# A proxy that is not there: whoever asks the network for something fails.
OFFLINE = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
# Chromium asks its makers for nothing, so that every request is the page's.
SILENT = (
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--no-first-run", "--disable-gpu"),
)
# The window has its width, and the page's script has put each table into a frame of its own.
LAID_OUT = """width => innerWidth === width && [...document.querySelectorAll("article table")]
    .every(each => each.closest(".md-typeset__table, .highlighttable"))"""
# The blocks of a page that the window cuts off, or the page where it scrolls sideways.
TOO_WIDE = """async () => {
    const moving = document.getAnimations().filter(each => each instanceof CSSTransition)
    await Promise.allSettled(moving.map(each => each.finished))
    return [...document.querySelectorAll("article > *, article .doc > *")]
        .filter(each => each.getBoundingClientRect().right > innerWidth + 1)
        .map(each => each.tagName + ": " + each.textContent.slice(0, 40))
        .concat(document.documentElement.scrollWidth > innerWidth ? ["it scrolls"] : [])
}"""

pytest.importorskip("mkdocs")


def build(site: Path, config: Path = ROOT / "mkdocs.yml") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(site)]
    return subprocess.run(
        [*command, "--config-file", str(config)],
        cwd=ROOT,
        env={**os.environ, **OFFLINE, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built without a network."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = build(folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where a server on loopback gives out the site."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; without one the tests are skipped, but not where CI is set."""
    playwright = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs Chromium on the PATH")
        pytest.skip("no Chromium on the PATH")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=found, args=SILENT)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that must end without errors, and without a request to elsewhere."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened, errors, asked = context.new_page(), [], []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    yield opened
    context.close()
    assert errors == []
    assert [
        url for url in asked if not url.startswith(("http://127.0.0.1:", "file:", "data:"))
    ] == []


def search(page: Any, start: str, word: str, title: str) -> None:
    """Searches for a word from a page, and opens the result with this title."""
    page.goto(start)
    page.locator("input.md-search__input").click()
    page.keyboard.type(word)
    result = page.locator(".md-search-result__link", has_text=title).first
    result.wait_for(timeout=30_000)
    result.click()
    page.locator("h1").filter(has_text=title).wait_for(timeout=30_000)


def test_a_word_is_found_by_the_search(page: Any, address: str) -> None:
    search(page, f"{address}/index.html", "McNemar", "How a classifier is made and measured")
    search(page, f"{address}/reference/store.html", "insecure-endpoint", "Command line")


def test_the_search_works_on_pages_from_a_disk(page: Any, site: Path) -> None:
    search(page, (site / "index.html").as_uri(), "McNemar", "How a classifier is made and measured")


def test_no_page_is_wider_than_a_phone_or_a_desktop(page: Any, site: Path, address: str) -> None:
    # Each page would build the index of the search, which takes most of the time.
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    short = {**index, "docs": index["docs"][:1]}
    page.route("**/search_index.json", lambda route: route.fulfill(json=short))
    wider = []
    for file in sorted(site.rglob("*.html")):
        name = file.relative_to(site).as_posix()
        page.goto(f"{address}/{name}")
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 844})
            page.wait_for_function(LAID_OUT, arg=width)
            wider += [f"{name} at {width}: {each}" for each in page.evaluate(TOO_WIDE)]
    assert wider == []


def test_the_reference_has_every_command_and_public_name(site: Path) -> None:
    import pomona
    from docs.generate.commands import commands

    told = (site / "reference" / "command-line.html").read_text(encoding="utf-8")
    ids = {name: name.replace(" ", "-") for name in commands() if name != "pomona"}
    assert [name for name, each in ids.items() if f'id="{each}"' not in told] == []
    api = (site / "reference" / "python.html").read_text(encoding="utf-8")
    public = [name for name in pomona.__all__ if not name.startswith("_")]
    assert [
        name for name in public if name != "PomonaError" and f'id="pomona.{name}"' not in api
    ] == []
    assert 'id="pomona.errors.PomonaError"' in api


def test_a_wrong_page_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(
        "# Home\n\n[gone](gone.md) [lost](#lost)\n\n```sh\npomona frobnicate\n```\n", "utf-8"
    )
    config = tmp_path / "mkdocs.yml"
    config.write_text(
        f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: {tmp_path / 'docs'}\n"
        f"nav: [index.md]\nplugins: []\nhooks: [{ROOT / 'docs' / 'hooks.py'}]\n",
        "utf-8",
    )
    done = build(tmp_path / "site", config)
    assert done.returncode == 1
    assert "'gone.md'" in done.stderr
    assert "'#lost'" in done.stderr
    assert "there is no command `pomona frobnicate`" in done.stderr
