"""The recipe of the features that a network makes."""

from __future__ import annotations

from pomona.backbones.network import Network
from pomona.backbones.spec import Backbone
from pomona.store.recipe import Recipe


def make_recipe(backbone: Backbone, network: Network, fit: str) -> Recipe:
    """The recipe of the features of this network; fit: "stretch" or "crop"."""
    return Recipe(
        backbone=backbone.name,
        weights_sha256=backbone.weights_sha256,
        model_sha256=network.digest,
        input_size=network.input_size,
        width=network.width,
        fit=fit,
        crop_fraction=backbone.crop_fraction if fit == "crop" else None,
        runtime=network.runtime.name,
        precision=network.precision,
    )
