"""The data's way on one page.

    source ──scan──▶ catalog ──plan──▶ shards ──extract──▶ metadata/ errors/ features/
    features/ ──measure──▶ moments ──merge, solve──▶ projection ──project──▶ csv/ pca/
                                                          store ──report──▶ report.html, pomona.json

Each step reads from the store what is done and does the rest, so that a command may be stopped at
any time and given again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from pomona import report
from pomona.backbones import cache, registry, runtime
from pomona.backbones.overrides import ModelOverrides
from pomona.backbones.runtime import Network
from pomona.errors import EngineError, SourceError, StoreDamagedError, StoreError, UsageError
from pomona.extraction import task as features
from pomona.images.decode import MAX_PIXELS
from pomona.images.labels import apply_labels
from pomona.images.reader import IMAGE_TIMEOUT_S
from pomona.images.scan import spread_sample
from pomona.images.sources.base import Source
from pomona.images.sources.registry import open_source
from pomona.pca.moments import solve
from pomona.pca.projection import Projection
from pomona.pipeline import preflight as reach
from pomona.pipeline.context import Run, RunSettings, Summary, check_forgotten, open_run
from pomona.reduction import tasks as pca
from pomona.s3.address import Access
from pomona.store.plan import LOCAL_TASK_DIVISOR, Shard, bundles, make_plan, present, shards
from pomona.store.recipe import Recipe
from pomona.store.store import MANIFEST, PLAN, REPORT, Store

Item = TypeVar("Item")

FITS = ("stretch", "crop")
RETRIES = ("retryable", "all")
DEFAULT_VARIANCE = 0.90


@dataclass(frozen=True)
class ExtractSettings:
    """Which images, and how they become features.

    labels: a CSV file; None: the folders' names; retry_errors: which error rows are tried again,
    "retryable" or "all" of them; None: none; sync: whether images that the source does not have
    any more are dropped, yes: even if they are most of the store; overrides: what is said of the
    backbone beside its name; runtime, precision: what runs it, and with which numbers.
    """

    source: str | Path
    include: Sequence[str] = ()
    labels: Path | None = None
    limit: int | None = None
    seed: int = 0
    backbone: str = registry.DEFAULT
    fit: str = "stretch"
    image_timeout_s: float = IMAGE_TIMEOUT_S
    max_pixels: int = MAX_PIXELS
    retry_errors: str | None = None
    sync: bool = False
    yes: bool = False
    overrides: ModelOverrides = registry.NO_OVERRIDES
    runtime: str = "onnxruntime"
    precision: str = "float32"

    def __post_init__(self) -> None:
        runtime.check(self.runtime, self.precision)
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit {self.limit}: at least 1 image is needed")
        if self.fit not in FITS:
            raise UsageError(f"--fit {self.fit}: choose stretch or crop")
        if self.retry_errors not in (None, *RETRIES):
            raise UsageError(f"--retry-errors={self.retry_errors}: choose retryable or all")
        if self.image_timeout_s <= 0:
            raise UsageError(f"--image-timeout {self.image_timeout_s:g}: seconds, as 60")
        if self.max_pixels < 1:
            raise UsageError(f"--max-pixels {self.max_pixels}: pixels, as 100MP")
        if isinstance(self.include, str):
            raise UsageError(f"include={self.include!r}: give a list of patterns")
        if self.sync and not self.whole_source:
            raise UsageError("--sync needs the whole source: leave out --limit and --include")

    @property
    def whole_source(self) -> bool:
        """Whether all images of the source are meant."""
        return self.limit is None and not self.include


@dataclass(frozen=True)
class ReduceSettings:
    """How many components, and when they are fitted anew.

    Without components and variance: as the store was made, or for a new one `DEFAULT_VARIANCE`.
    csv: whether csv/ is written; None: as the store was made, or for a new one yes.
    """

    components: int | None = None
    variance: float | None = None
    refit: bool = False
    keep_projection: bool = False
    csv: bool | None = None

    def __post_init__(self) -> None:
        if self.components is not None and self.variance is not None:
            raise UsageError("--components and --variance contradict each other: give one of them")
        if self.components is not None and self.components < 1:
            raise UsageError(f"--components {self.components}: at least 1 is needed")
        if self.variance is not None and not 0 < self.variance <= 1:
            raise UsageError(f"--variance {self.variance}: give a share, as 0.9")
        if self.refit and self.keep_projection:
            raise UsageError("--refit and --keep-projection contradict each other: give one")

    @property
    def requested(self) -> tuple[str, float] | None:
        """What was asked for, if anything."""
        if self.components is not None:
            return "components", self.components
        return None if self.variance is None else ("variance", self.variance)


def run(
    out: str | Path, extracting: ExtractSettings, reducing: ReduceSettings, running: RunSettings
) -> Summary:
    """The whole way: images in; features, PCA, CSV and a report out."""
    job = prepare(out, extracting, running)
    with open_run(job.store, running) as work:
        plan = _extract(work, job)
        reduce_features(work, plan, reducing)
        return work.finish(job.source, job.recipe, plan)


def extract(out: str | Path, extracting: ExtractSettings, running: RunSettings) -> Summary:
    """The first half: images in, features out."""
    job = prepare(out, extracting, running)
    with open_run(job.store, running) as work:
        plan = _extract(work, job)
        return work.finish(job.source, job.recipe, plan)


def reduce(out: str | Path, reducing: ReduceSettings, running: RunSettings) -> Summary:
    """The second half: PCA of the features that a store holds."""
    store = Store(out, running.access)
    manifest, recipe = store.manifest, store.recipe
    with open_run(store, running) as work:
        plan = store.plan()
        if not all(_extracted(store, list(shards(plan)), recipe)):
            raise StoreError(
                f"{store.files} is not complete, its run was stopped: give its command again first"
            )
        reach.check(work.engine, store.files)
        reduce_features(work, plan, reducing)
        return work.finish(manifest["source"], recipe, plan)


def rewrite_report(out: str | Path, running: RunSettings) -> str:
    """The report anew from what the store holds; returns where it lies."""
    store = Store(out, running.access)
    _ = store.manifest  # where there is none, there is nothing to lock
    with running.engine, store.lock(running.command):
        check_forgotten(store)
        manifest = store.manifest
        if running.thumbnails not in (None, manifest.get("thumbnails")):
            manifest["thumbnails"] = running.thumbnails
            store.write_json(MANIFEST, manifest)
        report.write(store, manifest, engine=running.engine)
    return str(store.files.path(REPORT))


def draw_figures(
    out: str | Path, folder: Path, image_format: str, access: Access | None = None
) -> list[Path]:
    """The report's figures as image files, "png" or "svg", in a folder; returns where they lie."""
    if image_format not in report.FORMATS:
        raise UsageError(f"--format {image_format}: choose png or svg")
    store = Store(out, access)
    return report.draw(store, store.manifest, folder, image_format)


@dataclass(frozen=True)
class Job:
    """What a run is to do, found and checked before anything is written."""

    store: Store
    images: Source
    catalog: pa.Table
    extracting: ExtractSettings
    network: Network
    recipe: Recipe
    scan_seconds: float

    @property
    def source(self) -> str:
        """What the manifest calls it."""
        return str(self.images)


def prepare(out: str | Path, extracting: ExtractSettings, running: RunSettings) -> Job:
    """Scans the source, loads the network and holds both against the store.

    Raises UsageError, BackboneError, SourceError, StoreError, or EngineError for a network too big.
    """
    start = time.perf_counter()
    store = Store(out, running.access)
    is_new = store.is_new()
    backbone = registry.get(extracting.backbone, extracting.overrides)
    if backbone.note:
        running.progress.note(backbone.note)
    images = open_source(extracting.source, running.access)
    catalog = find_images(images, extracting, running)
    seconds = time.perf_counter() - start
    network = dataclasses.replace(
        cache.load(backbone), runtime=extracting.runtime, precision=extracting.precision
    )
    limit = running.engine.max_payload_bytes
    if limit is not None and len(network.model) > limit:
        raise EngineError(
            f"{backbone.name} is {len(network.model):,} bytes, {running.engine.name} can send "
            f"{limit:,} to its workers: take a smaller network, or --engine local"
        )
    if running.engine.name == "local":  # of another's machines only its workers can tell
        runtime.check_machine(network.runtime, network.precision)
    recipe = features.make_recipe(backbone, network, extracting.fit)
    images = images.absolute()
    if not is_new:
        _check_fits(store, recipe, str(images), catalog)
    return Job(store, images, catalog, extracting, network, recipe, seconds)


def find_images(source: Source, extracting: ExtractSettings, running: RunSettings) -> pa.Table:
    """The catalog of the images that are meant, telling what is left out. Raises SourceError."""
    found = source.scan(extracting.include)
    catalog = found.catalog
    if not catalog.num_rows:
        others = "".join(f" ({count:,} left out: {why})" for why, count in found.skipped.items())
        raise SourceError(f"no images in {source}{others}: check the path and --include")
    if extracting.sync and found.unlisted:
        raise SourceError(
            f"cannot list {found.unlisted[0]}: --sync needs the whole source; "
            "ask for the right to list it, or leave out --sync"
        )
    for folder in found.unlisted:
        running.progress.warn(f"cannot list {folder}: the images in it are not taken")
    for why, count in found.skipped.items():
        running.progress.note(f"left out: {count:,} {'file' if count == 1 else 'files'}, {why}")
    if extracting.labels is not None:
        catalog, warnings = apply_labels(catalog, extracting.labels)
        for warning in warnings:
            running.progress.warn(warning)
    if extracting.limit is not None:
        catalog = spread_sample(catalog, extracting.limit, extracting.seed)
    return catalog


def _check_fits(store: Store, recipe: Recipe, source: str, catalog: pa.Table) -> None:
    """Refuses a store of another recipe, or of another source.

    A source may have moved: then most of the images that both know have the same size.
    """
    manifest, made = store.manifest, store.recipe
    if made.digest != manifest["recipe"]["digest"] or made != recipe:
        differences = "; ".join(made.differences(recipe)) or "it was made by a later version"
        raise StoreError(
            f"{store.files} was made by another recipe ({differences}): "
            "give what it was made with, or choose another folder"
        )
    plan = store.plan()
    if manifest["source"] == source or not plan.num_rows:
        return
    at = pc.index_in(catalog["path"], value_set=plan["path"])
    same = pc.equal(plan["size_bytes"].take(at), catalog["size_bytes"])
    if (pc.sum(same).as_py() or 0) * 2 < max(1, len(at) - at.null_count):
        raise StoreError(
            f"{store.files} holds other images, those of {manifest['source']}: "
            "choose another folder"
        )


def _extract(work: Run, job: Job) -> pa.Table:
    """Brings features/, metadata/ and errors/ to the source's state; returns the plan."""
    store, recipe = work.store, job.recipe
    first = job.catalog.slice(0, 1).to_pylist()[0]
    seen = reach.Image(job.images, first["path"], first["fingerprint"])
    reach.check(work.engine, store.files, seen, recipe.runtime)
    work.watch.seconds["scan"] += job.scan_seconds
    if store.is_new():
        store.begin(job.source, recipe)
    else:
        # Once more, now that nobody else can change it.
        _check_fits(store, recipe, job.source, job.catalog)
    previous, plan, gone = next_plan(job)
    if gone and job.extracting.whole_source:
        fate = "dropped" if job.extracting.sync else "kept; --sync drops them"
        work.progress.note(
            f"{gone:,} images of the store are not in the source now: they are {fate}"
        )
    relabelled = _relabelled(plan, previous)
    if relabelled:
        work.progress.note(f"{relabelled:,} images have another label or split than before")
    if (gone and job.extracting.sync) or not plan.equals(previous):
        store.write_table(PLAN, plan)
    # Parts that --sync emptied, now or in a run that was stopped.
    work.worked |= store.remove_orphans(plan) > 0
    again = find_retries(job, plan)
    if again:
        work.progress.note(f"{len(again):,} images that gave no features are tried again")
        features.drop_errors(store, plan, again)
    with work.watch.timed("extract"):
        there = store.parts_with_files()
        found = [
            dataclasses.replace(shard, is_new=shard.part not in there) for shard in shards(plan)
        ]
        done = _extracted(store, found, recipe)
        todo = [shard for shard, is_done in zip(found, done, strict=True) if not is_done]
        network = dataclasses.replace(job.network, threads=work.engine.threads)
        extraction = features.ExtractTask(
            job.images,
            store.files.absolute(),
            recipe,
            network,
            job.extracting.image_timeout_s,
            job.extracting.max_pixels,
        )
        if todo:
            report.prepare()
        results = work.map(
            "extract",
            features.extract,
            _in_tasks(work, todo, _images, wait=job.images.ahead > 1),
            extraction,
            images=lambda shards: sum(map(_images, shards)),
            errors=lambda result: result.errors,
        )
        for _, result in results:
            work.ran += result.ran
            for what, seconds in result.seconds.items():
                work.worker_seconds[what] += seconds
    return plan


def _images(shard: Shard) -> int:
    return len(shard.images)


def _in_tasks(
    work: Run, items: Iterable[Item], images: Callable[[Item], int], *, wait: bool = False
) -> list[list[Item]]:
    """What each task gets: a bundle, and more where answers take long (`wait`, or the store)."""
    far = wait or work.store.files.requests > 1
    return list(bundles(items, images, work.engine.workers, 1 if far else LOCAL_TASK_DIVISOR))


def _extracted(store: Store, found: list[Shard], recipe: Recipe) -> list[bool]:
    return store.map_concurrent(lambda shard: features.is_extracted(store, shard, recipe), found)


def next_plan(job: Job) -> tuple[pa.Table, pa.Table, int]:
    """The store's plan without what --sync drops, its next one, and how many images are gone.

    Raises SourceError where --sync would drop most of the store.
    """
    before, extracting = job.store.plan(), job.extracting
    kept = present(before, job.catalog)
    gone = before.num_rows - kept.num_rows
    if extracting.sync and not extracting.yes and gone * 2 > before.num_rows:
        raise SourceError(
            f"{job.source} lacks {gone:,} of the {before.num_rows:,} images of {job.store.files}: "
            "see that all of it is there; --sync --yes drops them"
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
    """The paths of the images that gave no features and are to be tried again."""
    which = job.extracting.retry_errors
    return set() if which is None else features.find_errors(job.store, plan, job.catalog, which)


def _relabelled(plan: pa.Table, previous: pa.Table) -> int:
    """How many of the previous plan's images, the plan's first, have another label or split."""
    names = ["label", "split"]
    now = plan.slice(0, previous.num_rows).select(names)
    pairs = zip(now.to_pylist(), previous.select(names).to_pylist(), strict=True)
    return 0 if now.equals(previous.select(names)) else sum(a != b for a, b in pairs)


def reduce_features(work: Run, plan: pa.Table, reducing: ReduceSettings) -> None:
    """Brings model_info/, pca/ and csv/ to the state of features/."""
    store = work.store
    as_before = store.manifest["csv"] is not False
    work.csv = as_before if reducing.csv is None else reducing.csv
    rows = store.rows_by_part("features", plan)
    with work.watch.timed("pca"):
        projection = _fit(work, rows, reducing)
        if projection:
            pca.describe(store, projection)
    if not work.csv:
        store.files.delete("csv")
    with work.watch.timed("project"):
        projecting = pca.ProjectTask(store.files.absolute(), projection, work.csv)
        done = store.map_concurrent(lambda part: pca.is_projected(store, part, projecting), rows)
        todo = [part for part, is_done in zip(rows, done, strict=True) if not is_done]
        for _ in work.map(
            "project",
            pca.project,
            _in_tasks(work, todo, rows.__getitem__),
            projecting,
            images=lambda parts: sum(map(rows.__getitem__, parts)),
        ):
            pass


def _fit(work: Run, rows: dict[int, int], reducing: ReduceSettings) -> Projection | None:
    """The store's projection, fitted anew where it must be; None where there is too little."""
    store, total = work.store, sum(rows.values())
    told = store.manifest["pca"] or {"requested": {"variance": DEFAULT_VARIANCE}}
    kept = None if reducing.refit else store.find_projection()
    keep = reducing.keep_projection
    reason = pca.refit_reason(kept, total, reducing.requested, keep=keep)
    if reason is None:
        return kept
    if total < 2:
        work.progress.warn(f"no PCA: it needs features of 2 images at least, there are {total}")
        pca.save(store, None)
        return None
    if kept:
        work.progress.note(f"PCA is fitted anew: {reason}")
    [before] = [kept.requested] if kept else told["requested"].items()
    name, amount = reducing.requested or before
    found = pca.groups(rows)
    for _ in work.map(
        "pca", pca.measure_group, found, store.files.absolute(), images=lambda group: group.rows
    ):
        pass
    solved = solve(pca.merge_groups(store, found), (name, amount))
    projection = dataclasses.replace(solved, last_part=max(rows))
    if name == "components" and projection.k < amount:
        work.progress.warn(
            f"{amount:,} components asked, {projection.k:,} made: "
            f"{total:,} images of width {len(projection.mean):,} allow no more"
        )
    pca.save(store, projection)
    return projection
