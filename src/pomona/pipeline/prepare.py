"""The job of a run: found, and checked against the store, before anything is written."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pomona.backbones import precision, registry
from pomona.backbones.network import Network
from pomona.backbones.runtimes.base import AUTO, DEFAULT_PRECISION
from pomona.engines.base import Engine
from pomona.errors import EngineError, StoreError
from pomona.extraction.recipe import make_recipe
from pomona.images.catalog import find_images
from pomona.images.changes import Changes, relabels
from pomona.images.folders import FolderRules
from pomona.images.sources.base import Source
from pomona.images.sources.registry import open_source
from pomona.pipeline.context import RunSettings
from pomona.pipeline.settings import ExtractSettings
from pomona.store.recipe import Recipe
from pomona.store.store import Store


@dataclass(frozen=True)
class Job:
    """What a run is to do.

    Attributes
    ----------
    store : Store
        The store as it is, to be read.
    images : Source
        Where the images are read.
    catalog : pyarrow.Table
        The images, of schema `schemas.CATALOG`.
    extracting : ExtractSettings
        As the user gave them.
    network : Network
        What the images run through.
    recipe : Recipe
        What decides their features.
    scan_seconds : float
        How long it took to find the images.
    known : pyarrow.Table, optional
        The images that the catalog takes as they were known; None: the whole source was looked at.
    """

    store: Store
    images: Source
    catalog: pa.Table
    extracting: ExtractSettings
    network: Network
    recipe: Recipe
    scan_seconds: float
    known: pa.Table | None = None

    @property
    def source(self) -> str:
        """The source's name in the manifest."""
        return str(self.images)


def prepare(out: str | Path, extracting: ExtractSettings, settings: RunSettings) -> Job:
    """Scans the source, loads the network, and checks that both fit the store.

    Raises
    ------
    UsageError, BackboneError, SourceError, StoreError
        If one of them cannot be used, or does not fit the store.
    EngineError
        If the network is too large for the engine.
    """
    start = time.perf_counter()
    store = Store(out, settings.access)
    is_new = store.is_new()
    backbone = registry.get(extracting.backbone, extracting.overrides)
    if backbone.note:
        settings.progress.note(backbone.note)
    images = open_source(extracting.source, settings.access)
    changes = None if is_new else _changes(store, str(images.absolute()), settings)
    find = partial(
        find_images,
        images,
        settings.progress,
        include=extracting.include,
        exclude=extracting.exclude,
        labels=extracting.labels,
        folders=_folder_rules(store, extracting, is_new=is_new),
        limit=extracting.limit,
        seed=extracting.seed,
        sync=extracting.sync,
    )
    catalog = find(changes=changes)
    if changes is not None and relabels(catalog, changes.known):
        changes, catalog = None, find()
    seconds = time.perf_counter() - start
    network = precision.load(
        backbone, extracting.runtime, _precision(extracting, None if is_new else store.recipe)
    )
    _check_engine(settings.engine, network)
    recipe = make_recipe(backbone, network, extracting.fit)
    images = images.absolute()
    if not is_new:
        check_fits(store, recipe, str(images), catalog)
    known = None if changes is None else changes.known
    return Job(store, images, catalog, extracting, network, recipe, seconds, known)


def _changes(store: Store, source: str, settings: RunSettings) -> Changes | None:
    """What a round is to look at; None: at the whole source, as where it is another one."""
    if settings.round is None or settings.round.names is None:
        return None
    if store.manifest["source"] != source:
        return None
    return Changes(store.plan().drop_columns(["part"]), settings.round.names)


def _precision(extracting: ExtractSettings, made: Recipe | None) -> str:
    """What the user chose; with auto, a store stays with the precision that it was begun in."""
    if extracting.precision == AUTO and made is not None:
        return made.precision or DEFAULT_PRECISION
    return extracting.precision


def _folder_rules(store: Store, extracting: ExtractSettings, *, is_new: bool) -> FolderRules | None:
    """How folders become labels: in a store that an earlier version began, as there."""
    rules = extracting.folders
    is_old = not is_new and store.manifest.get("folders") is None
    return None if is_old and rules.is_default else rules


def _check_engine(engine: Engine, network: Network) -> None:
    limit = engine.max_payload_bytes
    if limit is not None and len(network.model) > limit:
        raise EngineError(
            f"{network.backbone} is {len(network.model):,} bytes, {engine.name} can send "
            f"{limit:,} to its workers: choose a smaller network, or `engine` local"
        )
    if engine.runs_here:  # of another engine's machines only its workers can tell
        network.runtime.check_machine(network.precision)


def check_fits(store: Store, recipe: Recipe, source: str, catalog: pa.Table) -> None:
    """Raises StoreError for a store of another recipe, or of another source.

    A source may have moved: then most of the images that both know have the same size.
    """
    manifest, made = store.manifest, store.recipe
    if made.digest != manifest["recipe"]["digest"] or made != recipe:
        differences = "; ".join(made.differences(recipe)) or "it was made by a later version"
        raise StoreError(
            f"{store.files} was made by another recipe ({differences}): "
            "use the settings that made it, or choose another folder"
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
