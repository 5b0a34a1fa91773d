"""Forget: takes every trace of images out of a store.

What is to be forgotten is written down first and removed last, so that the same command finishes
what was stopped, and other commands that write refuse the store until then. The plan changes after
the parts: until it has, it says which of them are concerned.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pomona.errors import StoreError, UsageError
from pomona.extraction.parts import TABLES, is_extracted
from pomona.pipeline.context import RunContext, RunSettings, open_run
from pomona.pipeline.finish import Summary, finish
from pomona.pipeline.reduce import reduce_features
from pomona.pipeline.settings import ReduceSettings
from pomona.reduction.measure import MOMENTS
from pomona.store.folders.base import Folder
from pomona.store.layout import (
    FORGETTING,
    MANIFEST,
    PLAN,
    PROJECTION,
    derived_files,
    part_name,
    provenance,
)
from pomona.store.plan import shards
from pomona.store.schemas import decode_path, encode_path
from pomona.store.store import Store

PATHS_NAMED = 3


def forget(
    out: str | Path, paths: Collection[str], settings: RunSettings, *, keep_projection: bool = False
) -> Summary:
    """Takes images out of features, pca, CSV, metadata, errors, plan and report.

    paths: as they stand in the tables; none where a forget that was stopped is to be finished.
    The projection is fitted anew from what remains, or kept though they had a share in it.
    Raises StoreError for paths that the store does not hold, before anything is changed.
    """
    store = Store(out, settings.access)
    manifest, recipe = store.manifest, store.recipe
    words = ["pomona", "forget", str(out), *(["--keep-projection"] if keep_projection else [])]
    count = f" ({len(paths):,} paths)" if paths else ""
    settings = dataclasses.replace(settings, command=shlex.join(words) + count)
    with open_run(store, settings, finishes_forget=True) as context:
        store = context.store
        before = store.plan()
        begun, keeps = _begun(store)
        keep_projection |= keeps
        done = {shard.part for shard in shards(before) if is_extracted(store, shard, recipe)}
        given = {_spelled(path) for path in paths}
        _check_known(store, given - begun, before, done)
        wanted = given | begun
        if not wanted:
            raise UsageError("no path is given, and no forget of this store was stopped: give some")
        store.write_json(FORGETTING, {"paths": sorted(wanted), "keep_projection": keep_projection})
        plan = before.filter(pc.invert(pc.is_in(before["path"], pa.array(wanted, pa.string()))))
        todo = list(_erasures(before, plan, wanted, done))
        for _ in context.map(
            "forget", drop_rows, todo, store.files.absolute(), images=lambda item: item.rows
        ):
            pass
        store.write_table(PLAN, plan)
        store.remove_orphans(plan)
        csv = None
        if manifest["csv"] is not None or store.files.exists(PROJECTION):
            reducing = ReduceSettings(refit=not keep_projection, keep_projection=keep_projection)
            csv = reduce_features(context, plan, reducing)
        return _finish(context, wanted, manifest["source"], plan, csv)


def _finish(
    context: RunContext, wanted: set[str], source: str, plan: pa.Table, csv: bool | None
) -> Summary:
    """Takes the last traces away and tells how many images were forgotten."""
    store = context.store
    store.files.delete(MOMENTS)
    manifest = store.manifest
    for entry in manifest["runs"]:
        entry["command"] = _without(entry["command"], wanted)
    store.write_json(MANIFEST, manifest)
    context.has_changes = True
    summary = finish(context, source, store.recipe, plan, csv=csv, forgotten=len(wanted))
    store.files.delete(FORGETTING)
    context.progress.note(
        f"{len(wanted):,} images are forgotten; what {source} still holds of them, the next "
        "`pomona run` takes in again: remove them there too"
    )
    return summary


def _begun(store: Store) -> tuple[set[str], bool]:
    """What a forget that was stopped was to forget, and whether it keeps the projection."""
    try:
        begun = json.loads(store.files.read(FORGETTING))
        return set(begun["paths"]), bool(begun["keep_projection"])
    except FileNotFoundError:
        return set(), False
    except (ValueError, TypeError, KeyError) as exc:
        raise StoreError(
            f"{store.files}/{FORGETTING} is damaged: delete it and forget the same images again"
        ) from exc


def _spelled(path: str) -> str:
    """As the tables spell it; of a name that is no UTF-8 its raw bytes may have been given."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return encode_path(path)
    return path


def _check_known(store: Store, paths: set[str], plan: pa.Table, done: set[int]) -> None:
    known = plan["path"].filter(pc.is_in(plan["path"], pa.array(paths, pa.string())))
    unknown = paths - set(known.to_pylist())
    # Parts that no run has brought to the plan yet may hold images that the plan has no more.
    held = {part_name(table, part) for part in done for table in TABLES}
    for table in TABLES if unknown else ():
        for name in set(store.part_names(table)) - held:
            unknown -= set(store.read_table(name, ["path"])["path"].to_pylist())
    if unknown:
        named = ", ".join(repr(path) for path in sorted(unknown)[:PATHS_NAMED])
        more = f" and {len(unknown) - PATHS_NAMED:,} more" if len(unknown) > PATHS_NAMED else ""
        raise StoreError(
            f"{store.files} holds no {named}{more}: give paths as they stand in metadata/; "
            "nothing was changed"
        )


@dataclass(frozen=True)
class Erasure:
    """What is taken out of a part.

    before, after: its generation with and without these paths; rows: how many images remain.
    """

    part: int
    paths: frozenset[str]
    before: str
    after: str
    rows: int


def _erasures(
    before: pa.Table, plan: pa.Table, wanted: set[str], done: set[int]
) -> Iterator[Erasure]:
    """One for each part concerned that keeps images; the others go with all their files."""
    concerned = before.filter(pc.is_in(before["path"], pa.array(wanted, pa.string())))["part"]
    unfinished = set(before["part"].unique().to_pylist()) - done
    parts = pa.array({*concerned.to_pylist(), *unfinished}, pa.int32())
    old, new = (table.filter(pc.is_in(table["part"], parts)) for table in (before, plan))
    generations = {shard.part: shard.generation for shard in shards(old)}
    for shard in shards(new):
        yield Erasure(
            shard.part,
            frozenset(wanted),
            generations[shard.part],
            shard.generation,
            shard.images.num_rows,
        )


def drop_rows(item: Erasure, files: Folder, attempt: int = 1) -> None:
    """Takes rows out of a part's files; metadata/ comes last, a lost plan is made again of it.

    A file of the generation before is then of the one after; what was not done stays not done.
    """
    store = Store(files)
    store.files.delete(*derived_files(item.part))
    for table in reversed(TABLES):
        name = part_name(table, item.part)
        if not store.files.exists(name):
            continue
        rows, footer = store.read_table(name), provenance(store.footer(name))
        stays = [path not in item.paths for path in rows["path"].to_pylist()]
        kept = rows.filter(pa.array(stays, pa.bool_()))
        if footer["generation"] == item.before:
            footer["generation"] = item.after
        store.write_table(name, kept.combine_chunks(), footer)


def _without(command: str, paths: set[str]) -> str:
    """A command that names none of the paths, however a shell or Python writes them."""
    # The longest first, for a path may end as another one does.
    for path in sorted(paths, key=len, reverse=True):
        for name in {path, decode_path(path)}:
            for spelling in (name, name.replace("'", "'\"'\"'"), repr(name)[1:-1]):
                command = command.replace(spelling, "(forgotten)")
    return command
