"""Metrics of a command as Prometheus's text, for the textfile collector of the node exporter.

The file is written whole, as often as something happens that it tells of. Names never change.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pomona.errors import PomonaError
from pomona.progress import Progress

GAUGE, COUNTER = "gauge", "counter"
# A file of this command's is smaller; of another one nothing is taken.
MOST_BYTES = 2**20
# How often progress within a stage counts as a sign of life.
BEAT_S = 5.0


@dataclass(frozen=True)
class Metric:
    """A name that never changes.

    Parameters
    ----------
    name, kind, help : str
        As Prometheus knows them.
    labels : tuple of str
        Beside `command` and `store`.
    """

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()


STATUS = Metric("pomona_run_exit_status", GAUGE, "Exit status of the last command that ended.")
ENDED = Metric("pomona_run_end_timestamp_seconds", GAUGE, "When the last command ended.")
SUCCEEDED = Metric(
    "pomona_run_success_timestamp_seconds",
    GAUGE,
    "When a command last ended with exit status 0, or a watcher's last round was done.",
)
SECONDS = Metric("pomona_run_duration_seconds", GAUGE, "How long the last command or round took.")
STAGE = Metric(
    "pomona_run_stage_duration_seconds", GAUGE, "How long each stage of it took.", ("stage",)
)
IMAGES = Metric("pomona_run_images", GAUGE, "Images that it read.")
SPEED = Metric("pomona_run_images_per_second", GAUGE, "Speed of extraction.")
STORE_IMAGES = Metric("pomona_store_images", GAUGE, "Images of the store.")
STORE_FEATURES = Metric("pomona_store_features", GAUGE, "Images of the store with features.")
STORE_ERRORS = Metric(
    "pomona_store_errors", GAUGE, "Images of the store without features.", ("reason",)
)
ROUNDS = Metric("pomona_watch_rounds_total", COUNTER, "Rounds that were done.", ("kind",))
READ = Metric("pomona_watch_images_total", COUNTER, "Images that rounds read.")
FAILURES = Metric(
    "pomona_watch_failures_total", COUNTER, "Rounds that could not be done.", ("reason",)
)
EVENTS = Metric("pomona_watch_events_total", COUNTER, "Messages of the queue.", ("outcome",))
AWAY = Metric("pomona_watch_failing", GAUGE, "1 while rounds fail, else 0.")
BEAT = Metric("pomona_run_alive_timestamp_seconds", GAUGE, "When the command last moved.")

METRICS: tuple[Metric, ...] = (
    BEAT, STATUS, ENDED, SUCCEEDED, SECONDS, STAGE, IMAGES, SPEED, STORE_IMAGES, STORE_FEATURES,
    STORE_ERRORS, ROUNDS, READ, FAILURES, EVENTS, AWAY,
)  # fmt: skip


class MetricsFile(Progress):
    """Keeps the figures of a command in a file.

    Parameters
    ----------
    path : Path
        The file; the node exporter reads those named *.prom.
    command, store : str
        What all its figures are of.

    Raises
    ------
    PomonaError
        If the file cannot be written.
    """

    def __init__(self, path: Path, command: str, store: str) -> None:
        super().__init__()
        self._path = path
        self._own = {"command": command, "store": store}
        self._values: defaultdict[tuple[str, tuple[str, ...]], float] = defaultdict(float)
        self._began = self._stage_began = time.monotonic()
        self._values[BEAT.name, ()] = time.time()
        if command == "watch":  # what is to be seen to rise begins at 0
            self._values[AWAY.name, ()] = 0
            self._values[EVENTS.name, ("refused",)] = 0
        for metric in (ENDED, STATUS, SUCCEEDED):
            self._take_up(metric)
        try:
            self._write()
        except OSError as exc:
            raise PomonaError(
                f"`metrics_file` {path}: {exc.strerror}; choose another file"
            ) from exc

    def begin(self, stage: str, total: int) -> None:
        super().begin(stage, total)
        self._stage_began = time.monotonic()

    def advance(self, done: int, errors: int = 0) -> None:
        super().advance(done, errors)
        if time.time() - self._values[BEAT.name, ()] > BEAT_S:
            self._values[BEAT.name, ()] = time.time()
            self._rewrite()

    def end(self) -> None:
        self._values[STAGE.name, (self.stage,)] = time.monotonic() - self._stage_began

    def tell(self, event: str, **facts: Any) -> None:
        """Counts what a watcher tells, and what a run did."""
        now = time.time()
        if event == "result":
            self._take_result(facts)
        elif event == "round":
            self._values[ROUNDS.name, (facts["kind"],)] += 1
            self._values[READ.name, ()] += facts["images"]
            self._values[SECONDS.name, ()] = facts["seconds"]
            self._values[SUCCEEDED.name, ()] = now
            self._values[AWAY.name, ()] = 0
        elif event == "failure":
            self._values[FAILURES.name, (facts["reason"],)] += 1
            self._values[AWAY.name, ()] = 1
        elif event == "event":
            self._values[EVENTS.name, (facts["outcome"],)] += 1
        self._values[BEAT.name, ()] = now
        if event != "event":  # they come in bursts, and a round or a beat follows
            self._rewrite()

    def over(self, status: int, message: str | None = None) -> None:
        now = time.time()
        self._values[STATUS.name, ()] = status
        self._values[ENDED.name, ()] = now
        if (ROUNDS.name, ("listing",)) not in self._values:
            self._values[SECONDS.name, ()] = time.monotonic() - self._began
        if status == 0:
            self._values[SUCCEEDED.name, ()] = now
        self._rewrite()

    def _take_result(self, facts: Mapping[str, Any]) -> None:
        for metric, key in (
            (IMAGES, "ran"),
            (SPEED, "images_per_second"),
            (STORE_IMAGES, "images"),
            (STORE_FEATURES, "features"),
        ):
            self._values[metric.name, ()] = facts[key]
        for known in [key for key in self._values if key[0] == STORE_ERRORS.name]:
            del self._values[known]
        for reason, number in facts["reasons"].items():
            self._values[STORE_ERRORS.name, (reason,)] = number

    def _take_up(self, metric: Metric) -> None:
        """Goes on with a figure that an earlier command left in the file."""
        try:
            with self._path.open("rb") as file:
                text = file.read(MOST_BYTES).decode()
        except (OSError, ValueError):
            return
        line = f"{metric.name}{self._labels(metric, ())} "
        for found in text.splitlines():
            if found.startswith(line):
                with contextlib.suppress(ValueError):
                    self._values[metric.name, ()] = float(found[len(line) :])

    def _labels(self, metric: Metric, values: tuple[str, ...]) -> str:
        pairs = {**self._own, **dict(zip(metric.labels, values, strict=True))}
        return "{" + ",".join(f'{key}="{_escape(value)}"' for key, value in pairs.items()) + "}"

    def _text(self) -> str:
        lines = []
        for metric in METRICS:
            found = {labels: value for (name, labels), value in self._values.items()
                     if name == metric.name}  # fmt: skip
            if found:
                lines.append(f"# HELP {metric.name} {metric.help}")
                lines.append(f"# TYPE {metric.name} {metric.kind}")
                lines += [
                    f"{metric.name}{self._labels(metric, labels)} {value!r}"
                    for labels, value in sorted(found.items())
                ]
        return "".join(f"{line}\n" for line in lines)

    def _rewrite(self) -> None:
        # Monitoring ends no command: whoever reads the file sees that it is old.
        with contextlib.suppress(OSError):
            self._write()

    def _write(self) -> None:
        path = self._path.absolute()
        temporary = path.with_name(f".{path.name}.tmp")  # one that a kill leaves is written again
        temporary.write_text(self._text(), encoding="utf-8", errors="backslashreplace")
        temporary.replace(path)


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
