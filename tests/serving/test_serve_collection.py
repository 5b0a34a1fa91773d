"""The pages of the collection over HTTP: what they show, keep and refuse, and to whom."""

from __future__ import annotations

import html
import json
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pyarrow as pa
import pytest
from servers import Reply, Running, serving
from suspected import GONE, HTML, TWICE, suspects_of

from conftest import Here, Pomona, wait_for
from means import teach
from pomona.backbones.overrides import ModelOverrides
from pomona.images.label_files import read_columns
from pomona.pipeline import run as pipeline
from pomona.pipeline.context import RunSettings
from pomona.pipeline.settings import ExtractSettings
from pomona.s3.address import Access
from pomona.serving.model import read_model
from pomona.serving.settings import ServeSettings
from pomona.store.store import Store

pytest_plugins = ("served_stores",)

FORM = "application/x-www-form-urlencoded"
TOKEN, OTHER = "a token of the tests", "another token of them"


@pytest.fixture(scope="module")
def server(collected: Path) -> Iterator[Running]:
    with serving(collected) as running:
        yield running


@pytest.fixture(scope="module")
def images(collected: Path) -> dict[str, str]:
    """The SHA-256 of each image by its path."""
    rows = Store(collected).metadata(["path", "sha256"]).to_pylist()
    return {row["path"]: row["sha256"] for row in rows}


def text_of(reply: Reply) -> str:
    """The text of a page, without its tags."""
    assert reply.headers["content-type"].startswith("text/html")
    body = re.sub(r"<style>.*?</style>", "", reply.body.decode(), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def links_of(reply: Reply) -> list[str]:
    return [html.unescape(link) for link in re.findall(r'href="([^"]+)"', reply.body.decode())]


def say(server: Running, sha256: str, **fields: str) -> Reply:
    return post(server, f"/collection/images/{sha256}", fields)


def post(server: Running, path: str, fields: dict[str, str], **headers: str) -> Reply:
    return server.ask("POST", path, urlencode(fields).encode(), content_type=FORM, **headers)


def feedback_on(store: Path, pomona: Pomona, sha256: str) -> list[dict[str, Any]]:
    told = json.loads(pomona.done("feedback", store, "--json").stdout)
    return [each for each in told["feedback"] if each["sha256"] == sha256]


def test_the_collection_shows_its_labels_suspects_and_every_point(
    server: Running, images: dict[str, str]
) -> None:
    reply = server.get("/collection")
    text, links = text_of(reply), links_of(reply)
    assert "161 images, 4 labels" in text
    assert "3 labels may be wrong" in text
    assert "Pear 41" in text
    assert f"{HTML} 40" in text
    assert f"/collection/labels?label={quote(HTML, safe='')}" in links
    assert re.search(r"/collection/suspects/[123]", " ".join(links))
    assert set(images.values()) <= {link.rpartition("/")[2] for link in links}


def test_the_map_is_that_of_the_report(collected: Path) -> None:
    page = (collected / "report.html").read_text()
    [told] = re.findall(r'id="map-data">(.*?)</script>', page, re.DOTALL)
    content = json.loads(told)
    collection = read_model(collected, Access(), ServeSettings()).collection
    assert collection is not None
    drawn = collection.map
    assert drawn is not None
    assert [label.label for label in drawn.labels] == content["labels"]
    assert [[p.x, p.y, p.label, p.image.path] for p in drawn.points] == [
        point[:4] for point in content["points"]
    ]


def test_a_label_shows_its_images_page_by_page(server: Running, images: dict[str, str]) -> None:
    pears = sorted(path for path in images if "/Pear/" in path)
    seen = []
    address: str | None = "/collection/labels?label=Pear"
    while address:
        reply = server.get(address)
        found = [link for link in links_of(reply) if link.startswith("/collection/images/")]
        assert reply.body.count(b"data:image/webp") == len(found)
        seen.append(len(found))
        following = re.findall(r'<a href="([^"]+)" rel="next"', reply.body.decode())
        address = html.unescape(following[0]) if following else None
    assert seen == [36, 5]
    assert sum(seen) == len(pears)


def test_an_image_shows_what_is_known_of_it(
    server: Running, collected: Path, images: dict[str, str]
) -> None:
    path, sha256 = next((path, digest) for path, digest in images.items() if "/Apple" in path)
    reply = server.get(f"/collection/images/{sha256}")
    text, photo = text_of(reply), collected.parent / "photos" / path
    predicted = server.predict(photo).content
    assert re.search(
        rf"{re.escape(predicted['label'])} , {100 * predicted['probability']:.1f}", text
    )
    assert path in text
    assert f"Split {path.partition('/')[0]}" in text
    near = [each for each in predicted["nearest"] if each["sha256"] != sha256]
    shown = [link.rpartition("/")[2] for link in links_of(reply) if "/images/" in link]
    assert shown[: len(near)] == [each["sha256"] for each in near]
    assert len(shown) == 12


def test_a_file_under_two_labels_says_so(server: Running, images: dict[str, str]) -> None:
    text = text_of(server.get(f"/collection/images/{images[TWICE]}"))
    assert "2 labels" in text
    assert "It is Pear" in text
    assert "It is Crème brûlée" in text


def test_a_suspect_that_is_gone_says_so(server: Running) -> None:
    text = text_of(server.get("/collection/suspects/3"))
    assert f"{GONE} is not in the store any more" in text


@pytest.mark.parametrize(
    "address",
    [
        *(f"images/{name}" for name in ("0" * 64, "A" * 64, "x", "{id}", "%00", "0" * 9_000)),
        *(f"suspects/{name}" for name in ("0", "4", "-1", "x", "1.0", "9" * 400, "%D9%A1")),
        "labels",
        "labels?label=Quince",
        "labels?label=Pear&from=41",
        "labels?label=Pear&from=-1",
        "labels?label=Pear&from=x",
        "labels?label=%00%FF",
        "?from=4",
    ],
)
def test_what_is_not_there_is_a_page_that_says_so(server: Running, address: str) -> None:
    reply = server.get(f"/collection/{address}".replace("/?", "?"))
    assert reply.status == 404
    assert 'class="problem"' in reply.body.decode()


def test_no_label_becomes_html(server: Running, images: dict[str, str]) -> None:
    own = next(digest for path, digest in images.items() if f"/{HTML}/" in path)
    for address in (
        "/collection",
        f"/collection/labels?{urlencode({'label': HTML})}",
        f"/collection/images/{own}",
        "/collection/suspects/1",
        "/collection/suspects/2",
    ):
        reply = server.get(address)
        assert reply.status == 200
        assert "<img src=x" not in reply.body.decode()
        assert HTML in text_of(reply)
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "unsafe" not in policy
        assert reply.headers["cache-control"] == "no-store"


def test_the_last_word_on_an_image_is_what_train_takes(
    server: Running, collected: Path, images: dict[str, str], pomona: Pomona, tmp_path: Path
) -> None:
    path = max(path for path in images if "/Crème" in path)
    for fields in ({"typed": " Plum "}, {"label": "Crème brûlée"}, {"label": HTML}):
        reply = say(server, images[path], **fields)
        assert (reply.status, reply.headers["location"]) == (
            303,
            f"/collection/images/{images[path]}",
        )
    assert f"Kept as {HTML}" in text_of(server.get(reply.headers["location"]))
    [entry] = feedback_on(collected, pomona, images[path])
    assert (entry["predicted"], entry["label"]) == ("Crème brûlée", HTML)
    assert (entry["confirmed"], entry["model"]) == (False, "store")
    told = json.loads(pomona.done("feedback", collected, "--json").stdout)
    assert told["stored"] >= 1
    assert "in the store right" in pomona.done("feedback", collected).stdout
    file = tmp_path / "labels.csv"
    pomona.done("feedback", collected, "--labels-file", file)
    columns = read_columns(file, ("path", "label"))[0]
    labels = dict(zip(columns["path"].to_pylist(), columns["label"].to_pylist(), strict=True))
    assert labels[path] == HTML


def test_a_walk_goes_on_after_a_restart(
    server: Running, collected: Path, images: dict[str, str]
) -> None:
    digest = images[suspects_of(collected)["path"][0].as_py()]
    reply = say(server, digest, label="Medlar", suspect="1")
    assert reply.headers["location"] == "/collection/suspects/2"
    with serving(collected) as another:
        text = text_of(another.get("/collection/suspects/2"))
        assert "Suspect 1 is kept as Medlar" in text
        assert "/collection/suspects/1" not in links_of(another.get("/collection"))


@pytest.mark.parametrize("label", ["", "a\nb", "x" * 1_001, "\x1b[31m"])
def test_a_label_that_cannot_be_is_refused(
    server: Running, collected: Path, images: dict[str, str], pomona: Pomona, label: str
) -> None:
    path = min(path for path in images if "/Apple" in path)
    reply = say(server, images[path], label=label)
    assert reply.status == 422
    assert 'class="problem"' in reply.body.decode()
    assert feedback_on(collected, pomona, images[path]) == []


def test_nothing_is_kept_of_other_images_or_for_other_pages(
    server: Running, images: dict[str, str]
) -> None:
    assert say(server, "0" * 64, label="Pear").status == 404
    address = f"/collection/images/{min(images.values())}"
    reply = post(server, address, {"label": "Pear"}, origin="https://evil.example")
    assert reply.status == 403


@pytest.fixture
def guarded(collected: Path, tmp_path: Path) -> Iterator[Running]:
    (tmp_path / "tokens").write_text(f"{TOKEN}\n{OTHER}\n")
    with serving(collected, "--token-file", tmp_path / "tokens") as running:
        yield running


def test_nobody_sees_the_collection_without_a_token(
    guarded: Running, images: dict[str, str], tmp_path: Path
) -> None:
    digest = min(images.values())
    addresses = [
        "/collection",
        "/collection/labels?label=Pear",
        f"/collection/images/{digest}",
        "/collection/suspects/1",
    ]

    def statuses(**headers: str) -> set[int]:
        return {guarded.get(address, **headers).status for address in addresses}

    for address in [*addresses, "/collection/suspects/99", f"/collection/images/{'0' * 64}"]:
        refused = guarded.get(address)
        assert refused.status == 401
        for secret in ("Pear", "fruit", "data:image", digest, "suspects"):
            assert secret not in refused.body.decode()
    assert say(guarded, digest, label="Pear").status == 401
    assert statuses(authorization=f"Bearer {TOKEN}") == {200}

    for wrong in ("", "wrong", TOKEN[:-1]):
        refused = post(guarded, "/collection/session", {"token": wrong})
        assert refused.status == 401
        assert "set-cookie" not in refused.headers
    welcomed = post(guarded, "/collection/session", {"token": TOKEN})
    assert (welcomed.status, welcomed.headers["location"]) == (303, "/collection")
    cookie, *rest = welcomed.headers["set-cookie"].split("; ")
    assert TOKEN not in cookie
    assert {"HttpOnly", "SameSite=Strict", "Path=/collection"} <= set(rest)
    assert "Secure" not in rest
    origin = f"https://127.0.0.1:{guarded.port}"
    secure = post(guarded, "/collection/session", {"token": OTHER}, origin=origin)
    assert secure.headers["set-cookie"].endswith("; Secure")
    other = secure.headers["set-cookie"].partition(";")[0]
    assert other != cookie

    assert statuses(cookie=cookie) == statuses(cookie=other) == {200}
    assert guarded.get("/v1/model", cookie=cookie).status == 401
    for unknown in ("pomona_session=", "pomona_session=x", f"{cookie}x", f"other={TOKEN}"):
        assert statuses(cookie=unknown) == {401}
    ended = post(guarded, "/collection/session/end", {}, cookie=other)
    assert "Max-Age=0" in ended.headers["set-cookie"]
    assert statuses(cookie=other) == {401}
    (tmp_path / "tokens").write_text(f"{OTHER}\n")  # the other one is revoked
    assert statuses(cookie=cookie) == {401}
    assert TOKEN not in guarded.stop()[1]


def test_a_server_without_tokens_begins_no_session(server: Running) -> None:
    assert post(server, "/collection/session", {"token": TOKEN}).status == 404
    assert post(server, "/collection/session", {"token": "x" * 100_000}).status == 413


def test_without_a_classifier_the_rest_works(plain: Path) -> None:
    with serving(plain) as server:
        reply = server.get("/collection")
        assert "There is no classifier yet" in text_of(reply)
        image = next(link for link in links_of(reply) if "/images/" in link)
        assert server.get(image).status == 200
        assert server.get("/collection/suspects/1").status == 404


def test_without_components_it_says_what_makes_them(photos: Path, tmp_path: Path) -> None:
    extracting = ExtractSettings(source=photos, overrides=ModelOverrides(input_size=32), limit=4)
    pipeline.extract(tmp_path / "out", extracting, RunSettings(Here()))
    with serving(tmp_path / "out") as server:
        reply = server.get("/collection")
        assert reply.status == 404
        assert "pomona reduce" in text_of(reply)


def test_a_store_whose_images_all_failed_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "photos" / "Pear").mkdir(parents=True)
    (tmp_path / "photos" / "Pear" / "broken.jpg").write_bytes(b"no image")
    extracting = ExtractSettings(source=tmp_path / "photos")
    pipeline.extract(tmp_path / "out", extracting, RunSettings(Here()))
    with serving(tmp_path / "out") as server:
        reply = server.get("/collection")
        assert reply.status == 404
        assert "pomona reduce" in text_of(reply)


def test_a_new_classifier_brings_its_own_suspects(collected: Path, tmp_path: Path) -> None:
    store = shutil.copytree(collected, tmp_path / "store")
    with serving(store) as server:
        assert "may be wrong" in text_of(server.get("/collection"))
        teach(store, temperature=10, suspects=suspects_of(store).slice(1, 1))
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "1 label may be wrong" in text_of(server.get("/collection")))
        assert HTML in text_of(server.get("/collection/suspects/1"))
        teach(store, temperature=5, suspects=pa.table(suspects_of(store).slice(0, 0)))
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "suspects no label" in text_of(server.get("/collection")))
