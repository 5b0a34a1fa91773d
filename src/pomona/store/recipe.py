"""Recipe: everything that decides a feature's bytes."""

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

    JPEGs are decoded at 1/2, 1/4 or 1/8 of their size as long as both sides keep four times what
    the network needs (`decode_scaling` "dct_4x"). Images decoded to RGB are brought to
    `input_size` × `input_size` pixels: by area where they shrink, by the filter `enlarge` where
    they grow; `fit` says whether the whole image is stretched or the central square of
    `crop_fraction` of its short side is cut out first.
    Features that were computed elsewhere have None where nothing is known, and the digest of
    what was imported as `model_sha256`.
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
        """How many pixels a side the network needs of the whole image; None where not known."""
        return self.input_size and math.ceil(self.input_size / (self.crop_fraction or 1.0))

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the recipe's fields."""
        fields = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(fields.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """The recipe as it stands in the manifest."""
        return {**dataclasses.asdict(self), "digest": self.digest}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Recipe:
        """Inverse of `to_dict`; fields of a later version are ignored, so the digest differs."""
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in fields.items() if name in known})

    def differences(self, other: Recipe) -> list[str]:
        """One "field: this one's value, not the other's" for each field that differs."""
        mine, theirs = dataclasses.asdict(self), dataclasses.asdict(other)
        return [
            f"{name}: {mine[name]}, not {theirs[name]}"
            for name in mine
            if mine[name] != theirs[name]
        ]
