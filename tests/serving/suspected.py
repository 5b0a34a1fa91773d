"""What the tests of the collection know of its store: its labels, its copy, its suspects."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from pomona.store.store import Store

HTML = "<img src=x onerror=\"document.title='run'\">&amp; 😀"
TWICE = "Training/Pear/twice.jpg"
GONE = "Training/Pear/gone.jpg"


def suspects_of(store: Path) -> pa.Table:
    """A pear that looks like HTML, one of HTML that looks like an apple, and one that is gone."""
    paths = [path for path in Store(store).metadata()["path"].to_pylist() if path != TWICE]
    pear = min(path for path in paths if "/Pear/" in path)
    html = min(path for path in paths if f"/{HTML}/" in path)
    columns = [
        [pear, html, GONE],
        ["Pear", HTML, "Pear"],
        [HTML, "Apple Red 1", HTML],
        [0.97, 0.8, 0.1],
    ]
    return pa.table(columns, ["path", "label", "suggested", "score"])
