"""To add an engine: a class with the methods of `Engine`, and an entry in `ENGINES`.

This one does the tasks in the process itself.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import pomona
from conftest import Here, tables
from pomona.engines.registry import ENGINES, EngineEntry, EngineSettings


def test_an_engine_from_outside_makes_the_same_store(
    photos: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_here(settings: EngineSettings) -> Here:
        return Here(workers=settings.workers or 1)

    monkeypatch.setitem(ENGINES, "here", EngineEntry(open_here))
    store = pomona.run(photos, tmp_path / "out", engine="here", progress=False)
    assert store.manifest["runs"][0]["engine"] == "here"
    assert tables(tmp_path / "out") == tables(finished)
