"""Drift: whether new images are like those that a store's projection and classifier know.

known, new ──project──▶ components ──compare──▶ p-value
                                   ──nearest──▶ share of unlike images, the farthest of them
classifier, feedback ────────────────────────▶ labels, unsure, accuracy
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pomona.errors import PomonaError, StoreError, UsageError
from pomona.feedback.journal import Journal
from pomona.learning.evaluation.intervals import wilson
from pomona.learning.held_out import read_held_out
from pomona.learning.predictions import Predictor
from pomona.learning.seen import Seen
from pomona.operations.sides import Side, read_sides
from pomona.operations.two_samples import PERMUTATIONS, compare, representatives
from pomona.pca.projection import Projection
from pomona.s3.address import Access
from pomona.store.classifier import read_facts
from pomona.store.store import Store

# The chance that a test speaks though nothing has changed.
LEVEL, LEAST_LEVEL = 0.01, 1 / (1 + PERMUTATIONS)
# That share of the known images is unlike: it is how far apart these are that counts as 1.
USUALLY_UNLIKE = 0.05
# A series is one observation to the test, however many images it has: more unlike images than this
# share speak for themselves.
MAX_UNLIKE = 0.5
FARTHEST_SHOWN = 24


@dataclass(frozen=True)
class Far:
    """A new image that is far from all known ones.

    Attributes
    ----------
    path, sha256
        The image, and the SHA-256 of its file.
    distance : float
        From the nearest known image; 95 % of the known ones are within 1 of another one.
    label : str, optional
        The predicted label. None: there is no classifier.
    """

    path: str
    sha256: str | None
    distance: float
    label: str | None


@dataclass(frozen=True)
class Share:
    """How many of some images have a property; before: the share among the known ones."""

    number: int
    of: int
    before: float | None

    @property
    def value(self) -> float:
        """The share."""
        return self.number / self.of

    def to_dict(self) -> dict[str, Any]:
        """The share as a JSON object."""
        return {**dataclasses.asdict(self), "share": self.value}


@dataclass(frozen=True)
class Accuracy:
    """How often the classifier gives the label that users said is right.

    Attributes
    ----------
    right, images : int
        How many of how many images.
    low, high : float
        The interval of 95 % of the share.
    before : float, optional
        The accuracy on the classifier's held-out images.
    """

    right: int
    images: int
    low: float
    high: float
    before: float | None


@dataclass(frozen=True)
class Drift:
    """How new images differ from known ones.

    Attributes
    ----------
    store, what : str
        The store, and which images are new.
    images, known : int
        How many new images were compared with how many known ones.
    new_in_all, known_in_all : int
        How many there are: of very many, a sample is compared.
    variance_explained, variance_before : float
        The share that the components explain of the variance of the new images, and of those that
        they were fitted on.
    p : float, optional
        How probable a difference as large as this is where nothing has changed. None: every new
        image is a near-duplicate of a known one.
    independent : int
        How many new images are no near-duplicates of others.
    level, max_unlike : float
        There is drift where `p` is not above the level, or more than this share is unlike.
    unlike : Share
        New images that are farther from any known one than 95 % of these are.
    unsure : Share, optional
        Predictions that are less probable than they should be. None: there is no classifier.
    labels : dict
        For each label predicted, the share among the new and among the known images; those that
        differ most come first.
    accuracy : Accuracy, optional
        None: no user has said what new images show.
    farthest : list of Far
        The new images farthest from all known ones.
    """

    store: str
    what: str
    images: int
    known: int
    new_in_all: int
    known_in_all: int
    variance_explained: float
    variance_before: float
    p: float | None
    independent: int
    level: float
    max_unlike: float
    unlike: Share
    unsure: Share | None
    labels: dict[str, tuple[float, float]]
    accuracy: Accuracy | None
    farthest: list[Far]

    @property
    def has_drifted(self) -> bool:
        """Whether the difference is more than chance allows, or most images are unlike."""
        return self.differs or self.unlike.value > self.max_unlike

    @property
    def differs(self) -> bool:
        """Whether the difference is more than chance allows."""
        return self.p is not None and self.p <= self.level

    def to_dict(self) -> dict[str, Any]:
        """The whole as a JSON object."""
        content = dataclasses.asdict(self)
        content["unlike"] = self.unlike.to_dict()
        content["unsure"] = self.unsure and self.unsure.to_dict()
        content["labels"] = {
            name: {"share": share, "before": before}
            for name, (share, before) in self.labels.items()
        }
        return {"drift": self.has_drifted, **content}


def measure_drift(
    out: str | Path,
    *,
    since: str | None = None,
    against: str | Path | None = None,
    level: float = LEVEL,
    max_unlike: float = MAX_UNLIKE,
    access: Access | None = None,
) -> tuple[Drift, Side]:
    """Compares the new images of a store with those that its projection knows. Writes nothing.

    Parameters
    ----------
    out : str or Path
        The store.
    since, against
        As `read_sides` takes them.
    level : float
        The chance of a false alarm.
    max_unlike : float
        The share of unlike images that is drift by itself.
    access : Access, optional
        How buckets are used.

    Returns
    -------
    drift : Drift
        What was found.
    new : Side
        The new images.

    Raises
    ------
    UsageError
        For a value that cannot be.
    StoreError
        If there is nothing to compare, or a file is damaged.
    PomonaError
        If scikit-learn and SciPy are not installed.
    """
    _check(level, max_unlike)
    store = Store(out, access)
    _ = store.manifest
    _ = store.projection
    try:
        known, new, what = read_sides(store, since, against, access)
    except FileNotFoundError as exc:
        raise StoreError(f"{store.files} changed while it was read: try again") from exc
    drift = _compare(store, known, new, what, (level, max_unlike))
    return drift, new


def _check(level: float, max_unlike: float) -> None:
    """Raises UsageError for a threshold that cannot be, PomonaError where SciPy is missing."""
    if not 0 < level < 1:
        raise UsageError(f"`level` {level:g}: give a probability between 0 and 1")
    if not 0 <= max_unlike <= 1:
        raise UsageError(f"`max_unlike` {max_unlike:g}: give a share between 0 and 1")
    if level < LEAST_LEVEL:
        raise UsageError(f"`level` {level:g}: give at least {LEAST_LEVEL:g}")
    if importlib.util.find_spec("scipy") is None:
        raise PomonaError('SciPy is not installed: pip install "pomona[learn]"')


def _compare(
    store: Store, known: Side, new: Side, what: str, thresholds: tuple[float, float]
) -> Drift:
    """Compares the two sides."""
    projection = store.projection
    rows, rows_known = projection.apply(new.features), projection.apply(known.features)
    test = compare(rows_known, rows, [*known.digests, *new.digests])
    apart = _distances(rows_known, known, rows)
    predictor = None if read_facts(store.files) is None else Predictor.read(store)
    answers = None if predictor is None else predictor.answer(new.features)
    return Drift(
        store=str(store.files),
        what=what,
        images=len(new),
        known=len(known),
        new_in_all=new.total,
        known_in_all=known.total,
        variance_explained=_explained(projection, new),
        variance_before=projection.variance_explained,
        p=None if test is None else test.p,
        independent=0 if test is None else test.new,
        level=thresholds[0],
        max_unlike=thresholds[1],
        unlike=Share(int((apart > 1).sum()), len(new), USUALLY_UNLIKE),
        unsure=None if predictor is None else _unsure(store, predictor, answers),
        labels={} if predictor is None else _labels(answers, predictor.answer(known.features)),
        accuracy=None if predictor is None else _accuracy(store, predictor, new, answers),
        farthest=_farthest(new, apart, answers),
    )


def _distances(
    rows_known: npt.NDArray[np.float32], known: Side, rows: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """The distance of each new row from the nearest known one, near-duplicates apart."""
    lone = rows_known[representatives(rows_known, known.digests, seed=0)]
    each = np.arange(len(lone))
    return Seen.of(lone, np.zeros_like(each), each).distances(rows)


def _explained(projection: Projection, new: Side) -> float:
    """1 − residual / total of the features around the projection's mean."""
    total = float(np.square(new.features - projection.mean).sum())
    held = float(np.square(projection.apply(new.features).astype(np.float64)).sum())
    return held / total if total else 1.0


def _unsure(store: Store, predictor: Predictor, answers: pa.Table) -> Share:
    """How many predictions are unsure, beside those of the classifier's held-out images."""
    held_out = read_held_out(store.files, predictor.classifier.facts)
    before = None
    if held_out is not None and held_out.num_rows:
        before = float(np.mean(held_out["probability"].to_numpy() < np.float32(predictor.unsure)))
    return Share(int(pc.sum(answers["unsure"]).as_py()), answers.num_rows, before)


def _labels(new: pa.Table, known: pa.Table) -> dict[str, tuple[float, float]]:
    """The share of each predicted label on both sides; those that differ most come first."""
    counts = [Counter(side["label"].to_pylist()) for side in (new, known)]
    shares = {
        name: (counts[0][name] / new.num_rows, counts[1][name] / known.num_rows)
        for name in counts[0] | counts[1]
    }
    order = sorted(shares.items(), key=lambda one: (-abs(one[1][0] - one[1][1]), one[0]))
    return dict(order)


def _accuracy(store: Store, predictor: Predictor, new: Side, answers: pa.Table) -> Accuracy | None:
    """How often the classifier agrees with what users last said of new images."""
    said = Journal(store).read()
    said = said.filter(pc.is_valid(said["label"]))
    truth = dict(zip(said["sha256"].to_pylist(), said["label"].to_pylist(), strict=True))
    pairs = zip(new.images["sha256"].to_pylist(), answers["label"].to_pylist(), strict=True)
    judged = {digest: label == truth[digest] for digest, label in pairs if digest in truth}
    if not judged:
        return None
    right = sum(judged.values())
    figures = predictor.classifier.facts.get("figures")
    before = figures and figures["accuracy"]["value"]
    return Accuracy(right, len(judged), *wilson(right, len(judged)), before)


def _farthest(new: Side, apart: npt.NDArray[np.float32], answers: pa.Table | None) -> list[Far]:
    """The new images farthest from all known ones, each content once."""
    found: dict[str, Far] = {}
    digests = new.digests
    for row in np.argsort(-apart, kind="stable").tolist():
        if len(found) == FARTHEST_SHOWN:
            break
        label = None if answers is None else answers["label"][row].as_py()
        image = new.images.slice(row, 1).to_pylist()[0]
        far = Far(image["path"], image["sha256"], float(apart[row]), label)
        found.setdefault(digests[row], far)
    return list(found.values())
