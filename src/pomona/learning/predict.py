"""Predict: many images become a store of their own, with the labels of a classifier.

By the steps of any run, and one more: features/ ──predict──▶ predictions/.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pomona.backbones.overrides import ModelOverrides
from pomona.backbones.runtimes import registry as runtimes
from pomona.backbones.runtimes.base import DEFAULT_PRECISION
from pomona.errors import BackboneError, UsageError
from pomona.extraction.featurize import load_network
from pomona.images.sources.registry import is_image_file
from pomona.learning.predictions import (
    TOP,
    UNSURE,
    Predictor,
    PredictTask,
    is_predicted,
    predict,
)
from pomona.pipeline.bundling import in_tasks
from pomona.pipeline.context import RunContext, RunSettings, open_run
from pomona.pipeline.extract import extract_features
from pomona.pipeline.finish import Summary, finish
from pomona.pipeline.prepare import prepare
from pomona.pipeline.settings import ExtractSettings
from pomona.store.layout import MANIFEST
from pomona.store.recipe import Recipe
from pomona.store.store import Store


@dataclass(frozen=True)
class Tally:
    """What predictions/ of a store says in all.

    Attributes
    ----------
    labels : dict
        How many images have each label, the most frequent one first.
    unsure : int
        How many images are unsure.
    """

    labels: dict[str, int]
    unsure: int


def predict_into(
    store: str | Path,
    out: str | Path,
    extracting: ExtractSettings,
    settings: RunSettings,
    *,
    top: int = TOP,
    unsure: float = UNSURE,
) -> tuple[Summary, Tally]:
    """Makes a store of images, with the features of another store and the labels of its classifier.

    What is done is kept after a stop, and the same call does the rest. With another classifier,
    predictions/ is made again, without the network.

    Parameters
    ----------
    store : str or Path
        The store with the classifier.
    out : str or Path
        The store to make.
    extracting : ExtractSettings
        Which images; how they become features is the first store's to say.
    settings : RunSettings
        How the command runs.
    top, unsure
        As `Predictor` takes them.

    Returns
    -------
    summary : Summary
        What was done.
    tally : Tally
        What `out` says now.

    Raises
    ------
    UsageError
        If both stores are the same, or for a value that cannot be.
    StoreError, BackboneError
        If the classifier or its network cannot be used, or `out` was made by another recipe.
    """
    trained = Store(store, settings.access)
    predictor = Predictor.read(trained, top=top, unsure=unsure)
    recipe = trained.recipe
    load_network(recipe)  # says how to get what is missing
    _check_places(trained, Store(out, settings.access), extracting.source)
    job = prepare(out, _with_recipe(extracting, recipe), settings)
    if job.recipe != recipe:
        differences = "; ".join(recipe.differences(job.recipe))
        raise BackboneError(
            f"the features of {store} cannot be made here ({differences}): "
            "use the version of pomona that made them"
        )
    with open_run(job.store, settings) as context:
        plan, extracted = extract_features(context, job)
        _predict(context, plan, predictor)
        summary = finish(context, job.source, recipe, plan, extracted=extracted)
        return summary, _tally(context.store)


def _check_places(trained: Store, out: Store, images: str | Path) -> None:
    """Raises UsageError for a single file, and for results that would go into their own source."""
    if is_image_file(images):
        raise UsageError(
            f"{images} is a file: give the folder that holds it, or leave out {out.files}"
        )
    if _place(trained) == _place(out):
        raise UsageError(
            f"{out.files} is the store that has the classifier: choose another folder for the "
            "predictions"
        )


def _place(store: Store) -> str:
    """Where a store really is."""
    root = store.files.absolute().root
    return str(root.resolve() if isinstance(root, Path) else root)


def _with_recipe(extracting: ExtractSettings, recipe: Recipe) -> ExtractSettings:
    """The settings that make features by a recipe."""
    return dataclasses.replace(
        extracting,
        backbone=recipe.backbone,
        fit=recipe.fit,
        overrides=ModelOverrides(input_size=recipe.input_size),
        runtime=recipe.runtime or runtimes.DEFAULT,
        precision=recipe.precision or DEFAULT_PRECISION,
    )


def _predict(context: RunContext, plan: pa.Table, predictor: Predictor) -> None:
    """Brings predictions/ to the state of features/, and says in the manifest what made it."""
    store = context.store
    manifest = store.manifest
    if manifest.get("predictions") != predictor.facts:
        store.write_json(MANIFEST, {**manifest, "predictions": predictor.facts})
        context.has_changes = True
    rows = store.rows_by_part("features", plan)
    payload = PredictTask(store.files.absolute(), predictor)
    with context.watch.timed("predict"):
        done = store.map_concurrent(lambda part: is_predicted(store, part, payload), rows)
        todo = [part for part, is_done in zip(rows, done, strict=True) if not is_done]
        for _ in context.map(
            "predict",
            predict,
            in_tasks(context, todo, rows.__getitem__),
            payload,
            images=lambda parts: sum(map(rows.__getitem__, parts)),
        ):
            pass


def _tally(store: Store) -> Tally:
    counts: Counter[str] = Counter()
    unsure = 0
    for name in store.part_names("predictions"):
        table = store.read_table(name, ["label", "unsure"])
        counts.update(table["label"].to_pylist())
        unsure += pc.sum(table["unsure"]).as_py() or 0
    return Tally(dict(counts.most_common()), unsure)
