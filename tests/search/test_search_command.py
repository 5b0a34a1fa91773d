"""`pomona search`: the nearest images of a store, on the terminal, as JSON and as a page."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pomona as api
from conftest import Here, Pomona
from pomona.api import open as open_store
from pomona.errors import UsageError
from pomona.maintenance.forget import forget
from pomona.maintenance.verify import verify
from pomona.pipeline.context import RunSettings
from pomona.pipeline.here import map_here
from pomona.search import page
from pomona.search.ask import Found, search_here, search_images
from pomona.search.index import Neighbour, open_index
from pomona.store.store import Store
from s3_server import Place, bucket, s3_server

__all__ = ["bucket", "s3_server"]

HOSTILE = "</style><script>document.title='run'</script>\"'&{{ 1 + 1 }}<img src=x>"


@pytest.fixture(scope="module")
def searched(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that was searched before; not to be changed."""
    store = shutil.copytree(finished, tmp_path_factory.mktemp("searched") / "store")
    open_index(Store(store))
    return store


@pytest.fixture
def asked(photos: Path, tmp_path: Path) -> list[Path]:
    """A photograph of the store, one that cannot be read, and a folder."""
    folder = tmp_path / "some images"
    folder.mkdir()
    shutil.copy(photos / "Training/Pear/photo 0-002.jpg", folder / "copy.jpg")
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    return [photos / "Training/Pear/photo 0-002.jpg", tmp_path / "bad.jpg", folder]


def test_images_find_themselves_first(searched: Path, asked: list[Path], pomona: Pomona) -> None:
    done = pomona.done("search", searched, *asked, "--top", "3", "--json", "--workers", "1")
    first, bad, copy = json.loads(done.stdout)["found"]
    assert first["path"] == str(asked[0])
    assert [len(each["nearest"]) for each in (first, bad, copy)] == [3, 0, 3]
    assert first["nearest"] == copy["nearest"]
    assert copy["path"] == f"{asked[2]}/copy.jpg"
    near = first["nearest"][0]
    assert (near["path"], near["label"]) == ("Training/Pear/photo 0-002.jpg", "Pear")
    assert near["similarity"] == pytest.approx(1, abs=1e-6)
    assert bad["error"]["reason"] == "not_an_image"
    # From Python they are the same, to the last bit.
    here = open_store(searched).search([asked[0], asked[1]], top=3)
    assert [each.to_dict() for each in here] == [first, bad]


def test_the_nearest_are_shown(searched: Path, asked: list[Path], pomona: Pomona) -> None:
    shown = pomona.done("search", searched, *asked[:2], "--top", "2", "--workers", "1").stdout
    lines = shown.splitlines()
    assert lines[0] == f"{asked[0]}:"
    assert lines[1] == "   1.000  Training/Pear/photo 0-002.jpg (Pear)"
    assert len(lines) == 4
    assert lines[3].startswith(f"{asked[1]}: no features, not_an_image")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["STORE", "nowhere.jpg"], 1, "nowhere.jpg does not exist"),
        (["STORE", "IMAGE", "--top", "0"], 2, "--top 0: at least 1 image is needed"),
        (["EMPTY", "IMAGE"], 1, "is not a pomona store"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    searched: Path,
    asked: list[Path],
    tmp_path: Path,
    pomona: Pomona,
    words: list[str],
    status: int,
    message: str,
) -> None:
    stands_for = {"STORE": searched, "IMAGE": asked[0], "EMPTY": tmp_path}
    ended = pomona("search", *(stands_for.get(word, word) for word in words))
    assert ended.status == status
    assert message in ended.complaint


def test_images_in_memory_are_searched_too(searched: Path, asked: list[Path]) -> None:
    store = open_store(searched)
    picture = Image.open(asked[0])
    found = store.search([asked[0].read_bytes(), picture, np.asarray(picture)], top=1)
    assert {each.nearest[0].path for each in found} == {"Training/Pear/photo 0-002.jpg"}
    assert {each.path for each in found} == {None}
    with pytest.raises(UsageError, match="put the image in brackets"):
        store.search(str(asked[0]))
    assert store.search([]) == []


def test_a_network_that_is_not_here_is_named(searched: Path, tmp_path: Path) -> None:
    store = shutil.copytree(searched, tmp_path / "store")
    manifest = json.loads((store / "pomona.json").read_text())
    manifest["recipe"]["input_size"] = None
    (store / "pomona.json").write_text(json.dumps(manifest))
    with pytest.raises(api.PomonaError, match="these features were imported"):
        search_here(Store(store), [b""])


def test_a_store_in_a_bucket_is_searched(searched: Path, asked: list[Path], bucket: Place) -> None:
    kept = {path.name for path in (searched / "search").iterdir()}
    without = shutil.copytree(searched, asked[2] / "without")
    shutil.rmtree(without / "search")
    address = bucket.upload(without, "out")
    found = open_store(address).search([asked[0]], top=4)
    assert found == open_store(searched).search([asked[0]], top=4)
    names = {name.partition("/")[2] for name in bucket.contents("out") if "search/" in name}
    assert names == kept
    assert open_store(address).search([asked[0]], top=4) == found


class Text(HTMLParser):
    """A page's text, and the addresses of its pictures."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.pictures = "", list[str]()
        self.feed(re.sub("<style>.*?</style>", "", html, flags=re.DOTALL))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script"
        if tag == "img":
            self.pictures.append(dict(attrs)["src"] or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_each_image_and_its_nearest(searched: Path, asked: list[Path]) -> None:
    before = sorted(path.name for path in searched.rglob("*"))
    store, settings = Store(searched), RunSettings(Here())
    images, found = search_images(searched, asked, settings, top=3)
    with map_here(Here()) as run_here:
        written = page.write(store, images, found, run_here)
    try:
        shown = Text(written.read_text("utf-8"))
        assert written.parent.stat().st_mode & 0o077 == 0
    finally:
        shutil.rmtree(written.parent)
    # Two images that can be shown, with three each; the pictures of the store are of the disk.
    assert len(shown.pictures) == 8
    assert all(src.startswith("data:image/webp;base64,") for src in shown.pictures)
    assert "cosine 1.000" in shown.text
    assert "This image gives no features: not_an_image" in shown.text
    assert sorted(path.name for path in searched.rglob("*")) == before


def test_what_comes_from_outside_is_text_on_the_page() -> None:
    found = [Found(HOSTILE, [Neighbour(HOSTILE, HOSTILE, "a" * 64, 0.5)])]
    error = Found(HOSTILE, error={"stage": "decode", "reason": "corrupt", "detail": HOSTILE})
    html = page.render(HOSTILE, [*found, error], {}, {})
    shown = Text(html)
    assert shown.text.count(HOSTILE) == 6
    assert shown.pictures == []


def test_a_long_page_says_how_much_it_leaves_out() -> None:
    found = [Found(f"{number}.jpg") for number in range(page.QUERIES_SHOWN + 2)]
    html = page.render("out", found, {}, {})
    assert "2 more images are not shown here" in html
    assert f"{page.QUERIES_SHOWN}.jpg" not in html


def test_faults_of_the_index_are_found(searched: Path, tmp_path: Path) -> None:
    store = shutil.copytree(searched, tmp_path / "store")
    settings = RunSettings(Here())
    assert verify(store, settings).findings == []
    rows, images = (next((store / "search").glob(f"*-{kind}")) for kind in ("rows*", "images*"))
    data = bytearray(rows.read_bytes())
    data[-1] ^= 1
    rows.write_bytes(data)
    images.unlink()
    (store / "search/0-rows.npy").write_bytes(b"")
    found = {each.where: each.what for each in verify(store, settings).findings}
    assert found == {
        f"search/{rows.name}": "is missing or damaged",
        f"search/{images.name}": "is missing or damaged",
        "search/0-rows.npy": "is left of a command that was stopped",
    }
    (store / "search/search.json").write_text('{"format": 1}')
    assert [str(each) for each in verify(store, settings).findings] == [
        "search/search.json: is damaged; delete search/: the next `pomona search` makes it again"
    ]
    (store / "search/search.json").write_text('{"format": 2}')
    [later] = verify(store, settings).findings
    assert later.what == "is of a later version of pomona"


def test_a_forgotten_image_is_found_no_more(searched: Path, tmp_path: Path) -> None:
    store = shutil.copytree(searched, tmp_path / "store")
    opened = open_store(store)
    rows = opened.pca()
    path = rows.paths[0]
    forget(store, [path], RunSettings(Here()), keep_projection=True)
    assert not (store / "search").exists()
    [nearest] = open_index(opened).search(rows.array[:1], top=100)
    assert len(nearest) == 39
    assert path not in {each.path for each in nearest}
    for file in (store / "search").iterdir():
        assert path.encode() not in file.read_bytes()
