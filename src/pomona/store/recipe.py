"""Recipe: all that decides a feature's bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """How an image becomes features.

    Features that were computed elsewhere have None for what is not known.

    Parameters
    ----------
    backbone : str
        The network's name.
    weights_sha256 : str, optional
        SHA-256 (hex) of its weights.
    model_sha256 : str, optional
        SHA-256 (hex) of the network that runs, or of the imported features.
    input_size : int, optional
        The network takes images of `input_size` × `input_size` pixels.
    width : int
        How many features an image has.
    fit : str
        "stretch": the whole image is brought to the network's size. "crop": its central square is.
    crop_fraction : float, optional
        The side of that square, as a share of the image's short side.
    decode_scaling : str, optional
        "dct_4x": JPEGs are decoded at 1/2, 1/4 or 1/8 of their size, as long as both sides keep
        four times what the network needs.
    shrink, enlarge : str, optional
        The filters for images that are larger or smaller than the network's input.
    runtime, precision : str, optional
        What ran the network, and in which numbers.
    """

    backbone: str
    weights_sha256: str | None
    model_sha256: str | None
    input_size: int | None
    width: int
    fit: str = "stretch"
    crop_fraction: float | None = None
    decode_scaling: str | None = "dct_4x"
    shrink: str | None = "area"
    enlarge: str | None = "linear"
    runtime: str | None = "onnxruntime"
    precision: str | None = "float32"

    @property
    def side(self) -> int | None:
        """The pixels that the network needs on a side of the whole image; None if not known."""
        return self.input_size and math.ceil(self.input_size / (self.crop_fraction or 1.0))

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the recipe's fields."""
        fields = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(fields.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Returns the recipe as the manifest holds it."""
        return {**dataclasses.asdict(self), "digest": self.digest}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Recipe:
        """Returns the recipe that `to_dict` wrote.

        Fields of a later version are ignored, so that the digest differs.

        Parameters
        ----------
        fields : dict
            What the manifest holds.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in fields.items() if name in known})

    def differences(self, other: Recipe) -> list[str]:
        """Returns "field: this one's value, not the other's" for each field that differs.

        Parameters
        ----------
        other : Recipe
            The recipe to compare with.
        """
        mine, theirs = dataclasses.asdict(self), dataclasses.asdict(other)
        return [
            f"{name}: {mine[name]}, not {theirs[name]}"
            for name in mine
            if mine[name] != theirs[name]
        ]
