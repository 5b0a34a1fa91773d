"""The way in from Python: `pomona.run`, `pomona.open` and `pomona.train`."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pomona.backbones.overrides import ModelOverrides
from pomona.engines.registry import open_engine
from pomona.learning.settings import NEAR_DUPLICATES, NO_GROUPS, TrainSettings
from pomona.pipeline import run as pipeline
from pomona.pipeline.context import RunSettings
from pomona.pipeline.settings import ExtractSettings, ReduceSettings
from pomona.progress import PlainProgress, Progress
from pomona.s3.address import Access
from pomona.store.folders.registry import place
from pomona.store.store import Store

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

    from pomona.learning.ask import Prediction
    from pomona.search.ask import Found

# The keyword of `pomona.run` for a field of a settings class, where the two differ.
_KEYWORDS = {"sha256": "backbone_sha256"}


class OpenedStore(Store):
    """A store that can be asked, as `pomona.open` and `pomona.run` return it."""

    @property
    def classifier(self) -> StoreClassifier:
        """The classifier that `pomona train` has made.

        Raises
        ------
        StoreError
            If there is none that can be used.
        """
        return StoreClassifier(self)

    def search(
        self,
        images: Sequence[str | os.PathLike[str] | bytes | Image | npt.NDArray[np.uint8]],
        *,
        top: int = 10,
    ) -> list[Found]:
        """Finds the nearest images of the store, as `pomona search` does.

        Parameters
        ----------
        images : sequence
            Paths, bytes of image files, Pillow images, or uint8[h, w, 3] arrays (RGB).
        top : int
            How many images are wanted for each.

        Returns
        -------
        list of Found
            One for each image, in their order. One that cannot be read has an `error`.

        Raises
        ------
        UsageError, StoreError, BackboneError
            If `images` is a single image, the store has no components, or its network cannot be
            used.
        """
        from pomona.search.ask import search_here

        return search_here(self, images, top=top)


class StoreClassifier:
    """The classifier of a store, to be asked from Python.

    Parameters
    ----------
    store : Store
        The store.

    Attributes
    ----------
    labels : list of str
        The labels that it knows.
    facts : dict
        What classifier/classifier.json says.

    Raises
    ------
    StoreError
        If the store has no classifier that can be used.
    """

    def __init__(self, store: Store) -> None:
        from pomona.learning.classifier import Classifier

        found = Classifier.read(store)
        self._store, self.labels, self.facts = store, found.labels, found.facts

    def __repr__(self) -> str:
        return f"<{self.facts['model']} of {len(self.labels)} labels, {self._store.files}>"

    def predict(
        self,
        images: Sequence[str | os.PathLike[str] | bytes | Image | npt.NDArray[np.uint8]],
        *,
        top: int = 5,
        unsure: float = 0.9,
    ) -> list[Prediction]:
        """Labels images, as `pomona predict` does.

        Parameters
        ----------
        images : sequence
            Paths, bytes of image files, Pillow images, or uint8[h, w, 3] arrays (RGB).
        top : int
            How many labels to give for an image.
        unsure : float
            An image is unsure whose label is less probable than this.

        Returns
        -------
        list of Prediction
            One for each image, in their order. One that cannot be read has an `error`.

        Raises
        ------
        UsageError, StoreError, BackboneError
            If `images` is a single image, or the classifier or its network cannot be used.
        """
        from pomona.learning.ask import predict_here

        return predict_here(self._store, images, top=top, unsure=unsure)


def open(path: str | os.PathLike[str], *, allow_region: Sequence[str] = ()) -> OpenedStore:
    """Opens a store, to be read.

    Parameters
    ----------
    path : str or os.PathLike
        The store's folder, or its s3:// address.
    allow_region : sequence of str
        AWS regions outside the European Economic Area that its bucket may be in.

    Raises
    ------
    StoreError
        If there is no store.
    """
    store = OpenedStore(place(path), Access(tuple(allow_region)))
    _ = store.manifest
    return store


def run(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    thumbnails: bool | None = None,
    engine: str = "local",
    workers: int | None = None,
    master: str | None = None,
    spark_conf: Mapping[str, str] | None = None,
    progress: bool = True,
    allow_region: Sequence[str] = (),
    sse: str | None = None,
    kms_key: str | None = None,
    insecure_endpoint: bool = False,
    **settings: Any,
) -> OpenedStore:
    """The whole way, as `pomona run SOURCE OUT`: images in; features, PCA, CSV and a report out.

    Parameters
    ----------
    source, out : str or os.PathLike
        The folder, pack or s3:// address of the images; the folder or s3:// address of the store.
    progress : bool
        Whether a line every few seconds goes to stderr.
    thumbnails, engine, workers, master, spark_conf, allow_region, sse, kms_key, insecure_endpoint
        As the options of these names.
    **settings
        As the options of these names: the fields of `ExtractSettings`, `ReduceSettings` and
        `ModelOverrides` (whose `sha256` is `backbone_sha256` here).

    Returns
    -------
    Store
        The store, to be read.

    Raises
    ------
    PomonaError
        Where `pomona run` fails: see `pomona.errors`.
    """
    _check_settings(settings)
    run_settings = RunSettings(
        open_engine(engine, workers, master=master, conf=spark_conf),
        PlainProgress(sys.stderr) if progress else Progress(),
        _as_call(source, out, {**settings, "thumbnails": thumbnails}),
        thumbnails,
        access=Access(tuple(allow_region), sse, kms_key, insecure_endpoint),
    )
    extracting = ExtractSettings(
        source=place(source),
        overrides=ModelOverrides(**_of(ModelOverrides, settings)),
        **_of(ExtractSettings, settings),
    )
    pipeline.run(
        place(out), extracting, ReduceSettings(**_of(ReduceSettings, settings)), run_settings
    )
    return OpenedStore(place(out), run_settings.access)


def train(
    store: str | os.PathLike[str],
    *,
    model: str = TrainSettings.model,
    on: str = TrainSettings.on,
    labels: str | os.PathLike[str] | None = None,
    groups: str | os.PathLike[str] = TrainSettings.groups,
    seed: int = TrainSettings.seed,
    promote: str = TrainSettings.promote,
    progress: bool = True,
    allow_region: Sequence[str] = (),
) -> StoreClassifier:
    """Trains the classifier of a store, as `pomona train STORE`.

    Parameters
    ----------
    store : str or os.PathLike
        The store's folder, or its s3:// address.
    model, on, labels, groups, seed, promote, allow_region
        As the options of these names.
    progress : bool
        Whether a line every few seconds goes to stderr.

    Returns
    -------
    StoreClassifier
        The classifier in use: the new one, unless another was in use and `promote` keeps it. Its
        page is classifier/evaluation.html.

    Raises
    ------
    PomonaError
        Where `pomona train` fails: see `pomona.errors`.
    """
    from pomona.learning import train as training

    learning = TrainSettings(
        model=model,
        on=on,
        labels=None if labels is None else Path(labels).expanduser(),
        groups=groups
        if isinstance(groups, str) and groups in (NEAR_DUPLICATES, NO_GROUPS)
        else Path(groups).expanduser(),
        seed=seed,
        promote=promote,
    )
    run_settings = RunSettings(
        open_engine("local", 1),
        PlainProgress(sys.stderr) if progress else Progress(),
        f"pomona.train({str(store)!r})",
        access=Access(tuple(allow_region)),
    )
    training.train(place(store), learning, run_settings)
    return StoreClassifier(Store(place(store), run_settings.access))


def _check_settings(settings: dict[str, Any]) -> None:
    """Raises TypeError for a setting that does not exist; makes a path of `labels`."""
    unknown = sorted(set(settings) - set(_defaults()))
    if unknown:
        near = difflib.get_close_matches(unknown[0], _defaults(), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise TypeError(f"run() has no setting {unknown[0]!r}{hint}")
    if settings.get("labels") is not None:
        settings["labels"] = Path(settings["labels"]).expanduser()


def _fields(kind: type) -> dict[str, dataclasses.Field[Any]]:
    """The fields of a settings class that `run` takes, by their keywords."""
    return {
        _KEYWORDS.get(field.name, field.name): field
        for field in dataclasses.fields(kind)
        if field.name not in ("source", "overrides")
    }


def _defaults() -> dict[str, dataclasses.Field[Any]]:
    return {**_fields(ExtractSettings), **_fields(ModelOverrides), **_fields(ReduceSettings)}


def _of(kind: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the settings that are fields of a class."""
    return {
        field.name: settings[keyword]
        for keyword, field in _fields(kind).items()
        if keyword in settings
    }


def _as_call(
    source: str | os.PathLike[str], out: str | os.PathLike[str], settings: Mapping[str, Any]
) -> str:
    """The call that repeats a run: its settings, but for those that are as by default."""
    words = [repr(str(source)), repr(str(out))]
    defaults = {name: field.default for name, field in _defaults().items()}
    for name in [*defaults, "thumbnails"]:
        value = settings.get(name, defaults.get(name))
        if value != defaults.get(name):
            words.append(f"{name}={(str(value) if isinstance(value, Path) else value)!r}")
    return f"pomona.run({', '.join(words)})"


def _signature() -> inspect.Signature:
    """The signature of `run` with each setting by name, as `help` and editors show it."""
    own = inspect.signature(run)
    parameters = [each for each in own.parameters.values() if each.name != "settings"]
    parameters += [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type
        )
        for name, field in _defaults().items()
    ]
    return own.replace(parameters=parameters)


run.__signature__ = _signature()  # type: ignore[attr-defined]
