"""The data's way on one page.

    source ──scan──▶ catalog ──plan──▶ shards ──extract──▶ metadata/ errors/ features/
    features/ ──measure──▶ moments ──merge, solve──▶ projection ──project──▶ csv/ pca/
                                                          store ──report──▶ report.html, pomona.json

Each step reads from the store what is done and does the rest, so that a command may be stopped at
any time and run again.
"""

from __future__ import annotations

from pathlib import Path

from pomona import report
from pomona.errors import StoreError, UsageError
from pomona.pipeline import preflight
from pomona.pipeline.context import RunSettings, check_forgotten, open_run
from pomona.pipeline.extract import are_extracted, extract_features
from pomona.pipeline.finish import Summary, finish
from pomona.pipeline.here import map_here, threads_here
from pomona.pipeline.prepare import prepare
from pomona.pipeline.reduce import reduce_features
from pomona.pipeline.settings import ExtractSettings, ReduceSettings
from pomona.s3.address import Access
from pomona.store.layout import MANIFEST, REPORT
from pomona.store.plan import shards
from pomona.store.store import Store


def run(
    out: str | Path, extracting: ExtractSettings, reducing: ReduceSettings, settings: RunSettings
) -> Summary:
    """The whole way: images in; features, PCA, CSV and a report out."""
    job = prepare(out, extracting, settings)
    with open_run(job.store, settings) as context:
        plan, extracted = extract_features(context, job)
        csv = reduce_features(context, plan, reducing)
        return finish(context, job.source, job.recipe, plan, extracted=extracted, csv=csv)


def extract(out: str | Path, extracting: ExtractSettings, settings: RunSettings) -> Summary:
    """The first half: images in, features out."""
    job = prepare(out, extracting, settings)
    with open_run(job.store, settings) as context:
        plan, extracted = extract_features(context, job)
        return finish(context, job.source, job.recipe, plan, extracted=extracted)


def reduce(out: str | Path, reducing: ReduceSettings, settings: RunSettings) -> Summary:
    """The second half: PCA of the features that a store holds.

    Raises
    ------
    StoreError
        If the store's extraction was stopped.
    """
    store = Store(out, settings.access)
    manifest, recipe = store.manifest, store.recipe
    with open_run(store, settings) as context:
        plan = context.store.plan()
        if not all(are_extracted(context.store, list(shards(plan)), recipe)):
            raise StoreError(
                f"{store.files} is not complete, its run was stopped: "
                "run the store's `pomona run` again first"
            )
        preflight.check(context.engine, context.store.files)
        csv = reduce_features(context, plan, reducing)
        return finish(context, manifest["source"], recipe, plan, csv=csv)


def rewrite_report(out: str | Path, settings: RunSettings) -> str:
    """Writes the report again from what the store holds, and returns its path or address."""
    store = Store(out, settings.access)
    _ = store.manifest  # where there is none, there is nothing to lock
    with settings.engine, store.lock(settings.command) as (locked, _):
        check_forgotten(store)
        manifest = store.manifest
        if settings.thumbnails not in (None, manifest.get("thumbnails")):
            manifest["thumbnails"] = settings.thumbnails
            locked.write_json(MANIFEST, manifest)
        with map_here(settings.engine) as run_here:
            threads = threads_here(settings.engine)
            report.write(locked, manifest, map_here=run_here, threads=threads)
    return str(store.files.path(REPORT))


def draw_figures(
    out: str | Path, folder: Path, image_format: str, access: Access | None = None
) -> list[Path]:
    """Draws the report's figures as "png" or "svg" files in a folder, and returns their paths."""
    if image_format not in report.FORMATS:
        raise UsageError(f"`format` {image_format}: choose png or svg")
    store = Store(out, access)
    return report.draw(store, store.manifest, folder, image_format)
