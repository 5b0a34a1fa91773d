"""The command that keeps a store up to date: watch."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.commands.make import extract_settings
from pomona.commands.options.buckets import BucketOptions
from pomona.commands.options.engine import EngineOptions
from pomona.commands.options.images import LabelledImageOptions
from pomona.commands.options.network import NetworkFileOptions, NetworkOptions
from pomona.commands.options.pca import PcaOptions
from pomona.commands.options.places import Out, Source
from pomona.commands.output import MeasuredOutputOptions, Thumbnails
from pomona.commands.running import TASK_MODULES, finish, run_settings
from pomona.errors import UsageError
from pomona.pipeline.settings import RETRIES, ExtractSettings, ReduceSettings
from pomona.store.folders.registry import place

if TYPE_CHECKING:
    from pomona.pipeline.context import Round, RunSettings
    from pomona.pipeline.finish import Summary

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(text: str | float) -> float:
    """Parses a time.

    Parameters
    ----------
    text : str
        90s, 10m, 6h or 1d.

    Returns
    -------
    float
        Seconds.

    Raises
    ------
    typer.BadParameter
        For anything else.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", str(text))
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a time: give 90s, 10m, 6h or 1d")
    return float(found[1]) * _UNITS_S[found[2]]


Every = Annotated[
    Any,
    typer.Option(
        parser=parse_duration,
        metavar="TIME",
        show_default=False,
        help="How often to list the whole source, to find changes that no event reported and to "
        "retry images whose error may be temporary; 90s, 10m, 6h or 1d. (default: 10m)",
    ),
]
Queue = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="SQS queue to which EventBridge sends the events of the bucket SOURCE. Give each "
        "watcher a queue of its own.",
    ),
]
Predict = Annotated[
    Any,
    typer.Option(
        parser=place,
        metavar="STORE",
        help="Label the images with the classifier of STORE, as `pomona predict STORE SOURCE OUT` "
        "does, instead of reducing their features by PCA.",
    ),
]
Once = Annotated[
    bool,
    typer.Option(
        "--once",
        help="Do one round and exit: list the whole source or, with --queue and an existing OUT, "
        "read the queue.",
    ),
]


def watch(
    source: Source,
    out: Out,
    images: LabelledImageOptions,
    network: NetworkOptions,
    network_file: NetworkFileOptions,
    pca: PcaOptions,
    where: EngineOptions,
    buckets: BucketOptions,
    output: MeasuredOutputOptions,
    every: Every = "10m",
    queue: Queue = None,
    predict: Predict = None,
    once: Once = False,
    thumbnails: Thumbnails = None,
) -> None:
    r"""Keep a store up to date: take in new and changed images as they come, until stopped.

    Each round does what `pomona run SOURCE OUT` does, without --limit, for images that have
    changed. The whole source is listed every 10 minutes (see --every), and the report rewritten
    then. In between, file-system events tell of changes in a folder if the extra watch is
    installed; in a clone: pip install ".\[watch]". SIGTERM stops the command with exit status 143.
    """
    from pomona.images.sources.registry import open_source
    from pomona.operations import watch as watching
    from pomona.store.store import Store

    if images.limit is not None:
        raise UsageError("`limit` draws from a whole source, and a watcher takes all: leave it out")
    settings = watching.WatchSettings(every, queue, once)
    extracting = extract_settings(source, images, network, network_file)
    if predict is not None:
        _refuse_options_of_runs(network, network_file, pca)
    modules = (*TASK_MODULES, *network.worker_modules())
    rounds = _Rounds(out, extracting, pca.settings(), predict, where, modules)
    with run_settings(output, buckets.access(), where.open(), thumbnails, store=out) as running:
        store = Store(out, running.access)
        with watching.hold_watch(store, running.command):
            images_at = open_source(source, running.access)
            watcher = watching.Watcher(
                lambda one: rounds.take(one, running),
                lambda: watching.open_events(
                    images_at, store, settings, running.progress, extracting.include
                ),
                settings,
                running.progress,
            )
            watcher.run(knows_source=not store.is_new())
        if rounds.last is not None:
            finish(output, rounds.last, images.max_error_rate)


@dataclass
class _Rounds:
    """What each round does: `pomona run`, or `pomona predict` with the store of a classifier.

    last: what the last one did.
    """

    out: str | Path
    extracting: ExtractSettings
    reducing: ReduceSettings
    classifier: str | Path | None
    where: EngineOptions
    modules: Sequence[str]
    last: Summary | None = None

    def take(self, one: Round, running: RunSettings) -> Summary:
        """Does one, with an engine of its own: a watcher that waits holds no workers."""
        engine = self.where.open()
        engine.start(self.modules)
        settings = dataclasses.replace(running, engine=engine, began=time.perf_counter(), round=one)
        retries = self.extracting.retry_errors or RETRIES[0] if one.names is None else None
        extracting = dataclasses.replace(self.extracting, retry_errors=retries)
        if self.classifier is None:
            from pomona.pipeline import run as pipeline

            self.last = pipeline.run(self.out, extracting, self.reducing, settings)
        else:
            from pomona.learning import predict as predicting

            self.last, _ = predicting.predict_into(self.classifier, self.out, extracting, settings)
        return self.last


def _refuse_options_of_runs(
    network: NetworkOptions, network_file: NetworkFileOptions, pca: PcaOptions
) -> None:
    """Raises UsageError for options that the store of a classifier decides."""
    for group in (network, network_file, pca):
        for field in dataclasses.fields(group):
            if getattr(group, field.name) != field.default:
                raise UsageError(
                    f"`{field.name}` and `predict` cannot be combined: the classifier's store "
                    "says how features are made"
                )
