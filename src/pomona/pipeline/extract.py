"""The first half: the store's features/, metadata/ and errors/ follow the source."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import defaultdict

import pyarrow as pa
import pyarrow.compute as pc

from pomona import report
from pomona.errors import SourceError, StoreBusyError, StoreDamagedError
from pomona.extraction.error_rows import drop_errors, find_errors
from pomona.extraction.parts import is_extracted
from pomona.extraction.task import ExtractTask, extract
from pomona.pipeline import preflight
from pomona.pipeline.bundling import in_tasks
from pomona.pipeline.context import RunContext
from pomona.pipeline.finish import ExtractTotals
from pomona.pipeline.prepare import Job, check_fits
from pomona.progress import count
from pomona.store.layout import PLAN
from pomona.store.plan import Shard, make_plan, present, shards
from pomona.store.recipe import Recipe
from pomona.store.store import Store


def extract_features(context: RunContext, job: Job) -> tuple[pa.Table, ExtractTotals]:
    """Brings features/, metadata/ and errors/ to the source's state.

    Returns
    -------
    plan : pyarrow.Table
        The store's images, of schema `schemas.PLAN`.
    totals : ExtractTotals
        What was done for it.
    """
    store = context.store
    job = dataclasses.replace(job, store=store)  # what is read of it now, only we may change
    first = job.catalog.slice(0, 1).to_pylist()[0]
    image = preflight.Image(job.images, first["path"], first["fingerprint"])
    preflight.check(context.engine, store.files, image, job.network.runtime.library)
    context.watch.seconds["scan"] += job.scan_seconds
    if store.is_new():
        store.begin(job.source, job.recipe)
    else:
        # Once more, now that nobody else can change it.
        check_fits(store, job.recipe, job.source, job.catalog)
    plan = _update_plan(context, job)
    with context.watch.timed("extract"):
        totals = _extract(context, job, plan)
    return plan, totals


def _update_plan(context: RunContext, job: Job) -> pa.Table:
    """Writes the next plan, and removes the rows and files that it has no use for."""
    store, progress, sync = context.store, context.progress, job.extracting.sync
    previous, plan, gone = next_plan(job)
    is_whole = job.extracting.takes_whole_source and context.settings.looks_at_all
    if gone and (sync or is_whole):
        fate = "removed" if sync else "kept; `sync` removes them"
        progress.note(f"{count(gone, 'image')} of the store no longer in the source: {fate}")
    relabelled = _count_relabelled(plan, previous)
    if relabelled:
        progress.note(f"{count(relabelled, 'image')} with another label or split than before")
    if (gone and sync) or not plan.equals(previous):
        store.write_table(PLAN, plan)
    # Parts that `sync` emptied, now or in a run that was stopped.
    context.has_changes |= store.remove_orphans(plan) > 0
    again = find_retries(job, plan)
    if again:
        progress.note(f"retrying {count(len(again), 'image')} that gave no features")
        drop_errors(store, plan, again)
    return plan


def _extract(context: RunContext, job: Job, plan: pa.Table) -> ExtractTotals:
    """Runs the images of the parts that are not done."""
    store = context.store
    existing = store.parts_with_files()
    found = [
        dataclasses.replace(shard, is_new=shard.part not in existing) for shard in shards(plan)
    ]
    done = are_extracted(store, found, job.recipe)
    todo = [shard for shard, is_done in zip(found, done, strict=True) if not is_done]
    payload = ExtractTask(
        source=job.images,
        files=store.files.absolute(),
        recipe=job.recipe,
        network=dataclasses.replace(job.network, threads=context.engine.threads),
        image_timeout_s=job.extracting.image_timeout,
        max_pixels=job.extracting.max_pixels,
        allow_damaged=job.extracting.allow_damaged,
    )
    if todo:
        report.prepare()
    results = context.map(
        "extract",
        extract,
        in_tasks(context, todo, _count_images, waits=job.images.ahead > 1),
        payload,
        images=lambda shards: sum(map(_count_images, shards)),
        errors=lambda result: result.errors,
    )
    images, damaged, worker_seconds = 0, 0, defaultdict[str, float](float)
    for _, result in results:
        images += result.ran
        damaged += result.damaged
        for step, seconds in result.seconds.items():
            worker_seconds[step] += seconds
    if damaged:
        taken = count(damaged, "damaged image")
        context.progress.warn(f"{taken} taken as far as decoding goes")
    return ExtractTotals(images, worker_seconds, damaged)


def _count_images(shard: Shard) -> int:
    return len(shard.images)


def are_extracted(store: Store, found: list[Shard], recipe: Recipe) -> list[bool]:
    """Whether the files of each shard are what the plan says."""
    return store.map_concurrent(lambda shard: is_extracted(store, shard, recipe), found)


def next_plan(job: Job) -> tuple[pa.Table, pa.Table, int]:
    """The store's plan without what `sync` removes, its next plan, and how many images are gone.

    Raises
    ------
    SourceError
        If `sync` would remove most of the store.
    StoreBusyError
        If it is no longer the store whose images the catalog takes as known.
    """
    before, extracting = job.store.plan(), job.extracting
    if job.known is not None and not before.drop_columns(["part"]).equals(job.known):
        raise StoreBusyError(f"{job.store.files} has changed meanwhile: try again")
    kept = present(before, job.catalog)
    gone = before.num_rows - kept.num_rows
    if extracting.sync and not extracting.yes and gone * 2 > before.num_rows:
        raise SourceError(
            f"{job.source} lacks {gone:,} of the {count(before.num_rows, 'image')} "
            f"of {job.store.files}: check that all of it is there, or add `yes` to remove them"
        )
    previous = kept if extracting.sync else before
    return previous, make_plan(job.catalog, previous, _first_new_part(job.store, before)), gone


def _first_new_part(store: Store, plan: pa.Table) -> int:
    """One that no image had when the projection was fitted, nor has now."""
    projection = None
    with contextlib.suppress(StoreDamagedError):
        projection = store.find_projection()
    fitted = -1 if projection is None or projection.last_part is None else projection.last_part
    last: int = pc.max(plan["part"]).as_py() if plan.num_rows else -1
    return max(fitted, last) + 1


def find_retries(job: Job, plan: pa.Table) -> set[str]:
    """The paths of the images whose error rows are to be tried again."""
    which = job.extracting.retry_errors
    return set() if which is None else find_errors(job.store, plan, job.catalog, which)


def _count_relabelled(plan: pa.Table, previous: pa.Table) -> int:
    """How many of the previous plan's images, the plan's first, have another label or split."""
    names = ["label", "split"]
    now, before = plan.slice(0, previous.num_rows).select(names), previous.select(names)
    if now.equals(before):
        return 0
    return sum(a != b for a, b in zip(now.to_pylist(), before.to_pylist(), strict=True))
