"""The end of a command: the report, the manifest with the run's entry, and a summary."""

from __future__ import annotations

import os
import platform
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pomona import __version__, report
from pomona.backbones.runtimes import registry as runtimes
from pomona.memory import peak_memory_mb
from pomona.pipeline.context import RunContext, RunSettings
from pomona.pipeline.here import map_here, threads_here
from pomona.store.layout import MANIFEST, REPORT
from pomona.store.plan import label_count
from pomona.store.recipe import Recipe

STAGES = ("scan", "extract", "pca", "project", "predict", "report")
# The time that the report's pictures may take: a share of the run's so far, or these seconds.
PICTURES_SHARE, PICTURES_S = 0.03, 5.0
# The key of the manifest that says so: a round of a watcher has left the report as it was.
REPORT_IS_OLD = "report_is_old"


@dataclass(frozen=True)
class ExtractTotals:
    """What extraction did.

    Parameters
    ----------
    images : int
        Images that were decoded for the network now, or found to be bad.
    worker_seconds : mapping
        Where the workers' time went, in seconds: fetch, decode, network, write.
    damaged : int
        Images that gave features although they are damaged.
    """

    images: int = 0
    worker_seconds: Mapping[str, float] = field(default_factory=dict)
    damaged: int = 0


@dataclass(frozen=True)
class Summary:
    """What a command did, and what the store holds after it.

    Attributes
    ----------
    ran : int
        Images that were decoded for the network now, or found to be bad.
    worked : bool
        Whether anything was done at all.
    images_per_second : float
        The speed of extraction.
    fitted_on : int, optional
        The number of images that the PCA, and with it `variance_explained`, is based on.
    reasons : dict
        How many error rows have each reason.
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


def finish(
    context: RunContext,
    source: str,
    recipe: Recipe,
    plan: pa.Table,
    *,
    extracted: ExtractTotals = ExtractTotals(),
    csv: bool | None = None,
    forgotten: int = 0,
) -> Summary:
    """Writes the report and the manifest. A run that did nothing leaves both as they are.

    Parameters
    ----------
    context : RunContext
        The command at work.
    source, recipe, plan
        What the store is made of now.
    extracted : ExtractTotals
        What extraction did.
    csv : bool, optional
        Whether the store has CSV files. None: as the manifest says.
    forgotten : int
        How many images were forgotten.
    """
    store, settings = context.store, context.settings
    manifest = store.manifest
    before = dict(manifest)
    projection = store.find_projection()
    manifest.update(
        source=source,
        recipe=recipe.to_dict(),
        totals=_totals(context, plan),
        pca=projection and projection.summary(),
        csv=csv if csv is not None else manifest["csv"],
    )
    if settings.thumbnails is not None:
        manifest["thumbnails"] = settings.thumbnails
    if settings.looks_at_all:
        # Where a round left the report as it was, this is a change.
        manifest.pop(REPORT_IS_OLD, None)
    # A run that was stopped while it finished has done its work, but has not recorded it.
    context.has_changes |= manifest != before or not store.files.exists(REPORT)
    if context.has_changes:
        entry = partial(_entry, context, recipe, extracted, forgotten, pc.max(plan["part"]).as_py())
        earlier = manifest["runs"]
        manifest["runs"] = _add_run(earlier, entry(), settings)
        if settings.looks_at_all:
            _write_report(context, manifest)
        else:
            manifest[REPORT_IS_OLD] = True
        manifest["runs"] = _add_run(earlier, entry(), settings)
        store.write_json(MANIFEST, manifest)
    summary = _summary(context, manifest, extracted)
    context.progress.tell("result", **vars(summary))
    return summary


def _write_report(context: RunContext, manifest: dict[str, Any]) -> None:
    so_far_s = time.perf_counter() - context.settings.began
    with context.watch.timed("report"):
        pictures_s = max(PICTURES_S, PICTURES_SHARE * so_far_s)
        with map_here(context.engine) as run_here:
            report.write(
                context.store,
                manifest,
                map_here=run_here,
                threads=threads_here(context.engine),
                pictures_s=pictures_s,
            )


def _add_run(
    runs: Sequence[Mapping[str, Any]], entry: dict[str, Any], settings: RunSettings
) -> list[Mapping[str, Any]]:
    """The runs with one more; the rounds of a watcher are one, that the manifest may not grow."""
    if settings.round is None:
        return [*runs, entry]
    entry["rounds"] = 1
    if runs and "rounds" in runs[-1] and runs[-1]["command"] == entry["command"]:
        last = runs[-1]
        sums = {key: last.get(key, 0) + entry.get(key, 0) for key in ("rounds", "images")}
        if damaged := last.get("damaged", 0) + entry.get("damaged", 0):
            sums["damaged"] = damaged
        return [*runs[:-1], {**entry, **sums, "began": last.get("began", last["started"])}]
    return [*runs, entry]


def _totals(context: RunContext, plan: pa.Table) -> dict[str, int]:
    rows = {
        table: sum(context.store.rows_by_part(table, plan).values())
        for table in ("features", "errors")
    }
    return {"images": plan.num_rows, **rows, "labels": label_count(plan)}


def _entry(
    context: RunContext,
    recipe: Recipe,
    extracted: ExtractTotals,
    forgotten: int,
    last_part: int | None,
) -> dict[str, Any]:
    """The run's entry in the manifest, with its seconds so far."""
    settings, engine = context.settings, context.engine
    seconds = context.watch.seconds
    worker_seconds = sorted(extracted.worker_seconds.items())
    return {
        "id": context.id,
        "pomona_version": __version__,
        "machine": _machine(recipe.runtime),
        "command": settings.command,
        "engine": engine.name,
        "workers": engine.workers,
        **engine.facts,
        "started": context.started.isoformat(timespec="seconds"),
        "last_part": last_part,
        "images": extracted.images,
        "images_per_second": round(_speed(context, extracted), 1),
        **({"damaged": extracted.damaged} if extracted.damaged else {}),
        **({"forgot": forgotten} if forgotten else {}),
        "seconds": {
            "total": round(time.perf_counter() - settings.began, 3),
            **{stage: round(seconds[stage], 3) for stage in STAGES},
        },
        "worker_seconds": {step: round(s, 3) for step, s in worker_seconds},
        "peak_memory_mb": {
            "driver": round(peak_memory_mb(), 1),
            "worker": round(engine.peak_memory_mb, 1),
        },
    }


def _speed(context: RunContext, extracted: ExtractTotals) -> float:
    """Images per second of extraction."""
    return extracted.images / context.watch.seconds["extract"] if extracted.images else 0.0


def _summary(context: RunContext, manifest: dict[str, Any], extracted: ExtractTotals) -> Summary:
    pca, totals, store = manifest["pca"] or {}, manifest["totals"], context.store
    return Summary(
        store=str(store.files),
        worked=context.has_changes,
        ran=extracted.images,
        seconds=round(time.perf_counter() - context.settings.began, 3),
        images_per_second=round(_speed(context, extracted), 1),
        components=pca.get("components"),
        variance_explained=pca.get("variance_explained"),
        fitted_on=pca.get("fitted_on"),
        reasons=Counter(store.errors()["reason"].to_pylist()) if totals["errors"] else {},
        report=str(store.files.path(REPORT)),
        **totals,
    )


def _machine(runtime: str | None) -> dict[str, Any]:
    """The driver's machine, and the versions of the packages that decide the numbers."""
    packages = ["numpy", "pillow", "pyarrow"]
    used = runtimes.RUNTIMES.get(runtime or "")
    if used and used.version:  # workers on other machines may have what this one lacks
        packages.append(used.package)
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }
