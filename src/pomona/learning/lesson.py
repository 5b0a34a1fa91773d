"""The lesson: the rows of a store, divided once into what is learned from and what is tested."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pomona.errors import StoreError
from pomona.learning.corrections import correct, outcomes
from pomona.learning.folds import loosen, make_folds
from pomona.learning.groups import find_near_duplicates, read_groups
from pomona.learning.models.base import Codes
from pomona.learning.rows import LabelledRows, read_rows
from pomona.learning.settings import NEAR_DUPLICATES, NO_GROUPS, TrainSettings
from pomona.learning.sides import Sides, find_sides
from pomona.progress import Progress, count
from pomona.store.store import Store

# More rows than these are not cross-validated: a sample of them decides, groups kept whole.
MOST_JUDGED = 50_000


@dataclass(frozen=True)
class Lesson:
    """Labelled rows with their sides, groups and folds.

    Attributes
    ----------
    training, test, copied : LabelledRows
        What is learned from; what is tested; and the test rows whose bytes are in `training`.
        All have the labels of `training` as names.
    training_groups, test_groups : int64
        The groups of their rows.
    judged : int64
        The rows of `training` that are cross-validated: all, or a sample.
    folds : int64
        The fold of each judged row: groups are in one fold, but for those that hold a label.
    random_folds : int64
        Folds that keep nothing together but files with the same bytes.
    facts : dict
        What classifier.json says of it.
    corrections : pyarrow.Table or None
        What users said, and what became of it: see `corrections.correct`. None: nobody was asked.
    """

    training: LabelledRows
    test: LabelledRows
    copied: LabelledRows
    training_groups: Codes
    test_groups: Codes
    judged: Codes
    folds: Codes
    random_folds: Codes
    facts: dict[str, Any]
    corrections: pa.Table | None = None

    @property
    def has_groups(self) -> bool:
        """Whether the folds keep more together than files with the same bytes."""
        return bool(self.facts["groups"] != NO_GROUPS)

    @property
    def are_groups_given(self) -> bool:
        """Whether a file said what the groups are."""
        return self.facts["groups"] not in (NO_GROUPS, NEAR_DUPLICATES)

    @property
    def split(self) -> str:
        """How the test rows were told, as it reads after "The test images are"."""
        if self.facts["split"] == "store":
            return "those that the store's splits name"
        return "a fifth of each label, drawn by content"

    @property
    def grouping(self) -> str | None:
        """What the groups are, as it reads after "Groups are"; None without."""
        if not self.has_groups:
            return None
        if self.facts["groups"] == NEAR_DUPLICATES:
            return "chains of near-duplicates"
        return f"those of {self.facts['groups']}"


def prepare(store: Store, training: TrainSettings, progress: Progress) -> Lesson:
    """Reads and divides the rows of a store.

    Raises
    ------
    UsageError, SourceError, StoreError
        If a setting, a file or the store allows no classifier.
    """
    rows = read_rows(store, training.on, training.labels, progress)
    groups = _find_groups(rows, training)
    sides = find_sides(rows, groups, training.seed)
    _tell(sides, progress)
    rows, corrected = correct(rows, sides.train, training.corrections, progress)
    named = np.unique(rows.y[sides.train])
    rows = _rename(rows, named)
    learned, groups_learned = rows.take(sides.train), groups[sides.train]
    judged = _sample(learned, groups_learned)
    y, digests = learned.y[judged], learned.digests[judged]
    kept = groups_learned[judged]
    loose = int((loosen(y, kept, digests) != kept).sum())
    if loose and isinstance(training.groups, Path):
        progress.warn(
            f"{count(loose, 'image')} in groups that hold all images of a label: cross-validation "
            "takes them apart"
        )
    test = rows.take(sides.test)
    if not len(test):
        raise StoreError(
            f"no image of {store.files} is left to test a classifier on: add images, give a test "
            "split with `labels`, or choose other `groups`"
        )
    facts = {
        "on": training.on,
        "split": "made" if sides.is_made else "store",
        "groups": str(training.groups),
        "seed": training.seed,
        "rows": {
            "training": len(learned),
            "training_digest": _digest(learned),
            "cross_validated": len(judged),
            "test": len(test),
            "test_digest": _digest(test),
            "copied": len(sides.copied),
            "unlearned": len(sides.unlearned),
        },
        **outcomes(corrected),
    }
    return Lesson(
        training=learned,
        test=test,
        copied=rows.take(sides.copied),
        training_groups=groups_learned,
        test_groups=groups[sides.test],
        judged=judged,
        folds=make_folds(y, kept, digests),
        random_folds=make_folds(y, digests, digests),
        facts=facts,
        corrections=corrected,
    )


def _tell(sides: Sides, progress: Progress) -> None:
    """Says which test rows are left out."""
    if len(sides.unlearned):
        images = count(len(sides.unlearned), "test image")
        progress.warn(f"{images} of labels without a training image: left out")
    if len(sides.copied):
        progress.warn(
            f"{count(len(sides.copied), 'test image')} with the bytes of a training image: left "
            "out of the figures"
        )


def _find_groups(rows: LabelledRows, training: TrainSettings) -> Codes:
    if training.groups == NO_GROUPS:
        return rows.digests
    if training.groups == NEAR_DUPLICATES:
        return find_near_duplicates(rows, training.seed)
    return read_groups(rows, Path(training.groups))


def _rename(rows: LabelledRows, named: Codes) -> LabelledRows:
    """Names the labels of `named` alone; other rows are of no use any more."""
    codes = np.full(len(rows.names), -1)
    codes[named] = np.arange(len(named))
    return LabelledRows(rows.x, rows.images, [rows.names[at] for at in named], codes[rows.y])


def _sample(rows: LabelledRows, groups: Codes) -> Codes:
    """All rows, or groups of them in the order of their digests, up to `MOST_JUDGED` rows."""
    if len(rows) <= MOST_JUDGED:
        return np.arange(len(rows))
    order = pc.sort_indices(rows.images, [("digest", "ascending")]).to_numpy()
    numbers, first, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    turn = np.argsort(first)
    taken = numbers[turn][np.cumsum(sizes[turn]) <= MOST_JUDGED]
    return np.flatnonzero(np.isin(groups, taken))


def _digest(rows: LabelledRows) -> str:
    """SHA-256 (hex) of which images stand under which label."""
    digest = hashlib.sha256()
    names = np.array(rows.names, object)[rows.y]
    for image, name in sorted(zip(rows.images["digest"].to_pylist(), names, strict=True)):
        digest.update(f"{image}\0{name}\0".encode())
    return digest.hexdigest()


def versions(libraries: Sequence[str]) -> Mapping[str, str]:
    """Returns the versions of what decided a classifier's numbers, pomona's own among them."""
    names = dict.fromkeys(["pomona", "numpy", "scipy", *libraries])
    return {
        {"sklearn": "scikit-learn"}.get(name, name): importlib.import_module(name).__version__
        for name in names
    }
