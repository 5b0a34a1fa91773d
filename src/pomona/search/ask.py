"""Ask: images that a user gives are compared with those of a store. Nothing of them is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

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
from pomona.pipeline.context import RunSettings, run_tasks
from pomona.progress import count
from pomona.search.index import TOP, Index, Neighbour, check_top, open_index
from pomona.store.store import Store

# How many images a task reads: a second worker takes longer to start than these take.
TASK_IMAGES = 16


@dataclass(frozen=True)
class Found:
    """What was found for an image.

    Attributes
    ----------
    path : str, optional
        The image's path; None for one that has none.
    nearest : list of Neighbour
        The nearest images of the store, the most similar first.
    error : dict, optional
        Why the image gives no features: stage, reason, detail, as in errors/.
    """

    path: str | None
    nearest: list[Neighbour] = field(default_factory=list)
    error: dict[str, str | None] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON has it: `error` only where there is one."""
        content = dataclasses.asdict(self)
        if self.error is None:
            del content["error"]
        return content


def search_images(
    store: str | Path,
    images: Sequence[str | Path],
    settings: RunSettings,
    *,
    top: int = TOP,
    image_timeout: float = IMAGE_TIMEOUT_S,
    max_pixels: int = MAX_PIXELS,
) -> tuple[list[Asked], list[Found]]:
    """Finds the nearest images of a store.

    Parameters
    ----------
    store : str or Path
        The store.
    images : sequence of str or Path
        Files, and places of images as `pomona run` takes them.
    settings : RunSettings
        How the command runs.
    top : int
        How many images are wanted for each.
    image_timeout, max_pixels
        As in `ExtractSettings`.

    Returns
    -------
    asked : list of Asked
        The images, in the order of `images`, and of the paths within a place.
    found : list of Found
        One for each. An image that gives no features has an `error`.

    Raises
    ------
    UsageError
        For a value that cannot be.
    StoreError, BackboneError
        If the store has no components, or its network cannot be used.
    SourceError
        If a place has no images.
    """
    check_top(top)
    searched = Store(store, settings.access)
    recipe = searched.recipe
    network = load_network(recipe)
    with settings.engine:
        network = dataclasses.replace(network, threads=settings.engine.threads)
        index = _open(searched, settings)
        asked = list(find_asked(images, settings.access, settings.progress))
        items = [(at, asked[at : at + TASK_IMAGES]) for at in range(0, len(asked), TASK_IMAGES)]
        how = Featurizing(network, recipe, image_timeout, max_pixels)
        done = run_tasks(
            settings, "search", featurize_some, items, how, images=lambda item: len(item[1])
        )
        featurized = {item[0]: some for item, some in done}
    paths = [one.shown for one in asked]
    found = []
    for at in sorted(featurized):
        found += _find(searched, index, paths[at : at + TASK_IMAGES], featurized[at], top)
    return asked, found


def _open(store: Store, settings: RunSettings) -> Index:
    """Opens the index of a store, and says how it would be faster."""
    index = open_index(store)
    if index.kept.is_large and index.is_exact:
        settings.progress.note(
            f"all {count(len(index), 'image')} are compared: for a store on a disk, pip install "
            '"pomona[search]" makes this faster'
        )
    return index


def featurize_some(item: tuple[int, list[Asked]], how: Featurizing, attempt: int = 1) -> Featurized:
    """Computes features; from the second attempt on, each image is read in its own process."""
    return featurize_asked(item[1], how, careful=attempt > 1)


def search_here(store: Store, images: Sequence[AnyImage], *, top: int = TOP) -> list[Found]:
    """Finds the nearest images of a store, in this process.

    Parameters
    ----------
    store : Store
        The store.
    images : sequence
        Paths, bytes of image files, Pillow images, or uint8[h, w, 3] arrays (RGB).
    top : int
        How many images are wanted for each.

    Returns
    -------
    list of Found
        One for each image, in their order. An image that gives no features has an `error`.

    Raises
    ------
    UsageError
        If `images` is a single image, or for a value that cannot be.
    StoreError, BackboneError
        If the store has no components, or its network cannot be used.
    """
    check_top(top)
    index = open_index(store)
    paths, featurized = featurize_here(images, store.recipe, "search")
    return _find(store, index, paths, featurized, top)


def _find(
    store: Store, index: Index, paths: Sequence[str | None], featurized: Featurized, top: int
) -> list[Found]:
    good = featurized.good
    features: npt.NDArray[np.float32] = featurized.features[good]
    nearest = dict(zip(good, index.search(store.project(features), top), strict=True))
    return [
        Found(path, error=error_facts(featurized.errors[row]))
        if row in featurized.errors
        else Found(path, nearest[row])
        for row, path in enumerate(paths)
    ]
