"""A few images that a user asks about become features; nothing is kept."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pomona.backbones.network import Network
from pomona.errors import ImageError, UsageError
from pomona.extraction.batches import Batches
from pomona.extraction.featurize import AnyImage, load_network, read_pixels
from pomona.images.catalog import find_images
from pomona.images.limits import IMAGE_TIMEOUT_S, MAX_PIXELS
from pomona.images.orientation import Pixels
from pomona.images.prefetch import ImageRequest
from pomona.images.reader import CarefulReader, Reader
from pomona.images.sources.base import Source
from pomona.images.sources.local import LocalSource
from pomona.images.sources.registry import is_image_file, open_source
from pomona.progress import Progress
from pomona.s3.address import Access
from pomona.stopwatch import Stopwatch
from pomona.store.recipe import Recipe
from pomona.store.schemas import encode_path


@dataclass(frozen=True)
class Asked:
    """An image of a source: `shown` is its path as the answer has it."""

    source: Source
    shown: str
    image: ImageRequest


@dataclass(frozen=True)
class Featurizing:
    """What makes features of images, and the bounds of an image."""

    network: Network
    recipe: Recipe
    image_timeout_s: float = IMAGE_TIMEOUT_S
    max_pixels: int = MAX_PIXELS
    allow_damaged: bool = False


@dataclass(frozen=True)
class Featurized:
    """The features of images.

    Attributes
    ----------
    features : float32[n, width]
        A row for each image. Undefined for one that gives no features.
    errors : dict
        Why an image gives no features, by its row.
    """

    features: npt.NDArray[np.float32]
    errors: dict[int, ImageError]

    @property
    def good(self) -> list[int]:
        """The rows that are features."""
        return [row for row in range(len(self.features)) if row not in self.errors]


def find_asked(
    places: Sequence[str | Path],
    access: Access,
    progress: Progress,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> Iterator[Asked]:
    """Yields the images of some places.

    Parameters
    ----------
    places : sequence of str or Path
        Files, and places of images as `pomona run` takes them.
    access : Access
        How buckets are used.
    progress : Progress
        Who is told of files that are skipped.
    include, exclude : sequence of str
        As in `ExtractSettings`.

    Raises
    ------
    SourceError
        If a place has no images.
    """
    for place in places:
        if is_image_file(place):
            path = Path(place).absolute()
            image = ImageRequest(encode_path(path.name), None, path.stat().st_size)
            yield Asked(LocalSource(str(path.parent)), encode_path(str(place)), image)
            continue
        source = open_source(place, access)
        for row in find_images(source, progress, include=include, exclude=exclude).to_pylist():
            # Of a single place it need not be said which one it is.
            prefix = "" if len(places) == 1 else f"{encode_path(str(place))}/"
            image = ImageRequest(row["path"], row["fingerprint"], row["size_bytes"] or 0)
            yield Asked(source.absolute(), f"{prefix}{row['path']}", image)


def featurize_asked(asked: Sequence[Asked], how: Featurizing, *, careful: bool) -> Featurized:
    """Computes the features of images.

    Parameters
    ----------
    asked : sequence of Asked
        The images.
    how : Featurizing
        What makes features of them.
    careful : bool
        Whether each is read in a process of its own.
    """
    found = Featurized(np.empty((len(asked), how.network.width), np.float32), {})
    rows = enumerate(asked)
    for source, some in itertools.groupby(rows, key=lambda one: one[1].source):
        own = list(some)
        first = own[0][0]
        part = _featurize_source(source, [one for _, one in own], how, careful=careful)
        found.features[first : first + len(own)] = part.features
        found.errors.update({first + row: error for row, error in part.errors.items()})
    return found


def _featurize_source(
    source: Source, asked: list[Asked], how: Featurizing, *, careful: bool
) -> Featurized:
    reader = Reader(
        source,
        how.image_timeout_s,
        how.max_pixels,
        how.recipe.side,
        allow_damaged=how.allow_damaged,
    )
    with CarefulReader(reader) if careful else reader as images:
        images.expect(one.image for one in asked)

        def read(row: int) -> Pixels:
            image = asked[row].image
            return images.decode(images.fetch(image.path, image.fingerprint)).pixels

        return featurize_rows(len(asked), read, how)


def featurize_rows(rows: int, read: Callable[[int], Pixels], how: Featurizing) -> Featurized:
    """Computes the features of images whose pixels `read` gives.

    Parameters
    ----------
    rows : int
        How many images there are.
    read : callable
        Gives the pixels of a row, uint8[h, w, 3], or raises ImageError.
    how : Featurizing
        What makes features of them.
    """
    batches = Batches(rows, how.network, how.recipe, Stopwatch())
    errors: dict[int, ImageError] = {}
    for row in range(rows):
        try:
            batches.add(row, read(row))
        except ImageError as exc:
            errors[row] = exc
    batches.flush()
    for row in range(rows):
        if row not in errors and not np.isfinite(batches.features[row]).all():
            errors[row] = ImageError("network", "not_finite")
    return Featurized(batches.features, errors)


def featurize_here(
    images: Sequence[AnyImage], recipe: Recipe, command: str
) -> tuple[list[str | None], Featurized]:
    """Computes the features of images in this process.

    Parameters
    ----------
    images : sequence
        Paths, bytes of image files, Pillow images, or uint8[h, w, 3] arrays (RGB).
    recipe : Recipe
        How images become features.
    command : str
        What takes the images, for the message of the error.

    Returns
    -------
    paths : list of str or None
        The path of each image as an answer has it; None for one that has none.
    featurized : Featurized
        Their features.

    Raises
    ------
    UsageError
        If `images` is a single image.
    BackboneError
        If the network cannot be used.
    """
    if isinstance(images, (str, bytes, os.PathLike)) or not isinstance(images, Sequence):
        raise UsageError(f"{command} takes a list of images: put the image in brackets")
    how = Featurizing(load_network(recipe), recipe)
    featurized = featurize_rows(len(images), lambda row: read_pixels(images[row], recipe.side), how)
    paths = [
        encode_path(str(image)) if isinstance(image, (str, os.PathLike)) else None
        for image in images
    ]
    return paths, featurized


def error_facts(error: ImageError) -> dict[str, str | None]:
    """Returns why an image gives no features as an answer says it: stage, reason, detail."""
    return {"stage": error.stage, "reason": error.reason, "detail": error.detail or None}
