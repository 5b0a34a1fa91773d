"""The check of what lies beside the parts of a store: feedback/, search/ and models/."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from pomona.errors import StoreDamagedError, StoreError
from pomona.maintenance.verify_part import Finding
from pomona.progress import count
from pomona.store import feedback, kept, search
from pomona.store.layout import FEEDBACK_FOLDER, MODELS_FOLDER, SEARCH, SEARCH_FOLDER
from pomona.store.store import Store

RESTORE = "restore it from a copy, or delete it"
SEARCH_ANEW = f"delete {SEARCH_FOLDER}/: the next `pomona search` makes it again"


def check_feedback(store: Store) -> Iterator[Finding]:
    """Reads each file of feedback/; entries may arrive meanwhile."""
    for name in store.files.names(FEEDBACK_FOLDER):
        if not feedback.holds_rows(name):
            # Readers of the folder leave names alone that begin so.
            if not name.removeprefix(f"{FEEDBACK_FOLDER}/").startswith((".", "_")):
                yield Finding(name, "is no file of feedback", "remove it")
            continue
        try:
            wrong = _wrong_rows(feedback.read_file(store, name))
        except FileNotFoundError:
            continue  # gathered meanwhile
        except StoreDamagedError:
            yield Finding(name, "is damaged", RESTORE)
            continue
        if wrong:
            yield Finding(name, f"has {count(wrong, 'row')} that contradict themselves", RESTORE)


def _wrong_rows(rows: pa.Table) -> int:
    """How many rows say that a label is right, and give another one, or the other way round."""
    is_predicted = pc.fill_null(pc.equal(rows["label"], rows["predicted"]), False)
    return int(pc.sum(pc.not_equal(rows["confirmed"], is_predicted)).as_py() or 0)


def check_search(store: Store) -> Iterator[Finding]:
    """Holds the files of search/ against their digests. That they are of an earlier state is fine.

    They are made again before they are used.
    """
    names = set(store.files.names(SEARCH_FOLDER))
    try:
        facts = search.read_facts(store)
    except StoreDamagedError:
        yield Finding(SEARCH, "is damaged", SEARCH_ANEW)
        return
    except StoreError:
        yield Finding(SEARCH, "is of a later version of pomona", "upgrade pomona")
        return
    told = facts["files"] if facts else {}
    for name in sorted(names - {SEARCH, *told}):
        yield Finding(name, "is left of a command that was stopped", SEARCH_ANEW)
    for name in told:
        if not search.is_whole(store, name, told[name]):
            yield Finding(name, "is missing or damaged", SEARCH_ANEW)


def check_models(store: Store) -> Iterator[Finding]:
    """Holds the files of the classifiers that are kept against their digests."""
    names = set(store.files.names(MODELS_FOLDER))
    for model in kept.ids(store.files):
        remedy = f"`pomona models` with --remove {model}"
        own = kept.facts_name(model)
        names.discard(own)
        try:
            facts = kept.read_facts(store.files, model)
        except StoreError as exc:
            prefix = kept.file_name(model, "")
            names = {name for name in names if not name.startswith(prefix)}
            if isinstance(exc, StoreDamagedError):
                yield Finding(own, "is damaged", remedy)
            else:
                yield Finding(own, "is of a later version of pomona", "upgrade pomona")
            continue
        for name in facts["files"]:
            place = kept.file_name(model, name)
            names.discard(place)
            try:
                kept.read_file(store.files, facts, name)
            except StoreDamagedError:
                yield Finding(place, "is missing or damaged", remedy)
    for name in sorted(names):
        yield Finding(name, "is left of a command that was stopped", "delete it")
