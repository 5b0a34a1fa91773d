"""Plans a made-up catalog of so many IMAGES in a FOLDER: all that a run does before its first task.

The images are new to the store; the catalog is there before the clock starts, and counts in memory.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.ways import serve
from pomona.backbones import cache, registry
from pomona.extraction.recipe import make_recipe
from pomona.images.sources.local import LocalSource
from pomona.memory import peak_memory_mb
from pomona.pipeline.context import RunSettings, open_run
from pomona.pipeline.extract import extract_features
from pomona.pipeline.prepare import Job
from pomona.pipeline.settings import ExtractSettings
from pomona.store import schemas
from pomona.store.store import Store

PER_LABEL = 5_000
CHUNK = 1_000_000


@dataclass
class Nowhere:
    """An engine that takes all shards, so that they are planned, and does nothing."""

    name: str = "nowhere"
    workers: int = 1
    threads: int = 1
    remote: bool = False
    runs_here: bool = True
    max_payload_bytes: int | None = None
    peak_memory_mb: float = 0.0
    notice: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    images: int = 0

    def start(self, modules: Sequence[str]) -> None:
        pass

    def map(self, task: Any, items: Iterable[Any], payload: object) -> Iterator[Any]:
        self.images += sum(len(shard.images) for shards in items for shard in shards)
        yield from ()

    def __enter__(self) -> Nowhere:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass


def make_catalog(images: int) -> pa.Table:
    """Table of `schemas.CATALOG` as `scan` gives it, in chunks."""
    chunks = [_rows(at, min(images, at + CHUNK)) for at in range(0, images, CHUNK)]
    return pa.concat_tables(chunks)


def _rows(start: int, end: int) -> pa.Table:
    numbers = np.arange(start, end)

    def padded(values: Any, width: int) -> Any:
        return pc.utf8_lpad(pa.array(values).cast(pa.string()), width, "0")

    labels = pc.binary_join_element_wise("label", padded(numbers // PER_LABEL, 6), " ")
    names = padded(numbers, 9)
    paths = pc.binary_join_element_wise("Training/", labels, "/photo-", names, ".jpg", "")
    split = pa.repeat(pa.scalar("Training"), len(numbers))
    prints = pc.binary_join_element_wise(padded(numbers, 16), padded(numbers % 50_000, 4), "-")
    columns = [paths, labels, split, pa.array(numbers % 50_000), prints]
    return pa.table(columns, schema=schemas.CATALOG)


def prepare() -> Callable[..., dict[str, Any]]:
    images, folder = int(sys.argv[1]), Path(sys.argv[2])
    catalog = make_catalog(images)
    backbone = registry.get(registry.DEFAULT)
    network = cache.load(backbone)
    recipe = make_recipe(backbone, network, "stretch")

    def measure() -> dict[str, Any]:
        engine = Nowhere()
        extracting = ExtractSettings(source=folder)
        store = Store(folder / "out")
        source = LocalSource(str(folder))
        job = Job(store, source, catalog, extracting, network, recipe, 0.0)
        start = time.perf_counter()
        with open_run(store, RunSettings(engine)) as context:
            plan, _ = extract_features(context, job)
        seconds = time.perf_counter() - start
        if not engine.images == plan.num_rows == images:
            raise RuntimeError(f"{engine.images:,} of {images:,} images reached the engine")
        return {"seconds": seconds, "memory_mb": peak_memory_mb()}

    return measure


if __name__ == "__main__":
    serve(prepare)
