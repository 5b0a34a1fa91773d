"""Report: what a store holds, on one self-contained page."""

from __future__ import annotations

from typing import Any

from pomona.storage import encode_text
from pomona.store import REPORT, Store


def write(store: Store, manifest: dict[str, Any]) -> None:
    """Writes report.html of a store from its tables and this manifest."""
    from pomona.report.page import render

    store.files.write(REPORT, encode_text(render(store, manifest)))
