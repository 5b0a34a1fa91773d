"""Verify: proves that a store is complete and undamaged, or lists its faults."""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from pomona.errors import StoreDamagedError, StoreError
from pomona.images.sources.base import Source
from pomona.images.sources.registry import open_source
from pomona.maintenance.verify_beside import check_feedback, check_models, check_search
from pomona.maintenance.verify_part import REDO, RUN, Finding, VerifyTask, check_part
from pomona.pca.projection import Projection
from pomona.pipeline.context import RunSettings, run_tasks
from pomona.progress import count
from pomona.reduction.measure import MOMENTS
from pomona.reduction.model import MODEL_INFO, VARIANCE
from pomona.store import classifier, schemas
from pomona.store.layout import (
    CLASSIFIER,
    CLASSIFIER_FOLDER,
    CLASSIFIER_NEXT,
    FOLDERS,
    FORGETTING,
    MANIFEST,
    PLAN,
    PROJECTION,
    REPORT,
    TEMPORARIES,
    THUMBNAILS,
    part_name,
)
from pomona.store.plan import Shard, label_count, shards
from pomona.store.recipe import Recipe
from pomona.store.store import Store

REDO_INFO = f"delete {MODEL_INFO} and `pomona reduce` the store"
REFIT = "restore it from a copy, or fit another with `pomona reduce --refit`"


@dataclass(frozen=True)
class Verdict:
    """What a store holds, and what is wrong with it. Without faults, it is complete.

    Attributes
    ----------
    components : int, optional
        Components of the PCA, if there is one.
    gone : int, optional
        Images that the source no longer has. None: no source was given.
    findings : list of Finding
        What is wrong.
    """

    store: str
    images: int
    features: int
    errors: int
    parts: int
    components: int | None
    gone: int | None
    findings: list[Finding]

    def in_words(self) -> str:
        """One line if the store is complete, else one for each fault."""
        if self.findings:
            return "\n".join(map(str, self.findings))
        facts = [f"OK: {count(self.images, 'image')}", count(self.features, "feature")]
        facts += [count(self.errors, "error"), count(self.parts, "part")]
        facts += [count(self.components, "component")] if self.components else []
        facts += [f"{self.gone:,} of them no longer in the source"] if self.gone else []
        return ", ".join(facts)


def verify(out: str | Path, settings: RunSettings, source: str | Path | None = None) -> Verdict:
    """Reads all of a store, and all of its images if a source is given. Writes nothing.

    Parameters
    ----------
    out : str or Path
        The store.
    settings : RunSettings
        How the command runs.
    source : str or Path, optional
        Where the images are, to compare them too.

    Raises
    ------
    StoreBusyError
        If a command is at work on the store.
    StoreError
        If too little of it can be read to check the rest.
    SourceError
        If the source cannot be read.
    """
    store = Store(out, settings.access)
    images = None if source is None else open_source(source, settings.access)
    with store.shared_lock(), settings.engine:
        manifest, recipe = store.manifest, store.recipe
        findings = list(_check_recipe(manifest, recipe))
        plan = _read_plan(store, findings)
        projection, is_damaged = _read_projection(store, findings)
        findings += _check_projection(store, manifest, projection, is_damaged)
        findings += _check_classifier(store, projection)
        findings += check_models(store)
        findings += check_search(store)
        findings += check_feedback(store)
        findings += _check_names(store, plan, manifest["csv"], projection is not None or is_damaged)
        gone = None if images is None else _check_source(images, plan, findings)
        where = None if images is None else images.absolute()
        parts = list(shards(plan))
        csv = manifest["csv"] is True
        payload = VerifyTask(
            store.files.absolute(), recipe, projection, csv, manifest.get("predictions"), where
        )
        totals = {"images": plan.num_rows, "features": 0, "errors": 0, "labels": label_count(plan)}
        findings += _check_parts(settings, parts, payload, totals)
    if manifest["totals"] != totals:
        findings.append(Finding(MANIFEST, "its totals do not match the tables", RUN))
    return Verdict(
        store=str(store.files),
        images=plan.num_rows,
        features=totals["features"],
        errors=totals["errors"],
        parts=len(parts),
        components=projection.k if projection else None,
        gone=gone,
        findings=findings,
    )


def _check_parts(
    settings: RunSettings, parts: list[Shard], payload: VerifyTask, totals: dict[str, int]
) -> list[Finding]:
    """Checks each part by a task; adds its rows to the totals."""
    findings: dict[int, list[Finding]] = {}
    for shard, checked in run_tasks(
        settings, "verify", check_part, parts, payload, images=lambda shard: shard.images.num_rows
    ):
        findings[shard.part] = checked.findings
        totals["features"] += checked.features
        totals["errors"] += checked.errors
    return [finding for part in sorted(findings) for finding in findings[part]]


def _check_recipe(manifest: dict[str, Any], recipe: Recipe) -> Iterator[Finding]:
    if manifest["recipe"].get("digest") != recipe.digest:
        yield Finding(MANIFEST, "its recipe is not that of its digest", "restore it from a copy")


def _read_plan(store: Store, findings: list[Finding]) -> pa.Table:
    """The plan, or where it cannot be used what metadata/ makes of it. Raises StoreError."""
    try:
        plan = store.read_table(PLAN)
        if not plan.schema.equals(schemas.PLAN):
            findings.append(Finding(PLAN, "has other columns than it should", REDO))
            plan = store.plan_of_metadata()
    except FileNotFoundError:
        findings.append(Finding(PLAN, "is missing", RUN))
        plan = store.plan_of_metadata()
    except StoreDamagedError:
        findings.append(Finding(PLAN, "is damaged", RUN))
        plan = store.plan_of_metadata()
    twice = plan.num_rows - pc.count_distinct(plan["path"]).as_py()
    if twice:
        remedy = "delete the later ones of the parts that hold it twice, and " + RUN
        findings.append(Finding(PLAN, f"lists {count(twice, 'image')} twice", remedy))
    if not plan.equals(plan.sort_by([("part", "ascending"), ("path", "ascending")])):
        findings.append(Finding(PLAN, "is not in order", REDO))
        plan = plan.sort_by([("part", "ascending"), ("path", "ascending")])
    return plan


def _read_projection(store: Store, findings: list[Finding]) -> tuple[Projection | None, bool]:
    """The projection, or None where there is none; and whether it is damaged."""
    try:
        projection = store.find_projection()
        if projection is None:
            return None, False
        with np.load(io.BytesIO(store.files.read(PROJECTION)), allow_pickle=False) as arrays:
            if str(arrays["id"]) == projection.id:
                return projection, False
    except StoreDamagedError:
        pass
    findings.append(Finding(PROJECTION, "is damaged", REFIT))
    return None, True


def _check_projection(
    store: Store, manifest: dict[str, Any], projection: Projection | None, is_damaged: bool
) -> Iterator[Finding]:
    recorded = manifest["pca"]
    if projection is None:
        if recorded and not is_damaged:
            yield Finding(PROJECTION, "is missing", REFIT)
        return
    if not _is_recorded(recorded, projection):
        yield Finding(PROJECTION, f"is not the one that {MANIFEST} tells of", REFIT)
    try:
        info = json.loads(store.files.read(MODEL_INFO))
        is_right = _is_recorded(info["pca"], projection) and info["recipe"] == manifest["recipe"]
    except (OSError, ValueError, TypeError, KeyError):
        is_right = False
    tells = "does not tell of the projection beside it"
    if not is_right:
        yield Finding(MODEL_INFO, tells, REDO_INFO)
    elif not _is_variance(store, projection):
        yield Finding(VARIANCE, tells, REDO_INFO)


def _is_variance(store: Store, projection: Projection) -> bool:
    """Whether variance.csv has the projection's shares, but for their last bits."""
    try:
        table = pyarrow.csv.read_csv(pa.BufferReader(store.files.read(VARIANCE)))
        columns = [table[name].to_numpy() for name in table.column_names]
        explained = projection.explained[: projection.k]
        wanted = [np.arange(1, projection.k + 1), explained, np.cumsum(explained)]
        return all(np.allclose(*pair, rtol=1e-9) for pair in zip(columns, wanted, strict=True))
    except (FileNotFoundError, pa.ArrowException, ValueError, TypeError):
        return False


def _is_recorded(recorded: Any, projection: Projection) -> bool:
    """Whether a summary is the projection's, but for the last bits of its share of variance."""
    if not isinstance(recorded, dict):
        return False
    summary = projection.summary()
    share = summary.pop("variance_explained")
    said = {name: recorded.get(name) for name in summary}
    return said == summary and math.isclose(
        recorded.get("variance_explained", -1), share, rel_tol=1e-9
    )


def _check_classifier(store: Store, projection: Projection | None) -> Iterator[Finding]:
    """Holds the files of the classifier against their digests, and its projection against ours."""
    anew = "`pomona train` the store"
    try:
        facts = classifier.read_facts(store.files)
    except StoreDamagedError:
        yield Finding(CLASSIFIER, "is damaged", anew)
        return
    except StoreError:
        yield Finding(CLASSIFIER, "is of a later version of pomona", "upgrade pomona")
        return
    if facts is None:
        for name in store.files.names(CLASSIFIER_FOLDER):
            yield Finding(name, "is left of a command that was stopped", anew)
        return
    for name in facts["files"]:
        try:
            classifier.read_file(store.files, facts, name)
        except StoreDamagedError:
            yield Finding(name, "is missing or damaged", anew)
    for name in store.files.names(CLASSIFIER_NEXT):
        yield Finding(name, "is left of a command that was stopped", anew)
    if facts["on"] == "pca" and (projection is None or facts["projection"] != projection.id):
        yield Finding(CLASSIFIER, "stands on another projection than the store's", anew)


def _check_names(
    store: Store, plan: pa.Table, csv: bool | None, has_pca: bool
) -> Iterator[Finding]:
    """Looks for files that readers would take for a part's, and for what a dead run left."""
    parts = plan["part"].unique().to_pylist()
    for folder, suffix in FOLDERS.items():
        is_wanted = (has_pca or "pca" not in folder) and (csv is True or "csv/" not in folder)
        known = {part_name(folder, part, suffix) for part in parts} if is_wanted else set()
        for name in store.files.names(folder):
            # Readers of the folder leave names alone that begin so.
            if name not in known and not name.removeprefix(f"{folder}/").startswith((".", "_")):
                yield Finding(name, "is of no part that the store has", "remove it")
    for folder in (TEMPORARIES, MOMENTS):
        for name in store.files.names(folder):
            yield Finding(name, "is left of a command that was stopped", "run that command again")
    if store.files.exists(FORGETTING):
        yield Finding(
            FORGETTING, "is left of a forget that was stopped", "`pomona forget` the store"
        )
    anew = "`pomona report` the store"
    if not store.files.exists(REPORT):
        yield Finding(REPORT, "is missing", anew)
    elif not store.files.read(REPORT).rstrip().endswith(b"</html>"):
        yield Finding(REPORT, "is cut off", anew)
    with contextlib.suppress(FileNotFoundError):
        try:
            store.read_table(THUMBNAILS)
        except StoreDamagedError:
            yield Finding(THUMBNAILS, "is damaged", anew)


def _check_source(source: Source, plan: pa.Table, findings: list[Finding]) -> int:
    """Holds the names of a source's images against the plan's; returns how many are gone."""
    found = source.scan()
    for folder in found.unlisted:
        findings.append(Finding(folder, "cannot be listed", "ask for the right to list it"))
    paths = found.catalog["path"]
    known = pc.sum(pc.is_in(paths, value_set=plan["path"])).as_py() or 0
    if known < len(paths):
        what = f"lacks {count(len(paths) - known, 'image')} of {source}"
        findings.append(Finding(PLAN, what, RUN))
    return int(plan.num_rows - known)
