"""MobileNetV2 as Keras has it, with weights that are drawn: speed does not depend on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SIDE = 224
_LOADED: list[Any] = []


def build() -> Any:
    """The network without its classifier."""
    import keras

    return keras.applications.MobileNetV2(
        include_top=False, pooling="avg", weights=None, input_shape=(SIDE, SIDE, 3)
    )


def loaded(weights: list[Any]) -> Any:
    """The network with these weights, made once in each process."""
    if not _LOADED:
        _LOADED.append(with_weights(weights))
    return _LOADED[0]


def with_weights(weights: list[Any]) -> Any:
    """The network with these weights."""
    model = build()
    model.set_weights(weights)
    return model


def add(model: Any, folder: Path) -> None:
    """Brings it into pomona's cache, by a file of its weights in this folder."""
    from pomona.backbones.keras import catalog as keras_catalog

    file = folder / "mobilenet_v2.weights.h5"
    model.save_weights(file)
    keras_catalog.add("mobilenet_v2", file)
