"""Candidates: which classifier of a store is in use, and which others it keeps.

What is in use lies in classifier/. models/ keeps candidates, and what was in use before. A change
is one write of classifier.json, after the former classifier is kept: a stop leaves one or the
other.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pomona import report
from pomona.errors import StoreError, UsageError
from pomona.learning.classifier import Classifier
from pomona.learning.corrections import parse_corrections
from pomona.learning.evaluate import write
from pomona.learning.held_out import parse_held_out
from pomona.learning.settings import ALWAYS, AUTO
from pomona.learning.versus import Versus, measure
from pomona.pipeline.context import RunContext, RunSettings, open_run
from pomona.pipeline.here import map_here
from pomona.store import classifier, kept
from pomona.store.layout import CLASSIFIER_FOLDER, CORRECTIONS, TEST_PREDICTIONS
from pomona.store.store import Store


@dataclass(frozen=True)
class Entry:
    """A classifier of a store.

    Attributes
    ----------
    facts : dict
        What its JSON file says.
    is_in_use : bool
        Whether it answers.
    versus : Versus, optional
        How it compares with the one in use. None: it is that one, or there is none.
    """

    facts: dict[str, Any]
    is_in_use: bool
    versus: Versus | None

    def to_dict(self) -> dict[str, Any]:
        """The classifier as a JSON object."""
        facts = self.facts
        accuracy = (facts.get("figures") or {}).get("accuracy")
        return {
            "id": facts["id"],
            "in_use": self.is_in_use,
            "model": facts["model"],
            "settings": facts.get("settings"),
            "labels": len(facts["labels"]),
            "rows": facts.get("rows"),
            "labels_from": facts.get("labels_from"),
            "feedback": facts.get("feedback"),
            "accuracy": accuracy,
            "replaced": facts.get("replaced"),
            "versus": self.versus and self.versus.to_dict(),
        }


def settle(
    store: Store,
    facts: dict[str, Any],
    contents: dict[str, bytes],
    promote_it: str,
    settings: RunSettings,
) -> dict[str, Any]:
    """Puts a new classifier in use, or keeps it as a candidate.

    Parameters
    ----------
    store : Store
        The store, open for writing.
    facts, contents
        The classifier's.
    promote_it : str
        As `TrainSettings.promote`.
    settings : RunSettings
        How the command runs.

    Returns
    -------
    dict
        What classifier.json says of it; and `promotion`, where another one was in use: whether the
        new one took its place, and how the two compare.
    """
    in_use = _find_in_use(store)
    if in_use is None:
        return write(store, facts, contents, settings)
    if in_use["id"] == facts["id"]:
        replaced = {"replaced": in_use["replaced"]} if "replaced" in in_use else {}
        return write(store, {**facts, **replaced}, contents, settings)
    told = kept.write(store.files, facts, contents)
    versus = _compare(store, told, in_use)
    is_promoted = promote_it == ALWAYS or (promote_it == AUTO and not versus.objections)
    if is_promoted:
        told = _put_in_use(store, told, in_use, settings)
    promotion = {"promoted": is_promoted, "in_use": in_use["id"], **versus.to_dict()}
    return {**told, "promotion": promotion}


def _find_in_use(store: Store) -> dict[str, Any] | None:
    """What is known of the classifier in use, if it can be asked."""
    try:
        return Classifier.read(store).facts
    except StoreError:
        return None


def _compare(store: Store, facts: Mapping[str, Any], in_use: Mapping[str, Any]) -> Versus:
    candidate = own = None
    if TEST_PREDICTIONS in facts["files"]:
        candidate = parse_held_out(
            store.files, kept.read_file(store.files, facts, TEST_PREDICTIONS)
        )
    if TEST_PREDICTIONS in in_use["files"]:
        data = classifier.read_file(store.files, in_use, TEST_PREDICTIONS)
        own = parse_held_out(store.files, data)
    return measure(candidate, own, facts["labels"], in_use["labels"])


def keep(store: Store, facts: Mapping[str, Any]) -> None:
    """Keeps the classifier that is in use, whose facts these are, if it is not kept as it is."""
    if not _is_kept(store, facts):
        names = facts["files"]
        contents = {name: classifier.read_file(store.files, facts, name) for name in names}
        kept.write(store.files, facts, contents)


def _is_kept(store: Store, facts: Mapping[str, Any]) -> bool:
    """Whether models/ has these facts; a stop may have left earlier ones."""
    try:
        return kept.read_facts(store.files, facts["id"]) == facts
    except (StoreError, UsageError):
        return False


def _put_in_use(
    store: Store, facts: Mapping[str, Any], in_use: Mapping[str, Any] | None, settings: RunSettings
) -> dict[str, Any]:
    """Puts a kept classifier in use; one that replaces another says which."""
    contents = {name: kept.read_file(store.files, facts, name) for name in facts["files"]}
    if in_use is not None:
        keep(store, in_use)
        facts = {**facts, "replaced": in_use["id"]}
    told = write(store, dict(facts), contents, settings)
    kept.remove(store.files, facts["id"])
    return told


def list_models(out: str | Path, settings: RunSettings) -> list[Entry]:
    """Lists the classifiers of a store: the one in use, then the others by their ids.

    Raises
    ------
    StoreError
        If there is no store, or a file is damaged.
    """
    store = Store(out, settings.access)
    _ = store.manifest
    in_use = classifier.read_facts(store.files)
    entries = [] if in_use is None else [Entry(in_use, True, None)]
    for model in kept.ids(store.files):
        facts = kept.read_facts(store.files, model)
        if in_use is None or facts["id"] != in_use["id"]:
            versus = None if in_use is None else _compare(store, facts, in_use)
            entries.append(Entry(facts, False, versus))
    return entries


def promote(out: str | Path, model: str, settings: RunSettings) -> dict[str, Any]:
    """Puts a kept classifier in use, and keeps the one before.

    Raises
    ------
    UsageError
        If the store keeps none of this id.
    StoreError
        If it stands on another projection or recipe than the store's, or is damaged.
    """
    with _open(out, settings) as context:
        store = context.store
        facts = kept.read_facts(store.files, model)
        _check_fits(store, facts)
        return _put_in_use(store, facts, classifier.read_facts(store.files), settings)


def roll_back(out: str | Path, settings: RunSettings) -> dict[str, Any]:
    """Puts the classifier in use again that the present one has replaced, and keeps the latter.

    Raises
    ------
    UsageError
        If it has replaced none, or that one is not kept any more.
    StoreError
        If that one stands on another projection or recipe than the store's, or is damaged.
    """
    with _open(out, settings) as context:
        store = context.store
        in_use = classifier.read_facts(store.files)
        if in_use is None or "replaced" not in in_use:
            raise UsageError(f"the classifier of {store.files} has replaced none")
        facts = kept.read_facts(store.files, in_use["replaced"])
        _check_fits(store, facts)
        keep(store, in_use)
        return _put_in_use(store, facts, None, settings)


def remove(out: str | Path, model: str, settings: RunSettings) -> None:
    """Removes a classifier that is kept, a damaged one too.

    Raises
    ------
    UsageError
        If the store keeps none of this id.
    """
    with _open(out, settings) as context:
        files = context.store.files
        if model not in kept.ids(files):
            raise UsageError(f"{files} keeps no classifier {model!r}: see `pomona models {files}`")
        kept.remove(files, model)


def unlearn(store: Store, statement: str, settings: RunSettings) -> list[str]:
    """Removes all classifiers of a store that know a user's statement.

    Where the one in use is among them, the last before it that does not know the statement takes
    its place, if it is kept and fits the store.

    Parameters
    ----------
    store : Store
        The store, open for writing.
    statement : str
        The id of the prediction.
    settings : RunSettings
        How the command runs.

    Returns
    -------
    list of str
        The ids of those that were removed.
    """
    files = store.files
    others = {model: kept.read_facts(files, model) for model in kept.ids(files)}
    knowing = [
        model
        for model, facts in others.items()
        if CORRECTIONS in facts["files"]
        and _knows(store, kept.read_file(files, facts, CORRECTIONS), statement)
    ]
    in_use = classifier.read_facts(files)
    if in_use is not None and CORRECTIONS in in_use["files"]:
        data = classifier.read_file(files, in_use, CORRECTIONS)
        if _knows(store, data, statement):
            _step_back(store, in_use, others, set(knowing), settings)
            knowing.append(in_use["id"])
    for model in knowing:
        kept.remove(files, model)
    return sorted(set(knowing))


def _knows(store: Store, data: bytes, statement: str) -> bool:
    return statement in parse_corrections(store.files, data)["id"].to_pylist()


def _step_back(
    store: Store,
    in_use: Mapping[str, Any],
    others: Mapping[str, Mapping[str, Any]],
    knowing: set[str],
    settings: RunSettings,
) -> None:
    """Puts the last classifier before in use that is none of `knowing`; without one, none."""
    before, seen = str(in_use.get("replaced")), {in_use["id"]}
    while before in others and before not in seen:
        seen.add(before)
        facts = others[before]
        if before not in knowing and _fits(store, facts):
            _put_in_use(store, facts, None, settings)
            return
        before = str(facts.get("replaced"))
    store.files.delete(CLASSIFIER_FOLDER)
    with map_here(settings.engine) as run_here:
        report.write(store, store.manifest, map_here=run_here)


def _open(out: str | Path, settings: RunSettings) -> AbstractContextManager[RunContext]:
    store = Store(out, settings.access)
    _ = store.manifest
    return open_run(store, settings)


def _fits(store: Store, facts: Mapping[str, Any]) -> bool:
    """Whether a classifier has learned from rows as the store has them now."""
    projection = store.find_projection()
    own = None if projection is None else projection.id
    is_projected = facts["on"] != "pca" or facts["projection"] == own
    return bool(is_projected and facts.get("recipe") == store.recipe.digest)


def _check_fits(store: Store, facts: Mapping[str, Any]) -> None:
    """Raises StoreError for a classifier of other rows than the store has now."""
    if not _fits(store, facts):
        raise StoreError(
            f"the classifier {facts['id']} has learned from another PCA or other features than "
            f"{store.files} has now: `pomona train {store.files}` again"
        )
