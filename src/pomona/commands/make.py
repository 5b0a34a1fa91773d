"""Commands that make features: run, extract, reduce, import-features."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.commands.options.buckets import BucketOptions
from pomona.commands.options.engine import EngineOptions
from pomona.commands.options.images import LabelledImageOptions
from pomona.commands.options.network import NetworkFileOptions, NetworkOptions
from pomona.commands.options.pca import PcaOptions
from pomona.commands.options.places import Out, Source, StoreFolder
from pomona.commands.output import DryRun, MeasuredOutputOptions, OutputOptions, Thumbnails
from pomona.commands.running import TASK_MODULES, finish, run_settings, start_engine
from pomona.store.folders.registry import place

if TYPE_CHECKING:
    from pomona.pipeline.settings import ExtractSettings


def run(
    source: Source,
    out: Out,
    images: LabelledImageOptions,
    network: NetworkOptions,
    network_file: NetworkFileOptions,
    pca: PcaOptions,
    where: EngineOptions,
    buckets: BucketOptions,
    output: MeasuredOutputOptions,
    thumbnails: Thumbnails = None,
    dry_run: DryRun = False,
) -> None:
    """Compute features (embeddings) of images, reduce them by PCA, and write a report.

    Run the same command again to continue after a stop, or to add new and changed images.
    """
    with start_engine(where, (*TASK_MODULES, *network.worker_modules())) as engine:
        from pomona.pipeline import dry_run as planning
        from pomona.pipeline import run as pipeline

    access, reducing = buckets.access(), pca.settings()
    extracting = extract_settings(source, images, network, network_file)
    with run_settings(output, access, engine, thumbnails, store=out) as settings:
        if dry_run:
            expected = planning.dry_run(out, extracting, settings)
            output.result(dataclasses.asdict(expected), expected.in_words())
            return
        summary = pipeline.run(out, extracting, reducing, settings)
        finish(output, summary, images.max_error_rate)


def extract(
    source: Source,
    out: Out,
    images: LabelledImageOptions,
    network: NetworkOptions,
    network_file: NetworkFileOptions,
    where: EngineOptions,
    buckets: BucketOptions,
    output: MeasuredOutputOptions,
    thumbnails: Thumbnails = None,
) -> None:
    """Compute features (embeddings) of images and write a report; `pomona reduce` adds PCA."""
    with start_engine(where, (*TASK_MODULES, *network.worker_modules())) as engine:
        from pomona.pipeline import run as pipeline

    access = buckets.access()
    extracting = extract_settings(source, images, network, network_file)
    with run_settings(output, access, engine, thumbnails, store=out) as settings:
        summary = pipeline.extract(out, extracting, settings)
        finish(output, summary, images.max_error_rate)


def extract_settings(
    source: str | Path,
    images: LabelledImageOptions,
    network: NetworkOptions,
    network_file: NetworkFileOptions,
) -> ExtractSettings:
    return images.settings(
        source,
        backbone=network.backbone,
        fit=network.fit,
        overrides=network_file.overrides(),
        runtime=network.runtime,
        precision=network.precision,
    )


def reduce(
    store: StoreFolder,
    pca: PcaOptions,
    where: EngineOptions,
    buckets: BucketOptions,
    output: MeasuredOutputOptions,
    thumbnails: Thumbnails = None,
) -> None:
    """Reduce the features in a store by PCA and rewrite the report; images are not read again."""
    with start_engine(where) as engine:
        from pomona.pipeline import run as pipeline

    access, reducing = buckets.access(), pca.settings()
    with run_settings(output, access, engine, thumbnails, store=store) as settings:
        finish(output, pipeline.reduce(store, reducing, settings))


def import_features(
    file: Annotated[
        Path,
        typer.Argument(
            readable=False,
            metavar="FILE",
            help="Parquet file, or folder of them, with a column named path and one column, of "
            "any name, that holds the features: lists of floats, Spark's vectors or Arrow's "
            "tensors. Without columns label and split, these are taken from the folders in path.",
        ),
    ],
    out: Annotated[
        Any,
        typer.Argument(
            parser=place,
            metavar="OUT",
            help="Folder or s3://BUCKET/PREFIX for the store: new, empty, or the store that "
            "was made from exactly these features (images cannot be added to it).",
        ),
    ],
    buckets: BucketOptions,
    output: OutputOptions,
    features: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="The column that holds the features. (default: the one named features, or the "
            "only suitable one)",
        ),
    ] = None,
) -> None:
    """Make a store from features that were computed elsewhere; `pomona reduce` adds PCA."""
    from pomona.maintenance import import_features as importing

    engine = EngineOptions(workers=1).open()
    with run_settings(output, buckets.access(), engine) as settings:
        finish(output, importing.import_features(file, out, settings, features))
