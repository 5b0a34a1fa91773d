"""Bounds: whatever is sent costs its sender alone."""

from __future__ import annotations

import io
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
from servers import Reply, Running, multipart, send, serving

from conftest import wait_for

pytest_plugins = ("served_stores",)

MOST_BYTES, MOST_IMAGES, MOST_PIXELS = 100_000, 4, 1_000_000
MOST_WAITING, MOST_CONNECTIONS, TIMEOUT_S = 6, 20, 2
# A server that took what it is sent would take much more.
MOST_GROWTH = 100 * 2**20


@pytest.fixture(scope="module")
def server(taught: Path) -> Iterator[Running]:
    """A server of narrow bounds."""
    flags = ["--max-bytes", MOST_BYTES, "--max-images", MOST_IMAGES, "--max-pixels", MOST_PIXELS]
    flags += ["--max-waiting", MOST_WAITING, "--max-connections", MOST_CONNECTIONS]
    flags += ["--request-timeout", TIMEOUT_S, "--image-timeout", 1]
    with serving(taught, *flags) as running:
        yield running


@pytest.fixture
def photo(photos: Path) -> bytes:
    return min(photos.rglob("*.jpg")).read_bytes()


@pytest.fixture(autouse=True)
def survives(server: Running, photo: bytes) -> Iterator[None]:
    """After each test it answers as before, has grown by little, and no worker has died."""
    process = psutil.Process(server.process.pid)
    before, workers = process.memory_info().rss, server.workers()
    yield
    assert server.predict(photo).status == 200
    assert process.memory_info().rss - before < MOST_GROWTH
    assert server.workers() == workers


def answer_of(connection: socket.socket) -> bytes:
    """All that the server says on a connection, until it is closed."""
    said = b""
    with suppress(ConnectionResetError):
        while data := connection.recv(2**16):
            said += data
    return said


def test_a_body_of_ten_gigabytes_is_refused_by_its_length(server: Running) -> None:
    with server.open_socket() as connection:
        connection.sendall(
            b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000000\r\n\r\n"
        )
        said = answer_of(connection)
    assert said.startswith(b"HTTP/1.1 413 ")
    assert b"100,000 bytes" in said
    assert b"connection: close" in said


def test_an_endless_body_is_refused_once_it_is_too_long(server: Running) -> None:
    with server.open_socket() as connection:
        connection.sendall(
            b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        with suppress(ConnectionError):
            for _ in range(100_000):
                connection.sendall(chunk)
            pytest.fail("it took 6 GB")
    wait_for(lambda: b'status="413"' in server.get("/metrics").body)


def test_an_upgrade_with_a_body_is_refused_and_its_body_is_no_request(server: Running) -> None:
    body = b"DELETE /v1/model HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = (
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
    )
    with server.open_socket() as connection:
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body))
        with suppress(ConnectionError):
            connection.sendall(body)
        said = answer_of(connection)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1 ") == 1


def png_of(width: int, height: int, data: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def test_a_decompression_bomb_is_refused_by_its_header(server: Running) -> None:
    bomb = png_of(60_000, 60_000, zlib.compress(bytes(2**24), 9))
    assert len(bomb) < MOST_BYTES
    reply = server.predict(bomb)
    assert (reply.status, reply.problem["reason"]) == (422, "too_large")


def test_a_bomb_within_a_small_header_is_decoded_within_it(server: Running) -> None:
    reply = server.predict(png_of(8, 8, zlib.compress(bytes(2**25), 9)))
    assert reply.status in (200, 422)


@pytest.mark.parametrize(
    "body",
    [
        lambda: multipart([("x", b"")] * 1_000),
        lambda: multipart([], **{f"field{number}": "1" for number in range(1_000)}),
        lambda: multipart([], field="1" * 50_000),
        lambda: multipart([("x" * 50_000, b"1")]),
        lambda: (b"x" * 1_000, "multipart/form-data; boundary=other"),
        lambda: (b"--b\r\n" * 10_000, "multipart/form-data; boundary=b"),
        lambda: (b"", "multipart/form-data"),
        lambda: multipart([], field="1"),
    ],
)
def test_forms_that_go_too_far_are_refused(
    server: Running, body: Callable[[], tuple[bytes, str]]
) -> None:
    data, media_type = body()
    reply = server.ask("POST", "/v1/predict", data, content_type=media_type)
    assert reply.problem["status"] in (400, 413)


def test_a_hundred_thousand_parts_are_refused_at_the_first_too_many(server: Running) -> None:
    data, media_type = multipart([("x", b"")] * 100_000)
    head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\n"
    with server.open_socket() as connection:
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        with suppress(ConnectionError):
            for start in range(0, len(data), 2**12):
                piece = data[start : start + 2**12]
                connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            connection.sendall(b"0\r\n\r\n")
        assert answer_of(connection)[:12] in (b"", b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx",
    ],
)
def test_a_client_that_sends_slowly_is_dropped(server: Running, start: bytes) -> None:
    with server.open_socket() as connection:
        connection.sendall(start)
        connection.settimeout(0.2)
        said = b""
        with suppress(ConnectionError):
            for _ in range(100):  # for ten times as long as it may
                connection.sendall(b"x" if start else b"")
                with suppress(TimeoutError):
                    data = connection.recv(2**16)
                    if not data:
                        break
                    said += data
            else:
                pytest.fail("it was not dropped")
    assert said == b"" or said.startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 400 "))


def test_idle_connections_are_dropped_and_too_many_are_refused(
    server: Running, photo: bytes
) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(server.open_socket()) for _ in range(2 * MOST_CONNECTIONS)]
        refused = [answer_of(connection) for connection in idle]
        assert sum(said.startswith(b"HTTP/1.1 503 ") for said in refused) >= MOST_CONNECTIONS
        assert sum(said == b"" for said in refused) >= MOST_CONNECTIONS // 2
    wait_for(lambda: server.predict(photo).status == 200)


def test_what_cannot_wait_is_told_to_come_again(server: Running, photo: bytes) -> None:
    def ask(number: int) -> Reply:
        connection = server.connect()
        try:
            return send(connection, "POST", "/v1/predict", photo)
        finally:
            connection.close()

    with ThreadPoolExecutor(16) as threads:
        replies = list(threads.map(ask, range(200)))
    statuses = [reply.status for reply in replies]
    assert set(statuses) == {200, 503}
    labels = {reply.content["label"] for reply in replies if reply.status == 200}
    assert len(labels) == 1
    for reply in replies:
        if reply.status == 503:
            assert int(reply.headers["retry-after"]) >= 1
            assert reply.problem["status"] == 503


def test_requests_that_are_no_http_are_refused(server: Running) -> None:
    for data in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"\0" * 100):
        with server.open_socket() as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            assert answer_of(connection)[:12] in (b"", b"HTTP/1.1 400")


def test_heads_without_end_are_refused(server: Running) -> None:
    with server.open_socket() as connection, suppress(ConnectionError):
        connection.sendall(b"GET / HTTP/1.1\r\n")
        for _ in range(10_000):
            connection.sendall(b"X-Long: " + b"x" * 1_000 + b"\r\n")
        assert answer_of(connection)[:12] in (b"", b"HTTP/1.1 400")


def test_an_animation_and_a_large_image_count_their_pixels(server: Running) -> None:
    from PIL import Image

    for side, status in ((1_000, 200), (1_001, 422)):
        buffer = io.BytesIO()
        Image.new("RGB", (side, 1_000)).save(buffer, "PNG")
        assert server.predict(buffer.getvalue()).status == status
