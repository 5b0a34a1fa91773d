"""Corrections: what users say of the labels of a store's images, and what of it is learned.

Held-out images keep their labels: who corrects does not move what a classifier is measured by.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from pomona.learning.models.base import Codes
from pomona.learning.rows import LabelledRows
from pomona.pca.blas import one_thread
from pomona.progress import Progress, count
from pomona.store.classifier import damaged, read_file
from pomona.store.folders.base import Folder
from pomona.store.layout import CORRECTIONS

# What became of a correction.
LEARNED = "learned"
SAME = "as in the store"
CONTRADICTED = "users contradict each other"
UNLIKE = "most similar images have another label"
HELD_OUT = "held out"
UNKNOWN = "of no labelled image"
# As in the report, where a label is doubtful that most of so many nearest images do not have.
NEIGHBOURS = 5
BLOCK_ROWS = 256

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "sha256", "path", "label", "correction", "outcome")]
)


def correct(
    rows: LabelledRows, train: Codes, said: pa.Table | None, progress: Progress
) -> tuple[LabelledRows, pa.Table | None]:
    """Gives training rows the labels that users say are right.

    Parameters
    ----------
    rows : LabelledRows
        All rows with a label.
    train : int64[m]
        Those that a classifier learns from.
    said : pyarrow.Table, optional
        id, sha256 and label of each statement. None: nobody was asked.
    progress : Progress
        Who is told of what is learned, and what is not.

    Returns
    -------
    rows : LabelledRows
        The same rows; labels that are new are among their names.
    outcome : pyarrow.Table or None
        Of `SCHEMA`: a row for each statement and image that it is about, with the label that the
        store has, the correction, and what became of it.
    """
    if said is None:
        return rows, None
    statements = said.select(["id", "sha256", "label"]).to_pylist()
    names = sorted({*rows.names, *(each["label"] for each in statements)})
    y = np.searchsorted(names, rows.names)[rows.y]
    told, wanted = _judge(rows, train, statements)
    codes = {row: names.index(label) for row, label in wanted.items()}
    digests = rows.images["digest"].to_pylist()
    refused = {digests[row] for row in _unlike(rows, train, y, codes)}
    for each in told:
        if each["outcome"] == LEARNED and each["sha256"] in refused:
            each["outcome"] = UNLIKE
    for row, code in codes.items():
        if digests[row] not in refused:
            y[row] = code
    named = np.unique(y)
    kept, places = [names[at] for at in named], np.searchsorted(named, y)
    outcome = pa.Table.from_pylist(told, SCHEMA)
    _show(outcome, progress)
    return LabelledRows(rows.x, rows.images, kept, places), outcome


def _judge(
    rows: LabelledRows, train: Codes, statements: list[dict[str, str]]
) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """What becomes of each statement, and the labels wanted, before similar images are asked."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(rows.images["digest"].to_pylist()):
        places[digest].append(row)
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for each in statements:
        labels[each["sha256"]].add(each["label"])
    is_train = np.isin(np.arange(len(rows)), train)
    told: list[dict[str, Any]] = []
    wanted: dict[int, str] = {}
    for each in statements:
        found = places.get(each["sha256"], [])
        if not found:
            told.append(_tell(rows, each, None, UNKNOWN))
        for row in found:
            if len(labels[each["sha256"]]) > 1:
                outcome = CONTRADICTED
            elif not is_train[row]:
                outcome = HELD_OUT
            else:
                outcome = SAME if rows.names[rows.y[row]] == each["label"] else LEARNED
            told.append(_tell(rows, each, row, outcome))
            if outcome == LEARNED:
                wanted[row] = each["label"]
    return told, wanted


def _tell(
    rows: LabelledRows, said: Mapping[str, str], row: int | None, outcome: str
) -> dict[str, Any]:
    """A row of `SCHEMA`."""
    return {
        "id": said["id"],
        "sha256": said["sha256"],
        "path": None if row is None else rows.images["path"][row].as_py(),
        "label": None if row is None else rows.names[rows.y[row]],
        "correction": said["label"],
        "outcome": outcome,
    }


def _unlike(rows: LabelledRows, train: Codes, y: Codes, wanted: Mapping[int, int]) -> list[int]:
    """The rows most of whose nearest training images have one label, and not the wanted one.

    Corrections do not vote for each other, or a few users could move a label together. But of a
    label that the store does not have, they are the only images.
    """
    votes, known = y.copy(), set(np.unique(y).tolist())
    for row, code in wanted.items():
        if code not in known:
            votes[row] = code
    digests = rows.digests
    centred = rows.x - rows.x[train].mean(axis=0)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    others, own = centred[train], list(wanted)
    found = []
    for start in range(0, len(own), BLOCK_ROWS):
        block = own[start : start + BLOCK_ROWS]
        with one_thread():
            cosines = centred[block] @ others.T
        cosines[digests[block][:, None] == digests[train]] = -2
        nearest = train[np.argsort(-cosines, axis=1, kind="stable")[:, :NEIGHBOURS]]
        for row, near in zip(block, nearest, strict=True):
            [(code, number)] = Counter(votes[near].tolist()).most_common(1)
            if code != wanted[row] and 2 * number > len(near):
                found.append(row)
    return found


def outcomes(corrected: pa.Table | None) -> dict[str, dict[str, int]]:
    """Returns what classifier.json says: how many statements came to what."""
    if corrected is None:
        return {}
    return {"feedback": dict(sorted(Counter(corrected["outcome"].to_pylist()).items()))}


def _show(corrected: pa.Table, progress: Progress) -> None:
    """Says what of the feedback is learned, and shows what is not."""
    told = Counter(corrected["outcome"].to_pylist())
    statements = count(corrected.num_rows, "statement")
    progress.note(f"{statements} of users, {count(told[LEARNED], 'correction')} learned")
    for reason in (CONTRADICTED, UNLIKE):
        if reason in told:
            some = corrected.filter(pc.equal(corrected["outcome"], reason)).to_pylist()[:3]
            named = ", ".join(f"{each['path']}: {each['correction']}" for each in some)
            more = ", …" if told[reason] > len(some) else ""
            progress.warn(f"{told[reason]:,} not learned, {reason} ({named}{more})")
    if HELD_OUT in told:
        progress.note(f"{told[HELD_OUT]:,} not learned: the image is held out for the test")


def read_corrections(files: Folder, facts: Mapping[str, Any]) -> pa.Table | None:
    """Reads the statements that the classifier in use has learned from.

    Returns
    -------
    pyarrow.Table or None
        id, sha256 and label of each. None: it was trained without.

    Raises
    ------
    StoreDamagedError
        If the file is missing, or is not what was written.
    """
    if CORRECTIONS not in facts["files"]:
        return None
    return parse_corrections(files, read_file(files, facts, CORRECTIONS))


def parse_corrections(files: Folder, data: bytes) -> pa.Table:
    """Returns id, sha256 and label of each statement that corrections.csv has."""
    options = pa.csv.ConvertOptions(column_types=SCHEMA, strings_can_be_null=False)
    try:
        table = pa.csv.read_csv(pa.BufferReader(data), convert_options=options)
        said = table.select(["id", "sha256", "correction"])
    except (pa.ArrowException, KeyError) as exc:
        raise damaged(files, CORRECTIONS) from exc
    said = said.rename_columns(["id", "sha256", "label"])
    return said.group_by(said.column_names, use_threads=False).aggregate([])
