"""pomona turns a collection of images into compact, analysis-ready features.

The data's way, which `pomona.pipeline` tells on one page: the images of a source are found
(sources), cut into shards (plan), run through a pretrained network (features, backbones), reduced
by PCA (pca, projection) and written as plain files (store, storage) with a page that shows what
came out (report). Engines decide where the tasks run.

>>> import pomona
>>> store = pomona.run("photos", "out")
>>> store.pca().array.shape
(8710, 98)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pomona.api import open, run, train
    from pomona.errors import PomonaError
    from pomona.extraction.featurize import featurize
    from pomona.pca.projection import Projection
    from pomona.store.recipe import Recipe
    from pomona.store.store import Store
    from pomona.store.vectors import Vectors

_HOMES = {
    "PomonaError": "pomona.errors",
    "Projection": "pomona.pca.projection",
    "Recipe": "pomona.store.recipe",
    "Store": "pomona.store.store",
    "Vectors": "pomona.store.vectors",
    "featurize": "pomona.extraction.featurize",
    "open": "pomona.api",
    "run": "pomona.api",
    "train": "pomona.api",
}

__all__ = [
    "PomonaError",
    "Projection",
    "Recipe",
    "Store",
    "Vectors",
    "__version__",
    "featurize",
    "open",
    "run",
    "train",
]


def __getattr__(name: str) -> Any:
    # Each name is imported on first use: `pomona --help` and a worker need few of them.
    if name not in _HOMES:
        raise AttributeError(f"module 'pomona' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
