"""The stages for `pyspark.ml` pipelines: images to features (embeddings), and their PCA.

>>> from pyspark.ml import Pipeline
>>> from pyspark.ml.classification import LogisticRegression
>>> from pomona.spark import PCA, ImageFeaturizer
>>> pipeline = Pipeline(
...     stages=[
...         ImageFeaturizer(inputCol="content", onError="drop"),
...         PCA(inputCol="features", variance=0.9),
...         LogisticRegression(featuresCol="pca"),
...     ]
... )
>>> model = pipeline.fit(images)  # a DataFrame with the columns content and label

Each name is imported on first use: a worker of the engine needs no stage. Where pyspark is
missing, that raises EngineError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pomona.errors import EngineError

if TYPE_CHECKING:
    from pomona.spark.featurizer import ImageFeaturizer
    from pomona.spark.pca import PCA
    from pomona.spark.pca_model import PCAModel

_HOMES = {
    "ImageFeaturizer": "pomona.spark.featurizer",
    "PCA": "pomona.spark.pca",
    "PCAModel": "pomona.spark.pca_model",
}

__all__ = ["PCA", "ImageFeaturizer", "PCAModel"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pomona.spark' has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] != "pyspark":
            raise
        raise EngineError('pyspark is not installed: pip install "pomona[spark]"') from exc


def __dir__() -> list[str]:
    return sorted(__all__)
