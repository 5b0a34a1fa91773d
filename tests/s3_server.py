"""A real S3 server on loopback for the tests, and a proxy before it that fails as it is told."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from conftest import wait_for
from machine import TOOLS, find_s3_server, need
from pomona.s3 import connection as connections
from pomona.s3.connection import Connection, Target

ACCESS_KEY, SECRET_KEY = "AKIAPLANTEDACCESSKEY", "plantedSecretKey/of+nobody"
REGION = "us-east-1"


@dataclass(frozen=True)
class Server:
    """An S3 server; folder: where it keeps its buckets, None where it keeps them in memory."""

    endpoint: str
    folder: Path | None

    def client(self) -> Any:
        return botocore.session.get_session().create_client(
            "s3",
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )

    def env(self, endpoint: str | None = None) -> dict[str, str]:
        """What AWS's own tools are told by."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }


@dataclass(frozen=True)
class Place:
    """A new bucket of a server: its addresses, and what lies in it."""

    server: Server
    name: str = field(default_factory=lambda: f"pomona-{uuid.uuid4().hex[:12]}")

    def at(self, prefix: str = "") -> str:
        return f"s3://{self.name}/{prefix}"

    def upload(self, folder: Path, prefix: str) -> str:
        """All files under a folder; returns the address of the prefix."""
        client = self.server.client()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                key = f"{prefix}/{path.relative_to(folder).as_posix()}"
                client.put_object(Bucket=self.name, Key=key, Body=path.read_bytes())
        return self.at(prefix)

    def contents(self, prefix: str = "") -> dict[str, bytes]:
        """Every key under a prefix, without it, with its bytes."""
        client, start = self.server.client(), len(prefix) + 1 if prefix else 0
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=f"{prefix}/" if prefix else ""
        )
        found = [each["Key"] for page in pages for each in page.get("Contents", [])]
        return {
            key[start:]: client.get_object(Bucket=self.name, Key=key)["Body"].read()
            for key in found
        }

    def download(self, prefix: str, folder: Path) -> Path:
        """What `contents` says, as files."""
        for name, data in self.contents(prefix).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return folder

    def unfinished(self) -> int:
        """Uploads that have not become whole."""
        found = self.server.client().list_multipart_uploads(Bucket=self.name)
        return len(found.get("Uploads", []))


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """A server, which may keep its buckets in a folder."""
    port = free_port()
    keeps_files = find_s3_server() == "versitygw"
    if keeps_files:
        own = [str(TOOLS / "versitygw"), "--access", ACCESS_KEY, "--secret", SECRET_KEY]
        address = ["--port", f"127.0.0.1:{port}", "--region", REGION, "--keep-alive", "--quiet"]
        command = [*own, *address, "posix", str(folder)]
    else:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: answers(port))
            yield Server(f"http://127.0.0.1:{port}", folder if keeps_files else None)
        finally:
            process.kill()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server, for all tests of this process."""
    need("s3 server")
    with serve(tmp_path_factory.mktemp("buckets")) as server:
        yield server


@pytest.fixture(scope="module")
def bucket(s3_server: Server) -> Iterator[Place]:
    """A bucket of one's own, which this process and those it starts have the credentials for."""
    place = Place(s3_server)
    s3_server.client().create_bucket(Bucket=place.name)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.env().items():
            patch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
            patch.delenv(name, raising=False)
        with fresh_connections():
            yield place


@dataclass(frozen=True)
class Proxy:
    """What stands before a server: its own address, and that of its control."""

    endpoint: str
    control: str

    def set(self, **settings: Any) -> None:
        """As `Settings` in proxy/main.go; what is held up is let go."""
        data = json.dumps(settings).encode()
        with urllib.request.urlopen(self.control, data, timeout=30):  # noqa: S310
            pass

    @property
    def counts(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.control, timeout=30) as reply:  # noqa: S310
            return json.load(reply)  # type: ignore[no-any-return]


@contextmanager
def proxy(server: Server) -> Iterator[Proxy]:
    """A proxy before a server."""
    need("s3 proxy")
    command = [str(TOOLS / "s3proxy"), server.endpoint]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield Proxy(*(process.stdout.readline().strip() for _ in range(2)))
        finally:
            process.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextmanager
def fresh_connections() -> Iterator[None]:
    """Lets this process find its buckets anew, as a new process does, and closes what it opened."""
    kept: list[Connection] = []
    make = Connection.__init__

    def made(self: Connection, bucket: Target) -> None:
        make(self, bucket)
        kept.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "__init__", made)
        _forget()
        yield
    _forget()
    for connection in kept:
        connection.close()


def _forget() -> None:
    connections.locate.cache_clear()
    connections._connect.cache_clear()
