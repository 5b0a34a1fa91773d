"""Load: whatever else is asked at the same time, an answer is that of `pomona predict`.

POMONA_FAULTS=long: 2,000 photographs and 3,000 damaged images, as `make load` has them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import psutil
import pytest
from servers import Reply, Running, send, serving, with_comment

from conftest import Pomona, draw_photos, wait_for
from damage import damaged
from pomona.feedback.journal import Journal

pytest_plugins = ("served_stores",)

LONG = os.environ.get("POMONA_FAULTS") == "long"
ASKED, DAMAGED = (2_000, 3_000) if LONG else (200, 200)
CLIENTS = 16
MOST_GROWTH = 100 * 2**20


@pytest.fixture(scope="module")
def server(taught: Path) -> Iterator[Running]:
    with serving(taught, "--image-timeout", 2, planted=True) as running:
        yield running


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs that no store has."""
    return draw_photos(tmp_path_factory.mktemp("asked"), ASKED, seed=11)


def ask_all(server: Running, images: Sequence[bytes]) -> list[Reply]:
    """Asks about images, by many clients at a time; each has one connection."""
    free: SimpleQueue[HTTPConnection] = SimpleQueue()

    def ask(image: bytes) -> Reply:
        connection = free.get()
        try:
            return send(connection, "POST", "/v1/predict", image)
        finally:
            free.put(connection)

    with ExitStack() as stack, ThreadPoolExecutor(CLIENTS) as threads:
        for _ in range(CLIENTS):
            free.put(stack.enter_context(closing(server.connect())))
        return list(threads.map(ask, images))


def test_answers_under_load_have_the_bits_of_predict(
    server: Running, taught: Path, pomona: Pomona, asked: Path
) -> None:
    done = pomona.done("predict", taught, asked, "--json", "--quiet")
    expected = {row.pop("path"): row for row in json.loads(done.stdout)["predictions"]}
    assert len(expected) == ASKED
    replies = ask_all(server, [(asked / path).read_bytes() for path in expected])
    for reply, row in zip(replies, expected.values(), strict=True):
        answer: dict[str, Any] = reply.content
        answer["top"] = [[each["label"], each["probability"]] for each in answer["top"]]
        assert {name: answer[name] for name in row} == row
    assert len({reply.content["id"] for reply in replies}) == ASKED


def test_damaged_images_crashes_and_hangs_cost_themselves_alone(
    server: Running, asked: Path
) -> None:
    process = psutil.Process(server.process.pid)
    photo = min(asked.rglob("*.jpg")).read_bytes()
    expected = server.predict(photo).content["label"]
    before = process.memory_info().rss
    images = [data or b"x" for _, data in (damaged(22, number) for number in range(DAMAGED))]
    planted = {DAMAGED // 4: b"crash", DAMAGED // 2: b"hang", DAMAGED * 3 // 4: b"crash"}
    for at, mark in planted.items():
        images.insert(at, with_comment(photo, mark))
    images[::10] = [photo] * len(images[::10])
    replies = ask_all(server, images)
    assert {reply.status for reply in replies} <= {200, 422}
    reasons = Counter(reply.problem["reason"] for reply in replies if reply.status == 422)
    assert len(reasons) > 3
    assert {reply.content["label"] for reply in replies[::10]} == {expected}
    assert process.memory_info().rss - before < MOST_GROWTH
    wait_for(lambda: len(server.workers()) == 2)
    assert server.predict(photo).content["label"] == expected


def test_a_server_that_is_killed_while_feedback_comes_keeps_what_it_acknowledged(
    taught: Path, asked: Path, tmp_path: Path
) -> None:
    store = shutil.copytree(taught, tmp_path / "store", ignore=shutil.ignore_patterns("feedback"))
    photo = min(asked.rglob("*.jpg")).read_bytes()
    kept: list[str] = []
    with serving(store) as server:
        given = [reply.content["id"] for reply in ask_all(server, [photo] * 60)]

        def judge(name: str) -> None:
            body = json.dumps({"id": name, "label": "Quince"}).encode()
            try:
                if server.ask("POST", "/v1/feedback", body).status == 200:
                    kept.append(name)
            except (OSError, HTTPException):
                pass  # not acknowledged

        with ThreadPoolExecutor(6) as threads:
            for name in given:
                threads.submit(judge, name)
            wait_for(lambda: len(kept) > 10)
            server.process.send_signal(signal.SIGKILL)
    assert len(kept) < len(given)
    rows = Journal(store).read().to_pylist()
    assert set(kept) <= {row["id"] for row in rows} <= set(given)
    assert {row["label"] for row in rows} == {"Quince"}
