"""The API of a server: what it answers, in the bits of `pomona predict`, and what it refuses."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from servers import Running, serving

import pomona as api
from conftest import Pomona, draw_photos
from pomona.learning.predictions import TOP, UNSURE
from pomona.report.thumbnails import SIDE
from pomona.serving.openapi import describe
from pomona.serving.settings import ServeSettings

pytest_plugins = ("served_stores",)

HOSTILE = "../../etc/<img src=x onerror=alert(1)>.jpg"


@pytest.fixture(scope="module")
def server(taught: Path) -> Iterator[Running]:
    with serving(taught) as running:
        yield running


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A hundred images that no store has, of several formats."""
    folder = draw_photos(tmp_path_factory.mktemp("hundred"), 100, seed=7)
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def predicted(pomona: Pomona, taught: Path, hundred: list[Path]) -> list[dict[str, Any]]:
    """What `pomona predict` says of them."""
    done = pomona.done("predict", taught, *hundred, "--json", "--quiet")
    rows: list[dict[str, Any]] = json.loads(done.stdout)["predictions"]
    return rows


def as_predicted(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer of the API in the form of `pomona predict`, without its ids and its path."""
    top = [[each["label"], each["probability"]] for each in answer["top"]]
    names = ("label", "probability", "unsure", "distance")
    return {**{name: answer[name] for name in names}, "top": top}


def test_a_hundred_images_have_the_bits_of_predict_one_by_one_and_in_any_company(
    server: Running, hundred: list[Path], predicted: list[dict[str, Any]]
) -> None:
    expected = [{key: row[key] for key in row if key != "path"} for row in predicted]
    alone = [server.predict(path).content for path in hundred[:20]]
    assert [as_predicted(answer) for answer in alone] == expected[:20]
    with ThreadPoolExecutor(24) as threads:  # batches of whatever waits
        answers = [reply.content for reply in threads.map(server.predict, hundred)]
    assert [as_predicted(answer) for answer in answers] == expected
    for count in range(1, 12):
        files = [(path.name, path.read_bytes()) for path in hundred[:count]]
        several = server.post_files("/v1/predict", files).content["predictions"]
        assert [answer["name"] for answer in several] == [name for name, _ in files]
        assert [as_predicted(answer) for answer in several] == expected[:count]
    assert len({answer["id"] for answer in [*alone, *answers]}) == 120


def test_features_are_those_of_featurize(
    server: Running, taught: Path, hundred: list[Path]
) -> None:
    recipe = api.open(taught).recipe
    expected = api.featurize(hundred[:9], recipe)
    one = server.predict(hundred[0], "/v1/features").content
    assert one["recipe"] == recipe.digest
    assert np.array_equal(np.array(one["features"], np.float32), expected[0])
    files = [(path.name, path.read_bytes()) for path in hundred[:9]]
    several = server.post_files("/v1/features", files).content["features"]
    assert np.array_equal(np.array([each["features"] for each in several], np.float32), expected)


def test_it_says_what_answers(server: Running, taught: Path) -> None:
    facts = json.loads((taught / "classifier" / "classifier.json").read_text())
    told = server.get("/v1/model").content
    assert told == {name: server.started[name] for name in told}
    assert (told["model"], told["labels"]) == (facts["id"], facts["labels"])
    assert server.started["address"] == f"http://127.0.0.1:{server.port}"
    for path in ("/healthz", "/readyz", "/ping"):
        assert server.get(path).content == {"status": "ok"}


def test_sagemaker_asks_by_its_own_names(server: Running, hundred: list[Path]) -> None:
    invoked = server.predict(hundred[0], "/invocations", content_type="image/jpeg").content
    answered = server.predict(hundred[0]).content
    assert as_predicted(invoked) == as_predicted(answered)


def nearest_of(server: Running, path: Path) -> list[dict[str, Any]]:
    nearest: list[dict[str, Any]] = server.predict(path, "/v1/search").content["nearest"]
    return nearest


def test_the_nearest_images_have_pictures(server: Running, hundred: list[Path]) -> None:
    for near in nearest_of(server, hundred[0]):
        reply = server.get(f"/v1/images/{near['sha256']}")
        assert (reply.status, reply.headers["content-type"]) == (200, "image/webp")
        assert reply.headers["cache-control"] == "private, max-age=3600"
        with Image.open(io.BytesIO(reply.body)) as picture:
            assert (picture.format, picture.size) == ("WEBP", (SIDE, SIDE))
        assert server.get(f"/v1/images/{near['sha256']}").body == reply.body
    figures = server.get("/metrics").body.decode()
    assert 'route="/v1/images/{id}"' in figures
    assert near["sha256"] not in figures


@pytest.mark.parametrize(
    "name", ["0" * 64, "A" * 64, "x", "{id}", "0" * 9_000, "..%2F..%2Fetc%2Fpasswd", "%00", ""]
)
def test_no_other_image_has_one(server: Running, name: str) -> None:
    reply = server.get(f"/v1/images/{name}")
    assert reply.problem["status"] == 404
    assert reply.headers["cache-control"] == "no-store"


def test_an_image_that_gives_no_features_is_a_problem_with_its_reason(
    server: Running, hundred: list[Path]
) -> None:
    good = hundred[0].read_bytes()
    for data, reason in ((b"no image", "not_an_image"), (good[: len(good) // 2], "truncated")):
        problem = server.predict(data)
        assert problem.status == 422
        assert (problem.problem["stage"], problem.problem["reason"]) == ("decode", reason)
    both = server.post_files("/v1/predict", [("good", good), (HOSTILE, b"no image")])
    one, other = both.content["predictions"]
    assert "error" not in one
    assert other["name"] == HOSTILE
    assert other["error"] == {"stage": "decode", "reason": "not_an_image", "detail": None}
    assert not {"label", "probability", "top"} & other.keys()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v1/predict/", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/v1/predict", 405),
        ("DELETE", "/v1/model", 405),
        ("BREW", "/", 400),
        ("POST", "/v1/predict", 400),
        ("POST", "/v1/search", 400),
        ("POST", "/v1/feedback", 400),
    ],
)
def test_what_cannot_be_asked_is_a_problem(
    server: Running, method: str, path: str, status: int
) -> None:
    reply = server.ask(method, path, b"" if method == "POST" else None)
    assert reply.problem["status"] == status
    assert reply.headers["x-content-type-options"] == "nosniff"
    if status == 405:
        assert reply.headers["allow"]


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"[" * 10_000, b'{"id": 1}', b'{"id": "x", "label": 1}', b"\xff"]
)
def test_feedback_that_cannot_be_read_is_a_problem(server: Running, body: bytes) -> None:
    reply = server.ask("POST", "/v1/feedback", body, content_type="application/json")
    assert reply.problem["status"] in (400, 422)


def test_a_label_that_no_journal_takes_is_refused(server: Running, hundred: list[Path]) -> None:
    given = server.predict(hundred[0]).content["id"]
    for label in ("a\nb", "\x1b[31m", ""):
        judgement = json.dumps({"id": given, "label": label}).encode()
        assert server.ask("POST", "/v1/feedback", judgement).problem["status"] == 422


def test_other_pages_and_other_names_may_not_ask(server: Running, hundred: list[Path]) -> None:
    image = hundred[0].read_bytes()
    for origin in ("https://evil.example", "null", f"http://127.0.0.1:{server.port + 1}"):
        assert server.predict(image, origin=origin).problem["status"] == 403
    own = f"http://127.0.0.1:{server.port}"
    answered = server.predict(image, origin=own)
    assert answered.status == 200
    assert "access-control-allow-origin" not in answered.headers
    assert server.get("/v1/model", host="evil.example").problem["status"] == 421
    assert server.get("/v1/model", host=f"localhost:{server.port}").status == 200


def test_prometheus_reads_the_metrics(server: Running, hundred: list[Path]) -> None:
    def figures() -> dict[tuple[str, str], float]:
        reply = server.get("/metrics")
        assert reply.headers["content-type"].startswith("text/plain; version=")
        return {
            (sample.name, sample.labels.get("route", sample.labels.get("reason", ""))): sample.value
            for family in text_string_to_metric_families(reply.body.decode())
            for sample in family.samples
            if "le" not in sample.labels and sample.labels.get("status", "200") == "200"
        }

    before = figures()
    server.predict(hundred[0])
    server.predict(b"no image")
    after = figures()

    def grown(name: str, label: str = "") -> float:
        return after[name, label] - before.get((name, label), 0)

    assert grown("pomona_http_requests_total", "/v1/predict") == 1
    assert grown("pomona_http_request_duration_seconds_count", "/v1/predict") == 2
    assert grown("pomona_images_total") == 1
    assert grown("pomona_image_errors_total", "not_an_image") == 1
    assert after["pomona_workers_ready", ""] == 2
    assert after["pomona_worker_deaths_total", ""] == 0
    assert after["process_resident_memory_bytes", ""] > 2**20


def test_the_description_is_valid_and_names_every_address(
    server: Running, hundred: list[Path]
) -> None:
    described = server.get("/openapi.json").content
    validate(described)
    assert described == describe(ServeSettings())
    known = nearest_of(server, hundred[0])[0]["sha256"]
    for path, operations in described["paths"].items():
        for method in operations:
            address = path.replace("{id}", known)
            assert server.ask(method.upper(), address, b"").status not in (404, 405)


def test_answers_are_as_described(server: Running, hundred: list[Path]) -> None:
    described = server.get("/openapi.json").content
    files = [("one", hundred[0].read_bytes()), ("two", b"no image")]
    given = server.predict(hundred[0]).content["id"]
    judgement = json.dumps({"id": given, "confirmed": False}).encode()
    said = [
        (path, reply)
        for path in ("/v1/predict", "/v1/features", "/v1/search", "/invocations")
        for reply in (
            server.predict(hundred[0], path),
            server.post_files(path, files),
            server.predict(b"no image", path),
            server.predict(b"", path),
        )
    ]
    said += [("/v1/feedback", server.ask("POST", "/v1/feedback", judgement))]
    said += [(path, server.get(path)) for path in ("/v1/model", "/healthz", "/readyz", "/ping")]
    for path, reply in said:
        [operation] = described["paths"][path].values()
        [(media_type, content)] = operation["responses"][str(reply.status)]["content"].items()
        assert reply.headers["content-type"] == media_type
        schema = {**content["schema"], "components": described["components"]}
        OAS31Validator(schema).validate(reply.content)
        for example in content.get("examples", {}).values():
            OAS31Validator(schema).validate(example["value"])


def test_a_store_without_a_classifier_gives_features_alone(
    plain: Path, hundred: list[Path], tmp_path: Path
) -> None:
    store = shutil.copytree(plain, tmp_path / "<b>plain")
    with serving(store) as server:
        assert server.started["model"] is None
        assert server.predict(hundred[0]).problem["status"] == 404
        features = server.predict(hundred[0], "/v1/features").content["features"]
        expected = api.featurize([hundred[0]], api.open(plain).recipe)
        assert np.array_equal(np.array(features, np.float32), expected[0])
        page = server.get("/").body.decode()
        assert "no classifier" in page
        assert "<b>plain" not in page
        status, log = server.stop()
        assert status == 0
        lines = [json.loads(line) for line in log.splitlines()]
        assert [line["status"] for line in lines] == [404, 200, 200]
        # Nothing of who asked, and nothing of the image.
        assert "127.0.0.1" not in log
        assert hundred[0].name not in log


def test_the_defaults_are_those_of_predict() -> None:
    assert (ServeSettings.top, ServeSettings.unsure) == (TOP, UNSURE)
