"""Rows that a made-up classifier was asked about."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pomona.learning.evaluation.base import (
    Candidate,
    CurvePoint,
    Inputs,
    Judged,
    Labelled,
    Other,
    Subject,
)
from pomona.learning.models.base import Codes

SUBJECT = Subject(
    name="fruit",
    store="/stores/fruit",
    id="0123456789abcdef",
    model="shrunk linear discriminant",
    settings={"shrinkage": 0.1},
    rows="pca",
    width=98,
    split="those that the store's splits name",
    grouping=None,
    version="0.2.0",
)


def judge(
    n: int, classes: int, seed: int, *, margin: float = 5.0, folder: str = "Test", of: int = 1
) -> Judged:
    """n rows with the logits of a classifier that is calibrated; of: rows in a group.

    The logits of right classes are higher by the margin, and labels are drawn from the softmax.
    """
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), rng.integers(0, classes, n)] += margin * rng.uniform(0.5, 2, n)
    noise = rng.gumbel(size=logits.shape)  # the largest of logits and these is a draw
    labels: Codes = (logits + noise).argmax(axis=1)
    return Judged(
        paths=[f"{folder}/{label}/{row}.jpg" for row, label in enumerate(labels.tolist())],
        sha256=[f"{seed:032x}{row:032x}" for row in range(n)],
        labels=labels,
        logits=logits,
        groups=np.arange(n) // of if of > 1 else None,
    )


def take(judged: Judged, rows: Codes) -> Judged:
    """Some of the rows."""
    return Judged(
        [judged.paths[row] for row in rows.tolist()],
        [judged.sha256[row] for row in rows.tolist()],
        judged.labels[rows],
        judged.logits[rows],
        None if judged.groups is None else judged.groups[rows],
    )


def make_inputs(
    classes: int = 12,
    tested: int = 400,
    learned: int = 4000,
    *,
    margin: float = 5.0,
    of: int = 1,
    copied: int = 0,
    names: list[str] | None = None,
) -> Inputs:
    """What an evaluation is made from; copied: test rows with the bytes of the first others."""
    training = judge(learned, classes, 1, margin=margin, folder="Training", of=of)
    leaked = replace(
        judge(copied, classes, 2, folder="Test/copies"), sha256=training.sha256[:copied]
    )
    test = judge(tested, classes, 3, margin=margin, of=of)
    predicted = test.logits.argmax(axis=1)
    worse = np.where(np.arange(tested) % 10 == 0, 0, predicted)
    curve = [CurvePoint(learned * part // 16, worse) for part in (1, 2, 4)]
    curve += [CurvePoint(learned // 2, worse), CurvePoint(learned, predicted)]
    return Inputs(
        subject=SUBJECT,
        names=names or [f"variety {code}" for code in range(classes)],
        temperature=1.0,
        test=test,
        copied=leaked,
        learned=Labelled(training.paths, training.sha256, training.labels),
        training=training,
        mixed=None,
        baselines=[Other("the most frequent label", np.zeros(tested, np.int64))],
        curve=curve if tested else [],
        comparison=[
            Candidate("shrunk linear discriminant", {"shrinkage": 0.1}, 0.95, 0.01, None, 1.5, True)
        ],
        earlier=Other("the classifier before", worse),
    )
