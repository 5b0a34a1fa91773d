"""The command that answers over HTTP: serve."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from pomona.commands import exit_status
from pomona.commands.options.buckets import BucketOptions
from pomona.commands.options.engine import Workers
from pomona.commands.options.learning import Top, Unsure
from pomona.commands.options.places import StoreFolder
from pomona.commands.options.serving import (
    BoundOptions,
    DoorOptions,
    KeepPhotographs,
    Watch,
    to_settings,
)
from pomona.commands.output import OutputOptions
from pomona.errors import PomonaError
from pomona.memory import forgo_pandas
from pomona.progress import count

if TYPE_CHECKING:
    from pomona.feedback.journal import Journal
    from pomona.serving.interfaces import Judgement
    from pomona.serving.model import Model
    from pomona.serving.run import Service

# What `pomona[serve]` brings, as Python imports it.
_LIBRARIES = (
    "starlette",
    "uvicorn",
    "uvloop",
    "httptools",
    "python_multipart",
    "prometheus_client",
)


def serve(
    store: StoreFolder,
    door: DoorOptions,
    bounds: BoundOptions,
    buckets: BucketOptions,
    output: OutputOptions,
    workers: Workers = None,
    top: Top = 5,
    unsure: Unsure = 0.9,
    watch: Watch = False,
    keep_photographs: KeepPhotographs = None,
) -> None:
    r"""Label images over HTTP with a store's classifier, and serve a web page for trying it.

    If the store has no classifier, the server returns only features and nearest images. It logs
    each request to stderr as a line of JSON. On SIGTERM or Ctrl-C, it finishes the requests in
    progress, then stops. Needs the extra serve; in a clone: pip install ".\[serve]".
    """
    settings = to_settings(
        door, bounds, top=top, unsure=unsure, watch=watch, keep_photographs=keep_photographs
    )
    from pomona.feedback.journal import Journal
    from pomona.store.store import Store

    try:
        from pomona.serving import run as serving
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in _LIBRARIES:
            raise
        raise PomonaError(f'{exc.name} is not installed: pip install "pomona[serve]"') from exc
    forgo_pandas()
    progress = output.progress()
    service = serving.Service(
        place=store,
        access=buckets.access(),
        settings=settings,
        workers=workers,
        feedback=_Kept(Journal(Store(store, buckets.access()))),
        log=None if output.quiet else _log,
    )

    def started(address: str, model: Model) -> None:
        output.result({"address": address, **model.to_dict()}, _in_words(address, service, model))
        sys.stdout.flush()

    try:
        serving.serve(service, progress, started)
    except KeyboardInterrupt as exc:  # before it answered
        raise typer.Exit(exit_status.of_stop(exc)) from None


@dataclass(frozen=True)
class _Kept:
    """Feedback, kept in the journal of the store."""

    journal: Journal

    def append(self, judgement: Judgement) -> None:
        from pomona.feedback.journal import Entry

        facts = dataclasses.asdict(judgement)
        self.journal.append(Entry(**facts, confirmed=judgement.label == judgement.predicted))

    def read_stored(self) -> dict[str, str]:
        from pomona.store.feedback import STORED

        table = self.journal.read(model=STORED)
        return dict(zip(table["sha256"].to_pylist(), table["label"].to_pylist(), strict=True))


def _log(line: str) -> None:
    with contextlib.suppress(OSError):  # whoever read the log has left
        print(line, file=sys.stderr, flush=True)


def _in_words(address: str, service: Service, model: Model) -> str:
    facts = model.facts
    if facts is None:
        return (
            f"{address} gives features alone: {service.place} has no classifier "
            f"(`pomona train {service.place}` makes one)"
        )
    return f"{address} labels images: {facts['model']}, {count(len(model.labels), 'label')}"
