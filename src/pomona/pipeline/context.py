"""Run: one command at work on a store, with its lock, its engine, its clock and its manifest."""

from __future__ import annotations

import os
import platform
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, TypeVar

import pyarrow as pa

from pomona import __version__, report
from pomona.engines.base import Engine, Failure, Task
from pomona.engines.workers import peak_memory_mb, release_memory
from pomona.errors import EngineError, PomonaError, StoreError
from pomona.progress import Progress
from pomona.s3.address import Access
from pomona.stopwatch import Stopwatch
from pomona.store.plan import label_count
from pomona.store.recipe import Recipe
from pomona.store.store import FORGETTING, MANIFEST, REPORT, Store

Item = TypeVar("Item")
Result = TypeVar("Result")

STAGES = ("scan", "extract", "pca", "project", "report")
# What the report's pictures may take: of a run's time so far a share, or these seconds.
PICTURES_SHARE, PICTURES_S = 0.03, 5.0


@dataclass(frozen=True)
class RunSettings:
    """How a command runs: where its tasks run, whom it tells, and what it was.

    thumbnails: whether its report shows pictures; None: as the store's did before, or yes; began:
    by `time.perf_counter`, in seconds; access: how buckets are used.
    """

    engine: Engine
    progress: Progress = field(default_factory=Progress)
    command: str = "pomona"
    thumbnails: bool | None = None
    began: float = field(default_factory=time.perf_counter)
    access: Access = field(default_factory=Access)


@dataclass(frozen=True)
class Summary:
    """What a command did, and what the store holds after it.

    ran: images that were decoded for the network now, or found bad; worked: whether anything was
    done at all; images_per_second: while they were extracted; fitted_on: how many images the PCA,
    and with it variance_explained, is of.
    """

    store: str
    worked: bool
    ran: int
    seconds: float
    images_per_second: float
    images: int
    features: int
    errors: int
    labels: int
    components: int | None
    variance_explained: float | None
    fitted_on: int | None
    reasons: dict[str, int]
    report: str

    @property
    def error_rate(self) -> float:
        """Error rows per image of the store."""
        return self.errors / self.images if self.images else 0.0


class Run:
    """A command that holds a store. Its steps work through `map`, and `finish` tells the store."""

    def __init__(self, store: Store, running: RunSettings) -> None:
        self.store, self.engine, self.progress = store, running.engine, running.progress
        self.watch = Stopwatch()
        self.worker_seconds: defaultdict[str, float] = defaultdict(float)
        self.ran = 0
        self.forgot = 0
        self.worked = False
        self.csv: bool | None = None
        self._command, self._thumbnails = running.command, running.thumbnails
        self._began = running.began
        self._started = datetime.now(timezone.utc)
        self._id = f"{self._started:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"

    def map(
        self,
        stage: str,
        task: Task[Item, Result],
        items: list[Item],
        payload: object,
        images: Callable[[Item], int],
        errors: Callable[[Result], int] = lambda result: 0,
    ) -> Iterator[tuple[Item, Result]]:
        """The engine's results as they come, told as progress; images: how many an item stands for.

        Raises what stopped a task if that was a PomonaError, else EngineError.
        """
        if not items:
            return
        self.worked = True
        release_memory()
        self.progress.begin(stage, sum(map(images, items)))
        try:
            for item, result in self.engine.map(task, items, payload):
                if isinstance(result, Failure):
                    raise _failed(stage, result)
                self.progress.advance(images(item), errors(result))
                yield item, result
        finally:
            self.progress.end()

    def finish(self, source: str, recipe: Recipe, plan: pa.Table) -> Summary:
        """Writes the report and the manifest; a run that did nothing leaves both as they are."""
        manifest = self.store.manifest
        before = dict(manifest)
        projection = self.store.find_projection()
        manifest.update(
            source=source,
            recipe=recipe.to_dict(),
            totals=self._totals(plan),
            pca=projection and projection.summary(),
            csv=self.csv if self.csv is not None else manifest["csv"],
        )
        if self._thumbnails is not None:
            manifest["thumbnails"] = self._thumbnails
        # A run that was stopped while it finished has done its work, but has not told it.
        self.worked |= manifest != before or not self.store.files.exists(REPORT)
        if self.worked:
            manifest["runs"] = [*manifest["runs"], self._entry(recipe)]
            so_far = time.perf_counter() - self._began
            with self.watch.timed("report"):
                pictures_s = max(PICTURES_S, PICTURES_SHARE * so_far)
                report.write(self.store, manifest, pictures_s, self.engine)
            manifest["runs"][-1] = self._entry(recipe)
            self.store.write_json(MANIFEST, manifest)
        return self._summary(manifest)

    def _totals(self, plan: pa.Table) -> dict[str, int]:
        rows = {
            table: sum(self.store.rows_by_part(table, plan).values())
            for table in ("features", "errors")
        }
        return {"images": plan.num_rows, **rows, "labels": label_count(plan)}

    def _entry(self, recipe: Recipe) -> dict[str, Any]:
        total = time.perf_counter() - self._began
        return {
            "id": self._id,
            "pomona_version": __version__,
            "machine": _machine(recipe.runtime),
            "command": self._command,
            "engine": self.engine.name,
            "workers": self.engine.workers,
            **self.engine.facts,
            "started": self._started.isoformat(timespec="seconds"),
            "images": self.ran,
            "images_per_second": round(self._speed(), 1),
            **({"forgot": self.forgot} if self.forgot else {}),
            "seconds": {
                "total": round(total, 3),
                **{stage: round(self.watch.seconds[stage], 3) for stage in STAGES},
            },
            "worker_seconds": {
                what: round(s, 3) for what, s in sorted(self.worker_seconds.items())
            },
            "peak_memory_mb": {
                "driver": round(peak_memory_mb(), 1),
                "worker": round(self.engine.peak_memory_mb, 1),
            },
        }

    def _speed(self) -> float:
        return self.ran / self.watch.seconds["extract"] if self.ran else 0.0

    def _summary(self, manifest: dict[str, Any]) -> Summary:
        pca, totals = manifest["pca"] or {}, manifest["totals"]
        return Summary(
            store=str(self.store.files),
            worked=self.worked,
            ran=self.ran,
            seconds=round(time.perf_counter() - self._began, 3),
            images_per_second=round(self._speed(), 1),
            components=pca.get("components"),
            variance_explained=pca.get("variance_explained"),
            fitted_on=pca.get("fitted_on"),
            reasons=Counter(self.store.errors()["reason"].to_pylist()) if totals["errors"] else {},
            report=str(self.store.files.path(REPORT)),
            **totals,
        )


def _machine(runtime: str | None) -> dict[str, Any]:
    """What the driver runs on, and with which versions of what decides the numbers."""
    packages = ["numpy", "pillow", "pyarrow"]
    if runtime and find_spec(runtime):  # workers on other machines may have what this one has not
        packages.append(runtime)
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def _failed(stage: str, failure: Failure) -> PomonaError:
    if isinstance(failure.error, PomonaError):
        return failure.error
    kind = f"{type(failure.error).__name__}: " if failure.error else ""
    return EngineError(
        f"{stage} failed: {kind}{failure.message}; what is done is kept: run the same command again"
    )


def check_forgotten(store: Store) -> None:
    """Raises StoreError for a store that is half forgotten."""
    if store.files.exists(FORGETTING):
        raise StoreError(
            f"a `pomona forget` of {store.files} was stopped: "
            f"finish it first with `pomona forget {store.files}`"
        )


@contextmanager
def open_run(store: Store, running: RunSettings, *, finishes_forget: bool = False) -> Iterator[Run]:
    """Starts the engine, then takes the store's lock, for one command.

    Raises StoreBusyError or StoreWriteError, StoreError for a store that is half forgotten.
    """
    with running.engine, store.lock(running.command) as notice:
        if not finishes_forget:
            check_forgotten(store)
        for told in (notice, running.engine.notice):
            if told:
                running.progress.note(told)
        yield Run(store, running)
