"""The metrics as Prometheus itself judges and reads them."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from servers import Running, serving

from conftest import wait_for
from machine import find_prometheus

pytest_plugins = ("served_stores",)
pytestmark = pytest.mark.needs("prometheus")

TIMEOUT_S = 30
LISTENING = re.compile(r"Listening on.* address=(?:\[?[\w.:]*\]?):(\d+)")
CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: pomona
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


@pytest.fixture(scope="module")
def server(taught: Path) -> Iterator[Running]:
    with serving(taught) as running:
        yield running


def tool(name: str) -> str:
    folder = find_prometheus()
    assert folder
    return str(folder / name)


@contextmanager
def scraping(folder: Path, port: int) -> Iterator[str]:
    """A Prometheus on this machine alone that reads the metrics of a port; yields its address."""
    config, log = folder / "prometheus.yml", folder / "log"
    config.write_text(CONFIG.format(port=port))
    command = [
        tool("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    with log.open("w") as stderr, subprocess.Popen(command, stderr=stderr) as process:
        try:
            wait_for(lambda: LISTENING.search(log.read_text()) is not None)
            found = LISTENING.search(log.read_text())
            assert found
            address = f"http://127.0.0.1:{found[1]}"
            wait_for(lambda: is_ready(address))
            yield address
        finally:
            process.kill()


def is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/-/ready", timeout=TIMEOUT_S):  # noqa: S310
            return True
    except urllib.error.HTTPError:
        return False


def query(address: str, expression: str) -> list[dict[str, Any]]:
    asked = f"{address}/api/v1/query?{urlencode({'query': expression})}"
    with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as reply:  # noqa: S310
        found: list[dict[str, Any]] = json.load(reply)["data"]["result"]
    return found


def test_promtool_finds_nothing_in_the_metrics(server: Running, photos: Path) -> None:
    server.predict(min(photos.rglob("*.jpg")))
    server.predict(b"no image")
    metrics = server.get("/metrics").body
    command = [tool("promtool"), "check", "metrics"]
    checked = subprocess.run(command, input=metrics, capture_output=True, timeout=TIMEOUT_S)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_prometheus_scrapes_what_was_asked(server: Running, photos: Path, tmp_path: Path) -> None:
    images = sorted(photos.rglob("*.jpg"))[:5]
    with scraping(tmp_path, server.port) as address:

        def value(expression: str) -> float:
            return sum(float(each["value"][1]) for each in query(address, expression))

        wait_for(lambda: value('up{job="pomona"}') == 1)
        before = value("pomona_images_total")
        for image in images:
            assert server.predict(image).status == 200
        wait_for(lambda: value("pomona_images_total") == before + len(images))
        assert value('pomona_http_requests_total{route="/v1/predict",status="200"}') >= len(images)
        assert value("pomona_workers_ready") == 2
        buckets = 'pomona_http_request_duration_seconds_bucket{route="/v1/predict"}'
        assert 0 < value(f"histogram_quantile(0.5, {buckets})") < TIMEOUT_S
