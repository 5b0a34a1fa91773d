"""Servers under load, and the generator of it: processes whose time and memory are known."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.measuring import ROOT, WORKERS, environment

SCRIPT = Path(__file__).with_name("post.lua")
PATIENCE_S = 120


@dataclass(frozen=True)
class Told:
    """What wrk says: requests answered, of which some were refused; lost: errors of connections."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    refused: int
    lost: int
    cpu_s: float

    @property
    def speed(self) -> float:
        """Images labelled in a second."""
        return (self.requests - self.refused) / self.seconds

    @property
    def cpu_share(self) -> float:
        """Of the cores that the workers have, what the generator took."""
        return self.cpu_s / self.seconds / WORKERS


@dataclass(frozen=True)
class Server:
    """A server that runs, and where it takes photographs."""

    process: subprocess.Popen[str]
    address: str
    target: str
    photographs: Path
    form: bool = False

    def load(self, seconds: float, connections: int, pause_ms: float = 0) -> Told:
        """Has wrk ask it for so long."""
        env = {"PHOTOS": str(self.photographs), "TARGET": self.target}
        env |= {"FORM": "1"} if self.form else {}
        env |= {"PAUSE_MS": str(pause_ms)} if pause_ms else {}
        words = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{max(1, round(seconds))}s",
            "--timeout",
            "60s",
        ]
        before = os.times()
        done = subprocess.run(
            [*words, "--script", SCRIPT, self.address],
            env=os.environ | env,
            capture_output=True,
            text=True,
            check=True,
        )
        after = os.times()
        cpu_s = after.children_user + after.children_system
        cpu_s -= before.children_user + before.children_system
        return Told(**json.loads(done.stdout.rpartition("JSON ")[2]), cpu_s=cpu_s)

    def memory_mb(self) -> float:
        """The memory of all its processes."""
        process = psutil.Process(self.process.pid)
        family = [process, *process.children(recursive=True)]
        return float(sum(each.memory_info().rss for each in family)) / 1e6


@contextmanager
def pomona_server(store: Path, photographs: Path) -> Iterator[Server]:
    """`pomona serve` on a free port."""
    words = ["-m", "pomona", "serve", store, "--port", 0, "--workers", WORKERS, "--json"]
    with _running(words, store.parent / "pomona.log", {}) as process:
        assert process.stdout
        line = process.stdout.readline()
        if not line:
            raise RuntimeError((store.parent / "pomona.log").read_text()[-3000:])
        yield Server(process, json.loads(line)["address"], "/v1/predict", photographs)


@contextmanager
def first_server(model: Path, photographs: Path) -> Iterator[Server]:
    """What one writes first, with as many workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["-m", "uvicorn", "benchmarks.load.first:app", "--port", port]
    words += ["--workers", WORKERS, "--no-access-log"]
    with _running(words, model.parent / "first.log", {"MODEL": str(model)}) as process:
        server = Server(process, f"http://127.0.0.1:{port}", "/predict", photographs, form=True)
        _wait_for(f"{server.address}/openapi.json")
        yield server


@contextmanager
def _running(
    words: list[object], log: Path, besides: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """A process of this Python, that is ended afterwards with its children."""
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=ROOT,
            env=environment(besides),
        )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


def _wait_for(address: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(address):  # noqa: S310 - of loopback
                return
        except urllib.error.URLError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
