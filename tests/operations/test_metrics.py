"""The figures of commands, their alerts and their dashboard, as Prometheus judges them."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from conftest import Pomona, wait_for
from machine import find_prometheus
from pomona.operations.metrics import METRICS, MetricsFile

needs_prometheus = pytest.mark.needs("prometheus")
DOCS = Path(__file__).parents[2] / "docs"
RULES, BOARD = DOCS / "monitoring" / "alerts.yaml", DOCS / "monitoring" / "dashboard.json"
NAME = re.compile(r"\bpomona_[a-z_]+\b")
LISTENING = re.compile(r"Listening on.* address=(?:\[?[\w.:]*\]?):(\d+)")
TIMEOUT_S = 30
CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: pomona
    metrics_path: /pomona.prom
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def promtool(*args: object, text: str | None = None) -> subprocess.CompletedProcess[str]:
    folder = find_prometheus()
    assert folder
    return subprocess.run(
        [str(folder / "promtool"), *map(str, args)],
        input=text,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def figures(text: str) -> dict[str, float]:
    """The values by name and labels, without those that all have."""
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    shared = re.compile(r'command="[^"]*",store="(?:[^"\\]|\\.)*",?')
    return {shared.sub("", name).replace("{}", ""): float(value) for name, value in pairs}


def write_everything(path: Path, command: str = "watch") -> MetricsFile:
    """Tells a file all that there is to tell."""
    file = MetricsFile(path, command, 'a "strange"\\\n store')
    file.begin("extract", 3)
    file.advance(3, 1)
    file.end()
    reasons = {"truncated": 1, "not_found": 2}
    file.tell(
        "result", ran=3, images_per_second=1.5, images=9, features=6, errors=3, reasons=reasons
    )
    file.tell("round", kind="events", images=3, seconds=2.5)
    file.tell("event", outcome="refused")
    file.tell("failure", reason="SourceError")
    return file


@needs_prometheus
def test_promtool_finds_nothing_in_a_file_of_all_figures(tmp_path: Path) -> None:
    write_everything(tmp_path / "a.prom").over(1, "failed")
    text = (tmp_path / "a.prom").read_text()
    checked = promtool("check", "metrics", text=text)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    assert set(NAME.findall(text)) == {metric.name for metric in METRICS}
    assert [path.name for path in tmp_path.iterdir()] == ["a.prom"]


def test_a_failure_keeps_when_a_run_last_succeeded(tmp_path: Path) -> None:
    path = tmp_path / "a.prom"
    write_everything(path, "run").over(0)
    before = figures(path.read_text())
    MetricsFile(path, "run", 'a "strange"\\\n store').over(1, "failed")
    after = figures(path.read_text())
    name = "pomona_run_success_timestamp_seconds"
    assert after[name] == before[name] > 0
    assert (before["pomona_run_exit_status"], after["pomona_run_exit_status"]) == (0, 1)
    MetricsFile(path, "run", "another store").over(1, "failed")
    assert name not in figures(path.read_text())


def test_figures_of_a_store(pomona: Pomona, store: Path, photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "pomona.prom"
    pomona.done("run", photos, store, "--workers", "1", "--metrics-file", path)
    found = figures(path.read_text())
    assert found["pomona_store_images"] == found["pomona_store_features"] == 40
    assert (found["pomona_run_images"], found["pomona_run_exit_status"]) == (0, 0)
    ended = pomona("run", tmp_path / "gone", store, "--metrics-file", path)
    assert ended.status == 1
    assert figures(path.read_text())["pomona_run_exit_status"] == 1


def test_a_file_that_cannot_be_written(pomona: Pomona, store: Path, photos: Path) -> None:
    ended = pomona("run", photos, store, "--metrics-file", store / "nowhere" / "a.prom")
    assert ended.status == 1
    assert "a.prom: No such file or directory; choose another file" in ended.complaint
    ended = pomona("predict", store, photos, "--metrics-file", "a.prom")
    assert ended.status == 2
    assert "--metrics-file is for predictions that are kept" in ended.complaint


def test_every_name_stands_in_the_docs_and_no_other_is_used() -> None:
    page = (DOCS / "how-to" / "operate.md").read_text()
    names = {metric.name for metric in METRICS}
    for metric in METRICS:
        assert f"| `{metric.name}` | {metric.kind} | {metric.help}" in page
    for text in (RULES.read_text(), BOARD.read_text(), page):
        assert set(NAME.findall(text)) <= names
    alerts = re.findall(r"alert: (\w+)", RULES.read_text())
    assert re.findall(r"^\| `(Pomona\w+)` ", page, re.M) == alerts


@needs_prometheus
def test_each_alert_fires_and_clears(tmp_path: Path) -> None:
    checked = promtool("check", "rules", RULES)
    assert checked.returncode == 0, checked
    cases = (Path(__file__).parent / "alerts_test.yaml").read_text()
    assert set(re.findall(r"alert: (\w+)", RULES.read_text())) == set(
        re.findall(r"^ {8}alertname: (\w+)", cases, re.M)
    )
    (tmp_path / "cases.yaml").write_text(cases.replace("ALERTS", str(RULES)))
    tested = promtool("test", "rules", tmp_path / "cases.yaml")
    assert tested.returncode == 0, tested


@contextmanager
def prometheus(folder: Path) -> Iterator[str]:
    """A Prometheus with the alerts, that reads pomona.prom of a folder; yields its address."""
    page = partial(SimpleHTTPRequestHandler, directory=str(folder))
    tools, log = find_prometheus(), folder / "log"
    assert tools
    with ThreadingHTTPServer(("127.0.0.1", 0), page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = folder / "prometheus.yml"
        config.write_text(CONFIG.format(rules=RULES, port=server.server_address[1]))
        command = [str(tools / "prometheus"), f"--config.file={config}",
                   f"--storage.tsdb.path={folder / 'data'}",
                   "--web.listen-address=127.0.0.1:0"]  # fmt: skip
        with log.open("w") as stderr, subprocess.Popen(command, stderr=stderr) as process:
            try:
                wait_for(lambda: LISTENING.search(log.read_text()) is not None)
                found = LISTENING.search(log.read_text())
                assert found
                yield f"http://127.0.0.1:{found[1]}"
            finally:
                process.kill()
                server.shutdown()


def firing(address: str) -> set[str]:
    """The alerts that fire now."""
    try:
        with urllib.request.urlopen(f"{address}/api/v1/alerts", timeout=TIMEOUT_S) as reply:  # noqa: S310
            alerts: list[dict[str, Any]] = json.load(reply)["data"]["alerts"]
    except OSError:  # not ready
        return set()
    return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}


@needs_prometheus
def test_a_prometheus_hears_of_a_failure_and_of_its_end(tmp_path: Path) -> None:
    path = tmp_path / "pomona.prom"
    with prometheus(tmp_path) as address:
        write_everything(path, "run").over(1, "failed")
        wait_for(lambda: firing(address) == {"PomonaRunFailed", "PomonaManyErrors"})
        again = MetricsFile(path, "run", 'a "strange"\\\n store')
        again.tell("result", ran=3, images_per_second=1.5, images=9, features=9, reasons={})
        again.over(0)
        wait_for(lambda: firing(address) == set())
