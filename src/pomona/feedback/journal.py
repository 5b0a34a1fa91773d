"""The journal of a store: what users say of its predictions, durable and append only."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import unicodedata
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone

import numpy as np
import pyarrow as pa

from pomona.errors import PomonaError, UsageError
from pomona.store import feedback, schemas
from pomona.store.folders.registry import place
from pomona.store.store import Store

# A process looks for entries to gather with its first one, and then so often.
LOOK_EVERY, MOST_ENTRIES = 128, 128
MOST_CHARACTERS = 4_096


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class Entry:
    """What a user says of a prediction.

    Parameters
    ----------
    id : str
        The prediction's own.
    sha256 : str
        That of the image's file: 64 hexadecimal digits.
    predicted : str
        The label that the classifier gave.
    probability : float
        That of the label, 0 to 1.
    model : str
        The id of the classifier.
    confirmed : bool
        Whether the user says that the label is right.
    label : str, optional
        The right label. None: the user only said that the predicted one is wrong.
    photograph : str, optional
        Where the photograph is kept, if it is.
    time : datetime
        When the user said so, with a time zone.

    Raises
    ------
    UsageError
        For a value that cannot be.
    """

    id: str
    sha256: str
    predicted: str
    probability: float
    model: str
    confirmed: bool
    label: str | None = None
    photograph: str | None = None
    time: datetime = field(default_factory=_now)

    def __post_init__(self) -> None:
        for name in ("id", "sha256", "predicted", "model", "label", "photograph"):
            _check_text(name, getattr(self, name), optional=name in ("label", "photograph"))
        if len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef"):
            raise UsageError(f"`sha256` {self.sha256!r}: give 64 hexadecimal digits")
        if not (math.isfinite(self.probability) and 0 <= self.probability <= 1.000001):
            raise UsageError(f"`probability` {self.probability}: give a number between 0 and 1")
        if self.time.tzinfo is None:
            raise UsageError(f"`time` {self.time}: give it with a time zone")
        if self.confirmed and self.label is None:
            object.__setattr__(self, "label", self.predicted)
        if self.confirmed != (self.label == self.predicted):
            raise UsageError(
                f"`label` {self.label!r} and `confirmed` {self.confirmed} contradict each other: "
                f"{self.predicted!r} was predicted"
            )


class Journal:
    """The feedback of a store.

    Any number of processes and threads append at once, also while a command writes to the store.
    An entry is in the journal once `append` has returned, whatever happens after that.

    Parameters
    ----------
    store : Store, str or path-like
        The store, its folder or its s3:// address.

    Raises
    ------
    StoreError
        If there is no store.
    """

    def __init__(self, store: Store | str | os.PathLike[str]) -> None:
        self.store = store if isinstance(store, Store) else Store(place(store))
        _ = self.store.manifest
        self._appended = itertools.count()

    def append(self, entry: Entry) -> None:
        """Adds an entry. A later one of the same prediction is its revision, which counts instead.

        Raises
        ------
        StoreWriteError, ObjectStoreError
            If it cannot be written; then it is not in the journal.
        """
        row = {**asdict(entry), "time": entry.time.astimezone(timezone.utc)}
        feedback.append(self.store, pa.Table.from_pylist([row], schemas.FEEDBACK))
        if next(self._appended) % LOOK_EVERY == 0:
            # The entry is durable: what fails now is tried again by whoever appends later.
            with contextlib.suppress(PomonaError):
                if len(feedback.entry_names(self.store)) >= MOST_ENTRIES:
                    feedback.gather(self.store)

    def gather(self) -> int:
        """Gathers entries in larger files; `append` does so by itself after some hundreds.

        Returns
        -------
        int
            How many entries were gathered.

        Raises
        ------
        StoreBusyError
            If another process is at it.
        StoreWriteError, ObjectStoreError
            If a file cannot be written.
        """
        return feedback.gather(self.store)

    def read(self, *, revisions: bool = False, model: str | None = None) -> pa.Table:
        """Reads the entries, in the order of their time.

        Parameters
        ----------
        revisions : bool
            Whether to give all entries of a prediction, and not the last one alone.
        model : str, optional
            The classifier whose predictions are wanted; "store" for labels of the store. None: all.

        Returns
        -------
        pyarrow.Table
            Of schema `schemas.FEEDBACK`.

        Raises
        ------
        StoreDamagedError
            If a file is not what was written.
        """
        table = feedback.read(self.store, model)
        if revisions:
            return table
        ids = table["id"].combine_chunks().dictionary_encode().indices.to_numpy()
        _, from_end = np.unique(ids[::-1], return_index=True)
        return table.take(pa.array(np.sort(len(ids) - 1 - from_end)))


def _check_text(name: str, text: str | None, *, optional: bool) -> None:
    """Raises UsageError for what a table cannot hold, or ought not to."""
    if text is None and optional:
        return
    if not isinstance(text, str) or not 0 < len(text) <= MOST_CHARACTERS:
        raise UsageError(f"`{name}`: give a text of 1 to {MOST_CHARACTERS:,} characters")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        # A terminal would obey the first, and no table takes the second.
        raise UsageError(f"`{name}` {text!r}: leave out control characters and half characters")
