"""What the tests of serving share: stores, servers as processes, and requests by hand."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TextIO

import psutil

from conftest import TIMEOUT_S, Pomona

PLANTED = Path(__file__).parents[1] / "planted"


@dataclass(frozen=True)
class Reply:
    """An answer: its status, its headers in lower case, and its body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def problem(self) -> Any:
        """The members of a problem as RFC 9457 has it."""
        assert self.headers["content-type"] == "application/problem+json"
        assert self.content["status"] == self.status
        assert "\n" not in self.content["detail"]
        return self.content


@dataclass
class Running:
    """A server that runs, and what it said first."""

    process: subprocess.Popen[str]
    started: dict[str, Any]
    port: int
    log: TextIO

    def connect(self, timeout_s: float = TIMEOUT_S) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)

    def open_socket(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """Sends a request over a connection of its own; `content_type` is Content-Type."""
        connection = self.connect()
        try:
            return send(connection, method, path, body, **headers)
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, None, **headers)

    def predict(self, image: bytes | Path, path: str = "/v1/predict", **headers: str) -> Reply:
        data = image.read_bytes() if isinstance(image, Path) else image
        return self.ask("POST", path, data, **headers)

    def post_files(self, path: str, files: Sequence[tuple[str, bytes]], **fields: str) -> Reply:
        body, media_type = multipart(files, **fields)
        return self.ask("POST", path, body, content_type=media_type)

    def workers(self) -> set[int]:
        """The processes of its workers."""
        return {child.pid for child in psutil.Process(self.process.pid).children()}

    def stop(self) -> tuple[int, str]:
        """Ends it by SIGTERM; returns its exit status and what it logged."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=TIMEOUT_S)
        self.log.seek(0)
        log = self.log.read()
        assert "Traceback" not in log, log
        return status, log


def send(
    connection: HTTPConnection, method: str, path: str, body: bytes | None = None, **headers: str
) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, named)
    answer = connection.getresponse()
    got = {name.lower(): value for name, value in answer.getheaders()}
    return Reply(answer.status, got, answer.read())


def multipart(files: Sequence[tuple[str, bytes]], **fields: str) -> tuple[bytes, str]:
    """The body of a multipart request, and its media type."""
    boundary = "-a-boundary-of-the-tests-"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    for name, data in files:
        disposition = f'form-data; name="images"; filename="{name}"'
        head = f"--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\n"
        parts.append(head.encode() + data + b"\r\n")
    body = b"".join([*parts, f"--{boundary}--\r\n".encode()])
    return body, f"multipart/form-data; boundary={boundary}"


@contextmanager
def serving(store: Path, *flags: object, planted: bool = False) -> Iterator[Running]:
    """Runs `pomona serve` on a free port; afterwards it is ended, whatever happened."""
    env = {"PYTHONPATH": str(PLANTED)} if planted else {}
    command = ("serve", store, "--port", 0, "--json", "--workers", 2, *flags)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        process = Pomona(env=env).start(*command, stderr=log.fileno())
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            log.seek(0)
            assert line, log.read()
            started = json.loads(line)
            yield Running(process, started, int(started["address"].rpartition(":")[2]), log)
        finally:
            process.kill()
            process.communicate(timeout=TIMEOUT_S)


def with_comment(jpeg: bytes, mark: bytes) -> bytes:
    """A JPEG with a comment: "crash" and "hang" are what the planted codec does then."""
    return jpeg[:2] + b"\xff\xfe\0" + bytes([2 + len(mark)]) + mark + jpeg[2:]
