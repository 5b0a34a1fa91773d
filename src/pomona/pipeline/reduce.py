"""The second half: the store's model_info/, pca/ and csv/ follow its features."""

from __future__ import annotations

import dataclasses

import pyarrow as pa

from pomona.pca.moments import solve
from pomona.pca.projection import Projection
from pomona.pipeline.bundling import in_tasks
from pomona.pipeline.context import RunContext
from pomona.pipeline.settings import DEFAULT_VARIANCE, ReduceSettings
from pomona.progress import count
from pomona.reduction import measure, model
from pomona.reduction.project import ProjectTask, is_projected, project


def reduce_features(context: RunContext, plan: pa.Table, reducing: ReduceSettings) -> bool:
    """Brings model_info/, pca/ and csv/ to the state of features/.

    Returns
    -------
    bool
        Whether the store has CSV files now.
    """
    store = context.store
    as_before = store.manifest["csv"] is not False
    csv = as_before if reducing.csv is None else reducing.csv
    rows = store.rows_by_part("features", plan)
    with context.watch.timed("pca"):
        projection = _fit(context, rows, reducing)
        if projection:
            model.describe(store, projection)
    if not csv:
        store.files.delete("csv")
    with context.watch.timed("project"):
        payload = ProjectTask(store.files.absolute(), projection, csv)
        done = store.map_concurrent(lambda part: is_projected(store, part, payload), rows)
        todo = [part for part, is_done in zip(rows, done, strict=True) if not is_done]
        for _ in context.map(
            "project",
            project,
            in_tasks(context, todo, rows.__getitem__),
            payload,
            images=lambda parts: sum(map(rows.__getitem__, parts)),
        ):
            pass
    return csv


def _fit(context: RunContext, rows: dict[int, int], reducing: ReduceSettings) -> Projection | None:
    """The store's projection, fitted again if it must be. None if there are too few features."""
    store, total = context.store, sum(rows.values())
    recorded = store.manifest["pca"] or {"requested": {"variance": DEFAULT_VARIANCE}}
    kept = None if reducing.refit else store.find_projection()
    keep = reducing.keep_projection
    reason = model.refit_reason(kept, total, reducing.requested, keep=keep)
    if reason is None:
        return kept
    if total < 2:
        context.progress.warn(
            f"no PCA: it needs the features of at least 2 images, there are {total}"
        )
        model.save(store, None)
        return None
    if kept:
        context.progress.note(f"refitting the PCA: {reason}")
    [before] = [kept.requested] if kept else recorded["requested"].items()
    name, amount = reducing.requested or before
    groups = measure.groups(rows)
    for _ in context.map(
        "pca",
        measure.measure_group,
        groups,
        store.files.absolute(),
        images=lambda group: group.rows,
    ):
        pass
    solved = solve(measure.merge_groups(store, groups), (name, amount))
    projection = dataclasses.replace(solved, last_part=max(rows))
    if name == "components" and projection.k < amount:
        context.progress.warn(
            f"{count(int(amount), 'component')} requested, {projection.k:,} made: "
            f"{count(total, 'image')} of width {len(projection.mean):,} allow no more"
        )
    model.save(store, projection)
    return projection
