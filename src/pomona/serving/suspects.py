"""Suspects: the images whose label is probably wrong, as the classifier's evaluation lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.csv

from pomona.errors import StoreError
from pomona.store.classifier import read_file
from pomona.store.folders.base import Folder
from pomona.store.layout import SUSPECTS

# The most suspect ones: nobody walks through more.
MOST = 10_000
TYPES = {"path": pa.string(), "label": pa.string(), "suggested": pa.string(), "score": pa.float64()}


@dataclass(frozen=True)
class Suspect:
    """An image whose label is probably wrong.

    Attributes
    ----------
    path : str
        Its path in the store.
    label : str
        The label that it has.
    suggested : str
        The label that fits better.
    score : float
        The probability that its label is wrong.
    """

    path: str
    label: str
    suggested: str
    score: float


def read_suspects(files: Folder, facts: Mapping[str, Any] | None) -> list[Suspect] | None:
    """Reads the suspects of a classifier, the most suspect first, at most `MOST`.

    Parameters
    ----------
    files : Folder
        The folder of the store.
    facts : mapping, optional
        What classifier.json says. None: there is no classifier.

    Returns
    -------
    list of Suspect, optional
        None: there is no list, or it is not what was written. `pomona evaluate` writes one.
    """
    if facts is None or SUSPECTS not in facts.get("files", {}):
        return None
    try:
        data = read_file(files, facts, SUSPECTS)
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            pyarrow.csv.ReadOptions(use_threads=False),
            pyarrow.csv.ParseOptions(newlines_in_values=True),
            pyarrow.csv.ConvertOptions(column_types=TYPES, include_columns=list(TYPES)),
        )
    except (StoreError, pa.ArrowException):
        return None
    return [Suspect(**row) for row in table.slice(0, MOST).to_pylist()]
