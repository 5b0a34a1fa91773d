"""Commands that keep a store right: verify, forget."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from pomona.commands.options.buckets import BucketOptions, ReadBucketOptions
from pomona.commands.options.engine import EngineOptions, Workers
from pomona.commands.options.places import StoreFolder
from pomona.commands.output import OutputOptions
from pomona.commands.running import finish, run_settings
from pomona.errors import StoreError, UsageError
from pomona.progress import count
from pomona.store.folders.registry import place


def verify(
    store: StoreFolder,
    buckets: ReadBucketOptions,
    output: OutputOptions,
    source: Annotated[
        Any,
        typer.Option(
            parser=place,
            metavar="SOURCE",
            help="Also read the source's images again, and compare them with the store.",
        ),
    ] = None,
    workers: Workers = None,
) -> None:
    """Check that a store is complete and undamaged; nothing is written.

    Each fault is reported with its location and a way to repair it.
    """
    from pomona.maintenance import verify as verifying

    engine = EngineOptions(workers=workers).open()
    with run_settings(output, buckets.access(), engine) as settings:
        verdict = verifying.verify(store, settings, source)
        output.result(dataclasses.asdict(verdict), verdict.in_words())
        if verdict.findings:
            raise StoreError(f"{store} has {count(len(verdict.findings), 'fault')}")


def forget(
    store: StoreFolder,
    buckets: BucketOptions,
    output: OutputOptions,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH",
            help="Path of an image, as metadata/ lists it; may be repeated. With neither PATH nor "
            "--from: finish an interrupted `pomona forget`.",
        ),
    ] = None,
    from_file: Annotated[
        Path | None,
        typer.Option("--from", readable=False, metavar="FILE", help="File with one path per line."),
    ] = None,
    keep_projection: Annotated[
        bool,
        typer.Option(
            "--keep-projection",
            help="Do not fit PCA again to the remaining images; its components are then still "
            "influenced by the forgotten ones.",
        ),
    ] = False,
    workers: Workers = None,
) -> None:
    """Remove every trace of the given images from a store, its PCA, report and feedback included.

    All classifiers of the store, kept ones included, and its search index are deleted as well: run
    `pomona train` again. Images that are still in the source are added again by the next `pomona
    run`.
    """
    from pomona.maintenance import forget as forgetting

    listed = [] if from_file is None else _lines(from_file)
    engine = EngineOptions(workers=workers).open()
    with run_settings(output, buckets.access(), engine) as settings:
        given = {*(paths or ()), *listed}
        summary = forgetting.forget(store, given, settings, keep_projection=keep_projection)
        finish(output, summary)


def _lines(file: Path) -> list[str]:
    """The lines of a file that are not empty; raw bytes where it is not UTF-8."""
    try:
        text = file.read_text("utf-8-sig", "surrogateescape")
    except OSError as exc:
        raise UsageError(f"cannot read {file}: {exc.strerror}; check --from") from exc
    return [line for line in text.split("\n") if line]
