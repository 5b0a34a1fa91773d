"""Answers: the task of the server's workers. Image files become features and labels, or pictures.

By the steps and in the batches of any run, so that an answer has the bits of `pomona predict`.
"""

from __future__ import annotations

import dataclasses
import signal
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pomona.backbones.network import Network
from pomona.engines.base import Failure
from pomona.engines.queue import Died
from pomona.engines.workers import describe_exit
from pomona.errors import EngineError, ImageError
from pomona.extraction.asked import Featurizing, featurize_rows
from pomona.images.reader import Reader
from pomona.learning.predictions import Predictor
from pomona.pca.projection import Projection
from pomona.report.thumbnails import ImageFile, ThumbnailTask, draw

# The bytes of a file, an image of the store to be drawn, or its features, float32[width].
Item: TypeAlias = "bytes | ImageFile | npt.NDArray[np.float32]"


@dataclass(frozen=True)
class Answering:
    """The payload of `work`.

    Attributes
    ----------
    featurizing : Featurizing
        What makes features, and the bounds of an image.
    predictor : Predictor, optional
        What makes labels of them. None: there is no classifier.
    projection : Projection, optional
        What makes components of them, for a search. None: nothing is searched.
    drawing : ThumbnailTask, optional
        What draws the store's images, small. None: they are on other machines.
    """

    featurizing: Featurizing
    predictor: Predictor | None
    projection: Projection | None
    drawing: ThumbnailTask | None


@dataclass(frozen=True)
class Label:
    """What the classifier says of an image: a row of `schemas.PREDICTIONS`.

    Attributes
    ----------
    label, probability
        The most probable label.
    unsure : bool
        Whether the label is less probable than it should be.
    distance : float
        From the nearest image that the classifier has learned from.
    top : list of dict
        The most probable labels: `label` and `probability` of each.
    """

    label: str
    probability: float
    unsure: bool
    distance: float
    top: list[dict[str, str | float]]


@dataclass(frozen=True)
class Answer:
    """What became of an image file.

    Attributes
    ----------
    features : float32[width], optional
        None: `error` says why there are none.
    components : float32[k], optional
        None where nothing is searched.
    label : Label, optional
        None without a classifier.
    error : ImageError, optional
        Why the file gives no features.
    """

    features: npt.NDArray[np.float32] | None = None
    components: npt.NDArray[np.float32] | None = None
    label: Label | None = None
    error: ImageError | None = None


def work(items: list[Item], payload: Answering, attempt: int = 1) -> list[Answer | bytes | None]:
    """Answers image files and features, and draws images of the store.

    Parameters
    ----------
    items : list
        Files, as bytes; images of the store, as `draw` takes them; features, as arrays. Without
        any, what is needed for those to come is opened.
    payload : Answering
        What answers.
    attempt : int
        Makes no difference: from the second on, an item is alone.

    Returns
    -------
    list
        An Answer for each file and each row of features; for each image a WebP file, or None if it
        is gone, has changed or cannot be decoded.
    """
    if not items:
        network = _opened(payload.featurizing.network)
        side = network.input_size
        _answer(network.features(np.zeros((1, side, side, 3), np.uint8)), payload)
    answers = iter(_answer_files([item for item in items if isinstance(item, bytes)], payload))
    rows = [item for item in items if isinstance(item, np.ndarray)]
    known = iter(_answer(np.stack(rows), payload) if rows else [])
    images = [item for item in items if isinstance(item, tuple)]
    drawn = draw(images, payload.drawing) if images and payload.drawing is not None else {}
    done: list[Answer | bytes | None] = []
    for item in items:
        if isinstance(item, tuple):
            done.append(drawn.get(item[0]))
        else:
            done.append(next(answers if isinstance(item, bytes) else known))
    return done


def _answer_files(files: list[bytes], payload: Answering) -> list[Answer]:
    if not files:
        return []
    how = payload.featurizing
    how = dataclasses.replace(how, network=_opened(how.network))
    with Reader("/", how.image_timeout_s, how.max_pixels, how.recipe.side) as reader:
        done = featurize_rows(len(files), lambda row: reader.decode(files[row]).pixels, how)
    answers = {row: Answer(error=error) for row, error in done.errors.items()}
    answers |= zip(done.good, _answer(done.features[done.good], payload), strict=True)
    return [answers[row] for row in range(len(files))]


def _answer(features: npt.NDArray[np.float32], payload: Answering) -> list[Answer]:
    """The answers of features, float32[n, width]."""
    nothing = [None] * len(features)
    predictor, projection = payload.predictor, payload.projection
    labels: list[Label | None] = [*nothing]
    rows = None
    if predictor is not None:
        rows = predictor.rows(features)
        labels = [Label(**row) for row in predictor.answer_rows(rows).to_pylist()]
        rows = None if predictor.projection is None else rows
    if projection is None:
        return list(map(Answer, features, nothing, labels))
    components = projection.apply(features) if rows is None else rows
    return list(map(Answer, features, components, labels))


def to_error(failure: Failure, image_timeout_s: float) -> ImageError:
    """Returns why a file gave no answer that no worker could answer.

    Parameters
    ----------
    failure : Failure
        Of the queue.
    image_timeout_s : float
        How long an image may take.

    Raises
    ------
    BaseException
        What the task raised, if that is no matter of the file.
    """
    if isinstance(failure, Died):
        if failure.status == -signal.SIGALRM:
            return ImageError("decode", "timed_out", f"more than {image_timeout_s:g} s")
        return ImageError("decode", "crashed", describe_exit(failure.status))
    if failure.error is None:
        raise EngineError(failure.message)
    raise failure.error


@lru_cache(maxsize=1)
def _opened(network: Network) -> Network:
    """The network, or an equal one that has its session: a new classifier opens no other."""
    return network
