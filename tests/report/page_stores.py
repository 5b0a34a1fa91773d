"""Stores for the tests of the report, and its page as a person sees it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from pomona import report
from pomona.pca.moments import measure, solve
from pomona.pca.projection import Projection
from pomona.pipeline.here import map_here
from pomona.store import schemas
from pomona.store.layout import PROJECTION
from pomona.store.recipe import Recipe
from pomona.store.store import Store

VOID = {"meta", "wbr", "br", "img", "link", "input"}
RECIPE = Recipe("efficientnet_lite0", "a" * 64, "b" * 64, 224, 1280)

Row = dict[str, Any]


class Page(HTMLParser):
    """A page as a person sees it: its text, its tables as rows of texts; and all its tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.feed(html)
        self.close()
        assert not self.open, "tags left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"style", "script"} & set(self.open):
            return
        self.texts.append(data)
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.texts))

    def table(self, heading: str) -> list[list[str]]:
        """The rows of all tables whose first heading is this one."""
        return [row for table in self.tables if table[0][0] == heading for row in table[1:]]


def needed(package: str) -> Any:
    """A package for some of the tests: without it they are skipped, but not where CI is set."""
    return import_module(package) if os.environ.get("CI") else pytest.importorskip(package)


def image(path: str, label: str | None = None, split: str | None = None, **more: Any) -> Row:
    known = {"width": 100, "height": 100, "format": "JPEG"}
    return {"path": path, "label": label, "split": split, **known, **more}


def error(
    path: str, reason: str = "empty", detail: str | None = None, stage: str = "decode"
) -> Row:
    retryable = schemas.REASONS[reason].retryable
    return {
        "path": path,
        "stage": stage,
        "reason": reason,
        "detail": detail,
        "retryable": retryable,
    }


def run(images: int = 3, command: str = "pomona run photos out") -> Row:
    return {
        "id": "20261121T014400Z-d61048",
        "pomona_version": "0.1.0",
        "command": command,
        "engine": "local",
        "workers": 2,
        "started": "2026-11-21T01:44:00+00:00",
        "images": images,
        "images_per_second": 51.4 if images else 0.0,
        "seconds": {"total": 75.0, "scan": 0.5, "extract": 70.0, "pca": 2.0, "project": 1.0},
        "worker_seconds": {"decode": 9.0, "fetch": 1.0, "network": 125.0, "write": 3.0},
        "peak_memory_mb": {"driver": 264.9, "worker": 1289.7},
    }


def write_store(
    folder: Path,
    images: Sequence[Row] = (),
    errors: Sequence[Row] = (),
    *,
    projection: Projection | None = None,
    projected: npt.NDArray[np.float32] | None = None,
    runs: Sequence[Row] = (),
    recipe: Recipe = RECIPE,
    source: str = "/data/photos",
) -> tuple[Store, dict[str, Any]]:
    """Writes a store of these rows, in parts of 3,000, and gives it with its manifest.

    projected: float32[n, k], the rows of pca/, of the images that are no errors.
    """
    store = Store(folder)
    store.begin(source, recipe)
    failed = {row["path"] for row in errors}
    good = [row for row in images if row["path"] not in failed]
    for table, rows, schema in (
        ("metadata", images, schemas.METADATA),
        ("errors", errors, schemas.ERRORS),
        ("features", [{**row, "features": [0.0]} for row in good], schemas.features(1)),
    ):
        for part, start in enumerate(range(0, len(rows), 3000)):
            some = pa.Table.from_pylist(list(rows[start : start + 3000]), schema)
            store.write_table(f"{table}/part-{part:05d}.parquet", some)
    if projection:
        store.files.write(PROJECTION, projection.to_bytes())
    if projection and projected is not None:
        identity = pa.Table.from_pylist(good, pa.schema(schemas.IDENTITY))
        numbers = pa.FixedSizeListArray.from_arrays(projected.ravel(), projection.k)
        table = identity.append_column("pca", numbers).cast(schemas.pca(projection.k))
        store.write_table("pca/part-00000.parquet", table, {"projection": projection.id})
    totals = {
        "images": len(images),
        "features": len(good),
        "errors": len(errors),
        "labels": len({row["label"] for row in images} - {None}),
    }
    pca = projection and projection.summary()
    manifest = {**store.manifest, "totals": totals, "pca": pca, "runs": list(runs)}
    store.write_json("pomona.json", manifest)
    return store, manifest


def write_report(store: Store, manifest: dict[str, Any]) -> None:
    """Writes the report as a command does whose engine is not on this machine."""
    with map_here() as run_here:
        report.write(store, manifest, map_here=run_here)


def fit(
    requested: tuple[str, float] = ("variance", 0.9), n: int = 60, width: int = 20
) -> Projection:
    features = np.random.default_rng(0).normal(size=(n, width)) * np.geomspace(1, 0.05, width)
    return solve(measure(features.astype(np.float32)), requested)
