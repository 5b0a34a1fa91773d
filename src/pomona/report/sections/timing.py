"""Timing: where the time of the last runs went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pomona.report.context import ReportContext

RUNS_SHOWN = 5
STAGES = {
    "scan": "find the images",
    "extract": "extract the features",
    "pca": "fit the PCA",
    "project": "project and write",
    "predict": "predict the labels",
    "report": "write this page",
}
WORKER_STAGES = {
    "fetch": "read the file",
    "decode": "decode and resize",
    "network": "network",
    "write": "write the tables",
}


@dataclass(frozen=True)
class RunTimes:
    """Where a run's time went.

    Attributes
    ----------
    entry : mapping
        The manifest's entry of the run.
    stages, worker_stages : list of (str, float)
        Seconds of each stage on the driver, and of each step in all workers together.
    """

    entry: Mapping[str, Any]
    stages: list[tuple[str, float]]
    worker_stages: list[tuple[str, float]]


@dataclass(frozen=True)
class Timing:
    """The last runs that extracted features, the last one first."""

    runs: list[RunTimes]


def gather(context: ReportContext) -> Timing | None:
    """Gathers the times. None: no run has extracted features."""
    runs = [_times(run) for run in context.extract_runs[:RUNS_SHOWN]]
    return Timing(runs) if runs else None


def _times(run: Mapping[str, Any]) -> RunTimes:
    seconds, worker = run["seconds"], run.get("worker_seconds", {})
    return RunTimes(
        run,
        [(text, seconds[name]) for name, text in STAGES.items() if seconds.get(name)],
        [(text, worker[name]) for name, text in WORKER_STAGES.items() if name in worker],
    )
