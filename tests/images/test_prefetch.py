"""Prefetching: images are fetched ahead, in order and within bounds, each as it would be alone."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import pytest

from conftest import wait_for
from pomona.errors import ImageError
from pomona.images import prefetch
from pomona.images.prefetch import ImageRequest, Prefetcher


class Server:
    """Answers with an image's path; records what it was asked for, and can hold its answers."""

    def __init__(self, *, hold: bool = False) -> None:
        self.asked: list[str] = []
        self.answers = threading.Event()
        if not hold:
            self.answers.set()

    def fetch(self, path: str, fingerprint: str | None) -> bytes:
        self.asked.append(path)
        assert self.answers.wait(60)
        if path == "missing":
            raise ImageError("fetch", "not_found")
        return f"{path} {fingerprint}".encode()


def requests(*paths: str, size_bytes: int = 10) -> list[ImageRequest]:
    return [ImageRequest(path, "f", size_bytes) for path in paths]


def prefetcher(
    fetch: Callable[[str, str | None], bytes], wanted: list[ImageRequest], at_once: int = 2
) -> contextlib.closing[Prefetcher]:
    return contextlib.closing(Prefetcher(fetch, wanted, at_once))


def test_images_are_fetched_before_they_are_taken() -> None:
    server = Server()
    names = [f"{number}" for number in range(20)]
    with prefetcher(server.fetch, requests(*names)) as ahead:
        wait_for(lambda: len(server.asked) == 20)
        assert [ahead.take(name, "f") for name in names] == [f"{n} f".encode() for n in names]
    assert sorted(server.asked) == sorted(names)


def test_an_image_that_was_not_announced_is_fetched_when_taken() -> None:
    server = Server()
    with prefetcher(server.fetch, requests("a")) as ahead:
        assert ahead.is_ready("b")
        assert ahead.take("b", None) == b"b None"
        assert ahead.take("a", "f") == b"a f"
        assert ahead.take("a", "f") == b"a f"
    assert sorted(server.asked) == ["a", "a", "b"]


def test_an_error_is_raised_when_its_image_is_taken() -> None:
    with prefetcher(Server().fetch, requests("a", "missing", "b")) as ahead:
        assert ahead.take("a", "f") == b"a f"
        with pytest.raises(ImageError, match="not_found"):
            ahead.take("missing", "f")
        assert ahead.take("b", "f") == b"b f"


def test_no_more_bytes_and_images_are_ahead_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "MAX_BYTES", 35)
    monkeypatch.setattr(prefetch, "MAX_IMAGES", 4)
    for size_bytes, most in ((10, 3), (1, 4), (100, 1)):
        server = Server()
        names = [f"{number}" for number in range(9)]
        with prefetcher(server.fetch, requests(*names, size_bytes=size_bytes)) as ahead:
            for taken, name in enumerate(names):
                assert ahead.take(name, "f") == f"{name} f".encode()
                assert len(server.asked) <= taken + 1 + most
        assert sorted(server.asked) == names


def test_a_wait_ends_after_its_timeout() -> None:
    server = Server(hold=True)
    with prefetcher(server.fetch, requests("a", "b"), at_once=1) as ahead:
        assert not ahead.is_ready("a")
        with pytest.raises(TimeoutError):
            ahead.take("a", "f", 0.01)
        server.answers.set()
        assert ahead.take("b", "f", 60) == b"b f"


def test_closing_cancels_what_has_not_begun() -> None:
    server = Server(hold=True)
    with prefetcher(server.fetch, requests(*"abcdefgh"), at_once=1):
        wait_for(lambda: server.asked == ["a"])
    server.answers.set()
    with prefetcher(server.fetch, requests("z"), at_once=1) as ahead:
        assert ahead.take("z", "f") == b"z f"
    assert server.asked == ["a", "z"]
