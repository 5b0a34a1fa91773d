"""The commands that show what a store holds."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import Pomona, contents


def test_report_writes_the_page_again(pomona: Pomona, store: Path) -> None:
    before = contents(store)
    page = store / "report.html"
    page.unlink()
    assert json.loads(pomona.done("report", store, "--json").stdout) == {"report": str(page)}
    assert {**contents(store), "report.html": b""} == {**before, "report.html": b""}
    assert page.read_bytes().startswith(b"<!doctype html>")
