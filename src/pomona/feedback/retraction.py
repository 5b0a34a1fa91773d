"""Retraction: what a user said of a prediction is forgotten, by the journal and by classifiers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from pomona.errors import UsageError
from pomona.learning import candidates
from pomona.pipeline.context import RunSettings, open_run
from pomona.store import classifier, feedback
from pomona.store.store import Store


@dataclass(frozen=True)
class Retracted:
    """What was forgotten.

    Attributes
    ----------
    entries : int
        Entries of the journal.
    models : list of str
        Classifiers that had learned from them, and are removed.
    in_use : str, optional
        The classifier in use now. None: there is none.
    photographs : int
        Photographs that are kept outside the store.
    """

    entries: int
    models: list[str]
    in_use: str | None
    photographs: int


def retract(out: str | Path, statement: str, settings: RunSettings) -> Retracted:
    """Forgets what a user said of a prediction.

    Classifiers go first: after a stop, the same call finds the entry and finishes.

    Parameters
    ----------
    out : str or Path
        The store.
    statement : str
        The id of the prediction.
    settings : RunSettings
        How the command runs.

    Raises
    ------
    UsageError
        If nobody has said anything of it.
    StoreError
        If a file is damaged.
    """
    store = Store(out, settings.access)
    _ = store.manifest
    with open_run(store, settings) as context:
        store = context.store
        entries = feedback.read(store)
        number = int(pc.sum(pc.equal(entries["id"], statement)).as_py() or 0)
        models = candidates.unlearn(store, statement, settings)
        if not number and not models:
            raise UsageError(f"there is no feedback {statement!r} in {store.files}")
        kept = feedback.erase(store, [statement], "id")
        facts = classifier.read_facts(store.files)
        photographs = sum(path is not None for path in kept)
        return Retracted(number, models, None if facts is None else facts["id"], photographs)
