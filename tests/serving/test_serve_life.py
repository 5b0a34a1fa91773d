"""The life of a server: workers that die, classifiers that change, tokens, and its end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

import pytest
from servers import Reply, Running, send, serving, with_comment

from conftest import wait_for
from means import teach
from pomona.feedback.journal import Journal

pytest_plugins = ("served_stores",)


@dataclass
class Load:
    """What clients have been told that ask all the time, and how often a connection failed them."""

    replies: list[Reply] = field(default_factory=list)
    failures: int = 0


@contextmanager
def under_load(server: Running, images: list[bytes], clients: int = 6) -> Iterator[Load]:
    """Some clients ask all the time, each over one connection, until the block ends."""
    load, is_over = Load(), threading.Event()

    def ask(number: int) -> None:
        connection = server.connect()
        while not is_over.is_set():
            image = images[len(load.replies) % len(images)]
            try:
                load.replies.append(send(connection, "POST", "/v1/predict", image))
            except (OSError, HTTPException):
                load.failures += 1
                connection.close()
                is_over.wait(0.01)
        connection.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: len(load.replies) > 2 * clients)
        yield load
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def more(load: Load, count: int = 20) -> None:
    """Waits for so many further replies."""
    until = len(load.replies) + count
    wait_for(lambda: len(load.replies) >= until)


@pytest.fixture
def images(photos: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(photos.rglob("*.jpg"))[:8]]


def test_a_codec_that_crashes_or_hangs_costs_one_request(taught: Path, images: list[bytes]) -> None:
    with serving(taught, "--image-timeout", 1, planted=True) as server:
        first = server.workers()
        expected = [server.predict(image).content["label"] for image in images]
        with under_load(server, images) as load:
            for mark, reason in ((b"crash", "crashed"), (b"hang", "timed_out")):
                reply = server.predict(with_comment(images[0], mark))
                assert reply.status == 422
                problem = reply.problem
                assert (problem["stage"], problem["reason"]) == ("decode", reason)
                more(load)
            several = [("1", images[0]), ("2", with_comment(images[0], b"crash"))]
            both = server.post_files("/v1/predict", several).content["predictions"]
            assert both[0]["label"] == expected[0]
            assert both[1]["error"]["reason"] == "crashed"
            # Somebody else's blow, at workers that have work.
            for worker in server.workers():
                os.kill(worker, signal.SIGKILL)
            more(load)
        assert {reply.status for reply in load.replies} == {200}
        assert load.failures == 0
        wait_for(lambda: len(server.workers()) == 2)
        assert not first & server.workers()
        assert [server.predict(image).content["label"] for image in images] == expected
        metrics = server.get("/metrics").body.decode()
        assert 'pomona_image_errors_total{reason="crashed"} 2.0' in metrics
        assert "pomona_worker_deaths_total 0.0" not in metrics


@pytest.mark.parametrize("how", ["signal", "watch"])
def test_a_new_classifier_is_taken_up_without_a_lost_request(
    taught: Path, images: list[bytes], tmp_path: Path, how: str
) -> None:
    store = shutil.copytree(taught, tmp_path / "store")
    with serving(store, *(["--watch"] if how == "watch" else [])) as server:
        before = server.started["model"]
        old = [server.predict(image).content for image in images]
        with under_load(server, images) as load:
            after = teach(store, temperature=60.0)["id"]
            if how == "signal":
                more(load)
                assert {reply.content["model"] for reply in load.replies} == {before}
                server.process.send_signal(signal.SIGHUP)
            wait_for(lambda: server.get("/v1/model").content["model"] == after)
            more(load)
            # A damaged one is not taken up.
            (store / "classifier" / "model.onnx").write_bytes(b"")
            server.process.send_signal(signal.SIGHUP)
            more(load)
        assert {reply.status for reply in load.replies} == {200}
        assert load.failures == 0
        models = [reply.content["model"] for reply in load.replies]
        assert set(models) == {before, after}
        new = [server.predict(image).content for image in images]
        # Each answer is wholly of the model that it names.
        known = {(each["model"], each["label"], each["probability"]) for each in old + new}
        told = [reply.content for reply in load.replies]
        assert {(each["model"], each["label"], each["probability"]) for each in told} <= known
        assert {each["model"] for each in new} == {after}
        status, log = server.stop()
        assert status == 0
        assert "missing or damaged" in log
        assert "the classifier in use stays" in log


def test_sigterm_ends_what_has_begun_and_refuses_what_is_new(
    taught: Path, images: list[bytes]
) -> None:
    with serving(taught) as server:
        workers = server.workers()
        with under_load(server, images) as load:
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(timeout=10) == 0
            assert time.monotonic() - began < 10
            wait_for(lambda: load.failures > 0)
        assert {reply.status for reply in load.replies} == {200}
        with pytest.raises(ConnectionError):
            server.open_socket()
        assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]


def test_a_server_that_is_killed_leaves_its_feedback_and_no_worker(
    taught: Path, images: list[bytes], tmp_path: Path
) -> None:
    store = shutil.copytree(taught, tmp_path / "store", ignore=shutil.ignore_patterns("feedback"))
    with serving(store) as server:
        workers = server.workers()
        assert len(workers) == 2
        given = [server.predict(image).content["id"] for image in images]
        for name in given:
            body = json.dumps({"id": name, "label": "Quince"}).encode()
            assert server.ask("POST", "/v1/feedback", body).content == {
                "id": name,
                "label": "Quince",
            }
        again = json.dumps({"id": given[0], "confirmed": True}).encode()
        assert server.ask("POST", "/v1/feedback", again).status == 200
        server.process.kill()
        rows = {row["id"]: row for row in Journal(store).read().to_pylist()}
        assert rows.keys() == set(given)
        assert [rows[name]["label"] for name in given[1:]] == ["Quince"] * (len(given) - 1)
        assert rows[given[0]]["label"] == rows[given[0]]["predicted"]
        wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))


def test_a_token_is_wanted_until_it_is_revoked(
    taught: Path, images: list[bytes], tmp_path: Path
) -> None:
    file = tmp_path / "tokens"
    one, other = "a" * 32, "Ünïcode-" * 4
    file.write_text(f"# ours\n{one}\n\n{other}\n")
    with serving(taught, "--token-file", file, "--host", "0.0.0.0") as server:  # noqa: S104 - with tokens
        image = images[0]
        for path in ("/", "/healthz", "/readyz", "/ping", "/openapi.json"):
            assert server.get(path).status == 200
        assert server.get("/openapi.json").content["paths"]["/v1/predict"]["post"]["security"]
        for path in ("/v1/model", "/metrics", f"/v1/images/{'0' * 64}"):
            assert server.get(path).problem["status"] == 401
        for wrong in (
            "",
            "Bearer",
            "Bearer ",
            f"Bearer {one[1:]}",
            f"Basic {one}",
            "Bearer # ours",
        ):
            refused = server.predict(image, authorization=wrong)
            assert refused.problem["status"] == 401
            assert refused.headers["www-authenticate"] == "Bearer"
        page = server.post_files("/", [("x", image)], **{"token": "no"})
        assert page.status == 401
        assert "token is needed" in page.body.decode()
        assert server.post_files("/", [("x", image)], token=one).status == 200
        assert server.predict(image, authorization=f"Bearer {one}").status == 200
        file.write_text(f"{other}\n{'b' * 32}\n")
        assert server.predict(image, authorization=f"Bearer {one}").status == 401
        assert server.predict(image, authorization=f"bearer {'b' * 32}").status == 200
        file.unlink()
        assert server.predict(image, authorization=f"Bearer {'b' * 32}").status == 401
        _, log = server.stop()
        assert one not in log
        lines = [json.loads(line) for line in log.splitlines()]
        assert {line["status"] for line in lines} == {200, 401}
        assert "none" not in {line["route"] for line in lines}


def test_pages_of_named_origins_may_ask(taught: Path, images: list[bytes]) -> None:
    origin = "https://app.example.org"
    with serving(taught, "--cors", origin) as server:
        asked = {"origin": origin, "access_control_request_method": "POST"}
        allowed = server.ask("OPTIONS", "/v1/predict", None, **asked)
        assert allowed.headers["access-control-allow-origin"] == origin
        answered = server.predict(images[0], origin=origin)
        assert answered.status == 200
        assert answered.headers["access-control-allow-origin"] == origin
        asked["origin"] = "https://evil.example"
        refused = server.ask("OPTIONS", "/v1/predict", None, **asked)
        assert "access-control-allow-origin" not in refused.headers
