"""Ask: a few images are answered at once, by the classifier of a store. Nothing is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pomona.extraction.asked import (
    Asked,
    Featurized,
    Featurizing,
    error_facts,
    featurize_asked,
    featurize_here,
    find_asked,
)
from pomona.extraction.featurize import AnyImage, load_network
from pomona.images.limits import IMAGE_TIMEOUT_S, MAX_PIXELS
from pomona.learning.predictions import TOP, UNSURE, Predictor
from pomona.pipeline.context import RunSettings, run_tasks
from pomona.store.store import Store

# How many images a task answers: a second worker takes longer to start than these take.
TASK_IMAGES = 16


@dataclass(frozen=True)
class Prediction:
    """What a classifier makes of an image.

    Attributes
    ----------
    path : str, optional
        The image's path; None for one that has none.
    label, probability : optional
        The most probable label. None for an image that gives no features.
    unsure : bool, optional
        Whether the label is less probable than it should be.
    distance : float, optional
        From the nearest image that the classifier has learned from. 1 is how far 95 % of those are
        from the nearest one that does not belong to them.
    top : list of (str, float)
        The most probable labels and their probabilities, the first one first.
    error : dict, optional
        Why the image gives no features: stage, reason, detail, as in errors/.
    """

    path: str | None
    label: str | None = None
    probability: float | None = None
    unsure: bool | None = None
    distance: float | None = None
    top: list[tuple[str, float]] = dataclasses.field(default_factory=list)
    error: dict[str, str | None] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON has it: `error` only where there is one."""
        content = dataclasses.asdict(self)
        if self.error is None:
            del content["error"]
        return content


@dataclass(frozen=True)
class Answering:
    """The payload of `answer_some`: what answers, and what makes features for it."""

    predictor: Predictor
    featurizing: Featurizing


def predict_images(
    store: str | Path,
    images: Sequence[str | Path],
    settings: RunSettings,
    *,
    top: int = TOP,
    unsure: float = UNSURE,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    image_timeout: float = IMAGE_TIMEOUT_S,
    max_pixels: int = MAX_PIXELS,
    allow_damaged: bool = False,
) -> list[Prediction]:
    """Answers images at once, and keeps nothing.

    Parameters
    ----------
    store : str or Path
        The store with the classifier.
    images : sequence of str or Path
        Files, and places of images as `pomona run` takes them.
    settings : RunSettings
        How the command runs.
    top, unsure
        As `Predictor` takes them.
    include, exclude, image_timeout, max_pixels, allow_damaged
        As in `ExtractSettings`; a file that is named is taken, whatever the first two say.

    Returns
    -------
    list of Prediction
        In the order of `images`, and of the paths within a place. An image that gives no features
        has an `error`.

    Raises
    ------
    UsageError, StoreError, BackboneError
        If the classifier or its network cannot be used.
    SourceError
        If a place has no images.
    """
    trained = Store(store, settings.access)
    predictor = Predictor.read(trained, top=top, unsure=unsure)
    recipe = trained.recipe
    network = load_network(recipe)
    with settings.engine:
        network = dataclasses.replace(network, threads=settings.engine.threads)
        asked = list(find_asked(images, settings.access, settings.progress, include, exclude))
        items = [(at, asked[at : at + TASK_IMAGES]) for at in range(0, len(asked), TASK_IMAGES)]
        featurizing = Featurizing(network, recipe, image_timeout, max_pixels, allow_damaged)
        payload = Answering(predictor, featurizing)
        done = run_tasks(
            settings, "predict", answer_some, items, payload, images=lambda item: len(item[1])
        )
        answers = {item[0]: answered for item, answered in done}
    return [each for at in sorted(answers) for each in answers[at]]


def answer_some(
    item: tuple[int, list[Asked]], payload: Answering, attempt: int = 1
) -> list[Prediction]:
    """Answers some images; from the second attempt on, each is read in a process of its own."""
    asked = item[1]
    featurized = featurize_asked(asked, payload.featurizing, careful=attempt > 1)
    return _answer([one.shown for one in asked], featurized, payload.predictor)


def _answer(
    paths: Sequence[str | None], featurized: Featurized, predictor: Predictor
) -> list[Prediction]:
    """Answers images: paths are what the answers name them by."""
    good = featurized.good
    table = predictor.answer(featurized.features[good]).to_pylist()
    answers = {row: _prediction(paths[row], each) for row, each in zip(good, table, strict=True)}
    for row, failed in featurized.errors.items():
        answers[row] = Prediction(paths[row], error=error_facts(failed))
    return [answers[row] for row in range(len(paths))]


def _prediction(path: str | None, row: dict[str, Any]) -> Prediction:
    row["top"] = [(each["label"], each["probability"]) for each in row["top"]]
    return Prediction(path, **row)


def predict_here(
    store: Store, images: Sequence[AnyImage], *, top: int = TOP, unsure: float = UNSURE
) -> list[Prediction]:
    """Answers images in this process.

    Parameters
    ----------
    store : Store
        The store with the classifier.
    images : sequence
        Paths, bytes of image files, Pillow images, or uint8[h, w, 3] arrays (RGB).
    top, unsure
        As `Predictor` takes them.

    Returns
    -------
    list of Prediction
        One for each image, in their order. An image that gives no features has an `error`.

    Raises
    ------
    UsageError, StoreError, BackboneError
        If `images` is a single image, or the classifier or its network cannot be used.
    """
    predictor = Predictor.read(store, top=top, unsure=unsure)
    paths, featurized = featurize_here(images, store.recipe, "predict")
    return _answer(paths, featurized, predictor)
