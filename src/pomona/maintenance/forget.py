"""Forget: removes every trace of images from a store.

The list of paths to forget is written first and removed last. So the same command finishes one that
was stopped, and until then other commands that write refuse the store. The plan changes after the
parts: until it has, it says which parts are affected.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pomona.errors import StoreDamagedError, StoreError, UsageError
from pomona.extraction.parts import TABLES, is_extracted
from pomona.pipeline.context import RunContext, RunSettings, open_run
from pomona.pipeline.finish import Summary, finish
from pomona.pipeline.reduce import reduce_features
from pomona.pipeline.settings import ReduceSettings
from pomona.progress import count
from pomona.reduction.measure import MOMENTS
from pomona.store import feedback
from pomona.store.folders.base import Folder
from pomona.store.layout import (
    CLASSIFIER,
    CLASSIFIER_FOLDER,
    EVALUATION_THUMBNAILS,
    FORGETTING,
    MANIFEST,
    MODELS_FOLDER,
    PLAN,
    PROJECTION,
    SEARCH_FOLDER,
    derived_files,
    part_name,
)
from pomona.store.plan import shards
from pomona.store.schemas import decode_path, encode_path
from pomona.store.store import Store

PATHS_NAMED = 3


def forget(
    out: str | Path, paths: Collection[str], settings: RunSettings, *, keep_projection: bool = False
) -> Summary:
    """Removes images from features, pca, CSV, metadata, errors, plan, feedback and report.

    Parameters
    ----------
    out : str or Path
        The store.
    paths : collection of str
        The images' paths as in the tables. None at all: finish a forget that was stopped.
    settings : RunSettings
        How the command runs.
    keep_projection : bool
        Whether to keep the projection, though the forgotten images influenced its components.
        Else it is fitted again on the images that remain.

    Raises
    ------
    StoreError
        If the store does not hold one of the paths; nothing is changed then.
    """
    store = Store(out, settings.access)
    manifest, recipe = store.manifest, store.recipe
    words = ["pomona", "forget", str(out), *(["--keep-projection"] if keep_projection else [])]
    number = f" ({count(len(paths), 'path')})" if paths else ""
    settings = dataclasses.replace(settings, command=shlex.join(words) + number)
    with open_run(store, settings, finishes_forget=True) as context:
        store = context.store
        before = store.plan()
        begun, digests, keeps = _begun(store)
        keep_projection |= keeps
        done = {shard.part for shard in shards(before) if is_extracted(store, shard, recipe)}
        given = {_spelled(path) for path in paths}
        _check_known(store, given - begun, before, done)
        wanted = given | begun
        if not wanted:
            raise UsageError("give at least one path (no unfinished forget to resume)")
        digests |= _digests(store, wanted, before)
        begun_now = {"paths": sorted(wanted), "sha256": sorted(digests)}
        store.write_json(FORGETTING, {**begun_now, "keep_projection": keep_projection})
        plan = before.filter(pc.invert(pc.is_in(before["path"], pa.array(wanted, pa.string()))))
        todo = list(_erasures(before, plan, wanted, done))
        for _ in context.map(
            "forget", drop_rows, todo, store.files.absolute(), images=lambda item: item.rows
        ):
            pass
        store.write_table(PLAN, plan)
        store.remove_orphans(plan)
        store.files.delete(SEARCH_FOLDER)
        _forget_feedback(context, digests)
        csv = None
        if manifest["csv"] is not None or store.files.exists(PROJECTION):
            reducing = ReduceSettings(refit=not keep_projection, keep_projection=keep_projection)
            csv = reduce_features(context, plan, reducing)
        return _finish(context, wanted, manifest["source"], plan, csv)


def _finish(
    context: RunContext, wanted: set[str], source: str, plan: pa.Table, csv: bool | None
) -> Summary:
    """Removes the last traces, and records how many images were forgotten."""
    store = context.store
    store.files.delete(MOMENTS, EVALUATION_THUMBNAILS)
    if store.files.exists(CLASSIFIER):
        context.progress.note(
            "The classifier has learned from images of this store, forgotten ones perhaps among "
            f"them: it is removed; train another with `pomona train {store.files}`."
        )
    store.files.delete(CLASSIFIER_FOLDER, MODELS_FOLDER)
    manifest = store.manifest
    for entry in manifest["runs"]:
        entry["command"] = _without(entry["command"], wanted)
    store.write_json(MANIFEST, manifest)
    context.has_changes = True
    summary = finish(context, source, store.recipe, plan, csv=csv, forgotten=len(wanted))
    store.files.delete(FORGETTING)
    subject, them = ("it is", "it") if len(wanted) == 1 else ("they are", "them")
    context.progress.note(
        f"Forgot {count(len(wanted), 'image')}. If {subject} still in {source}, the next "
        f"`pomona run` adds {them} again; delete {them} there too."
    )
    return summary


def _forget_feedback(context: RunContext, digests: set[str]) -> None:
    """Removes what users have said of images."""
    photographs = feedback.erase(context.store, digests)
    if kept := sum(path is not None for path in photographs):
        context.progress.note(
            f"Of {count(kept, 'entry', 'entries')} of feedback that {'is' if kept == 1 else 'are'} "
            "forgotten, the photograph was kept outside the store: delete it there too."
        )


def _digests(store: Store, paths: set[str], plan: pa.Table) -> set[str]:
    """The SHA-256 of images, as long as a table has them."""
    wanted = pa.array(paths, pa.string())
    concerned = plan.filter(pc.is_in(plan["path"], wanted))["part"].unique().to_pylist()
    others = set(plan["part"].unique().to_pylist()) - set(concerned)
    found: set[str] = set()
    for table in ("metadata", "features"):
        for name in set(store.part_names(table)) - {part_name(table, part) for part in others}:
            with contextlib.suppress(StoreDamagedError):  # reported where its rows are removed
                rows = store.read_table(name, ["path", "sha256"])
                own = rows.filter(pc.is_in(rows["path"], wanted))["sha256"]
                found.update(pc.drop_null(own).to_pylist())
    return found


def _begun(store: Store) -> tuple[set[str], set[str], bool]:
    """Paths and digests of a forget that was stopped, and whether it keeps the projection."""
    try:
        begun = json.loads(store.files.read(FORGETTING))
        return set(begun["paths"]), set(begun.get("sha256", ())), bool(begun["keep_projection"])
    except FileNotFoundError:
        return set(), set(), False
    except (ValueError, TypeError, KeyError) as exc:
        raise StoreError(
            f"{store.files}/{FORGETTING} is damaged: delete it and forget the same images again"
        ) from exc


def _spelled(path: str) -> str:
    """The path as the tables spell it; a name that is not UTF-8 may come as its raw bytes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return encode_path(path)
    return path


def _check_known(store: Store, paths: set[str], plan: pa.Table, done: set[int]) -> None:
    known = plan["path"].filter(pc.is_in(plan["path"], pa.array(paths, pa.string())))
    unknown = paths - set(known.to_pylist())
    # Parts that no run has brought to the plan yet may hold images that the plan no longer has.
    held = {part_name(table, part) for part in done for table in TABLES}
    for table in TABLES if unknown else ():
        for name in set(store.part_names(table)) - held:
            unknown -= set(store.read_table(name, ["path"])["path"].to_pylist())
    if unknown:
        named = ", ".join(repr(path) for path in sorted(unknown)[:PATHS_NAMED])
        more = f" and {len(unknown) - PATHS_NAMED:,} more" if len(unknown) > PATHS_NAMED else ""
        raise StoreError(
            f"{store.files} does not hold {named}{more}: give paths as in metadata/; "
            "nothing was changed"
        )


@dataclass(frozen=True)
class Erasure:
    """The images to remove from a part.

    Attributes
    ----------
    part : int
        The part.
    paths : frozenset of str
        All paths to forget, of this part or others.
    before, after : str
        The part's generation with and without them.
    rows : int
        How many images remain.
    """

    part: int
    paths: frozenset[str]
    before: str
    after: str
    rows: int


def _erasures(
    before: pa.Table, plan: pa.Table, wanted: set[str], done: set[int]
) -> Iterator[Erasure]:
    """One for each affected part that keeps images; the others lose all their files."""
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
    """Removes rows from a part's files; metadata/ comes last, since a lost plan is rebuilt from it.

    A file of the generation before gets the generation after; any other keeps its own.
    """
    store = Store(files)
    predictions = part_name("predictions", item.part)
    store.files.delete(*(name for name in derived_files(item.part) if name != predictions))
    for name in (predictions, *(part_name(table, item.part) for table in reversed(TABLES))):
        if not store.files.exists(name):
            continue
        try:
            rows, footer = store.read_with_footer(name)
        except StoreDamagedError:
            if name != predictions:
                raise
            store.files.delete(name)  # `pomona predict` writes it again
            continue
        stays = [path not in item.paths for path in rows["path"].to_pylist()]
        kept = rows.filter(pa.array(stays, pa.bool_()))
        if footer.get("generation") == item.before:
            footer["generation"] = item.after
        store.write_table(name, kept.combine_chunks(), footer)


def _without(command: str, paths: set[str]) -> str:
    """The command without the paths, however a shell or Python quotes them."""
    # The longest first: one path may be part of another.
    for path in sorted(paths, key=len, reverse=True):
        for name in {path, decode_path(path)}:
            for spelling in (name, name.replace("'", "'\"'\"'"), repr(name)[1:-1]):
                command = command.replace(spelling, "(forgotten)")
    return command
