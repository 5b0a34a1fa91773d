"""A backbone as one ONNX file that carries its spec: made here, used where there is no cache."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

import onnx

from pomona.backbones.cache import sha256
from pomona.backbones.runtime import Network
from pomona.backbones.spec import Backbone
from pomona.errors import BackboneError

KEY = "pomona"


@dataclass(frozen=True)
class Spec:
    """What the file says of its network: `Backbone`'s facts, and the SHA-256 of the ONNX bytes
    without this text, which are the network's as every run knows it."""

    name: str
    width: int
    input_size: int
    crop_fraction: float
    preprocessing: str
    weights_sha256: str
    licence: str
    origin: str
    top1: float | None
    top1_source: str | None
    revision: int
    model_sha256: str


def write(backbone: Backbone, network: Network) -> bytes:
    """The file's content: any ONNX tool opens it."""
    facts = {**backbone.facts(), "width": network.width, "model_sha256": network.digest}
    model = onnx.load_model_from_string(network.model)
    model.metadata_props.add(key=KEY, value=json.dumps(facts, sort_keys=True, ensure_ascii=False))
    return bytes(model.SerializeToString(deterministic=True))


def read(model: onnx.ModelProto) -> tuple[Spec, bytes] | None:
    """The spec and the network's own bytes; None of a file that pomona did not write.

    Raises BackboneError when the file is not as it was written.
    """
    told = [each for each in model.metadata_props if each.key == KEY]
    if not told:
        return None
    try:
        facts: dict[str, Any] = json.loads(told[0].value)
        spec = Spec(**{each.name: facts[each.name] for each in fields(Spec)})
    except (ValueError, KeyError, TypeError) as exc:
        raise BackboneError("it was made by another version of pomona: export it anew") from exc
    model.metadata_props.remove(told[0])
    content = bytes(model.SerializeToString(deterministic=True))
    if sha256(content) != spec.model_sha256:
        raise BackboneError("it is damaged, or was changed since: copy or export it anew")
    return spec, content
