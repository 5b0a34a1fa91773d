"""Model: what a server answers with, as it was read from a store at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pomona import __version__
from pomona.engines.queue import BatchQueue, Loaded
from pomona.extraction.asked import Featurizing
from pomona.extraction.featurize import load_network
from pomona.learning.predictions import Predictor
from pomona.s3.address import Access
from pomona.search.index import Index, open_index
from pomona.serving.answers import Answer, Answering, Item, work
from pomona.serving.collection import Collection
from pomona.serving.pictures import find_drawing
from pomona.serving.settings import ServeSettings
from pomona.serving.suspects import read_suspects
from pomona.store.classifier import read_facts
from pomona.store.folders.registry import open_folder
from pomona.store.layout import CLASSIFIER
from pomona.store.recipe import Recipe
from pomona.store.store import Store


@dataclass(frozen=True)
class Model:
    """What answers.

    Attributes
    ----------
    store : str
        The store's name, without its folder.
    recipe : Recipe
        How features are made.
    facts : dict, optional
        What classifier.json says. None: there is no classifier.
    stamp : bytes
        Differs once the store has another classifier.
    loaded : Loaded
        What workers take.
    index : Index, optional
        What finds the nearest images. None: the store has no components.
    collection : Collection, optional
        The images that it finds, to be looked at. None as above.
    """

    store: str
    recipe: Recipe
    facts: dict[str, Any] | None
    stamp: bytes
    loaded: Loaded[Item, Answer | bytes | None]
    index: Index | None
    collection: Collection | None

    @property
    def id(self) -> str | None:
        """The digest of the classifier, 16 hexadecimal digits, if there is one."""
        return None if self.facts is None else str(self.facts["id"])

    @property
    def labels(self) -> list[str]:
        """The labels that it gives."""
        return [] if self.facts is None else list(self.facts["labels"])

    def to_dict(self) -> dict[str, Any]:
        """Returns what clients may know of it."""
        facts = self.facts or {}
        figures = facts.get("figures") or {}
        return {
            "model": self.id,
            "kind": facts.get("model"),
            "labels": self.labels,
            "accuracy": (figures.get("accuracy") or {}).get("value"),
            "backbone": self.recipe.backbone,
            "input_size": self.recipe.input_size,
            "features": self.recipe.width,
            "recipe": self.recipe.digest,
            "nearest": self.index is not None,
            "pomona": __version__,
        }


def read_model(place: str | Path, access: Access, settings: ServeSettings) -> Model:
    """Reads what a store answers with.

    Raises
    ------
    StoreError, BackboneError
        If it cannot be read, is damaged or of another version, or its network is not here.
    """
    store = Store(place, access)
    recipe = store.recipe
    network = load_network(recipe)
    stamp = read_stamp(place, access)
    facts, predictor = read_facts(store.files), None
    if facts is not None:
        predictor = Predictor.read(store, top=settings.top, unsure=settings.unsure)
        facts = predictor.classifier.facts
    index = _open_index(store)
    featurizing = Featurizing(network, recipe, settings.image_timeout, settings.max_pixels)
    projection = None
    if index is not None:
        projection = (predictor and predictor.projection) or store.projection
    answering = Answering(featurizing, predictor, projection, find_drawing(store))
    return Model(
        store=Path(str(store.files)).name,
        recipe=recipe,
        facts=facts,
        stamp=stamp,
        loaded=BatchQueue.load(work, answering),
        index=index,
        collection=None
        if index is None
        else Collection(store, index, read_suspects(store.files, facts)),
    )


def _open_index(store: Store) -> Index | None:
    return None if store.find_projection() is None else open_index(store)


def read_stamp(place: str | Path, access: Access) -> bytes:
    """Returns what differs once a store has another classifier; empty without one.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    try:
        return open_folder(place, access).read(CLASSIFIER)
    except FileNotFoundError:
        return b""
