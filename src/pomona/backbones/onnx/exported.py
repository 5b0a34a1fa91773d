"""A backbone as one ONNX file that carries its facts: made here, used where there is no cache."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from typing import Any

import onnx

from pomona.backbones.cache import sha256
from pomona.backbones.network import Network
from pomona.backbones.overrides import LARGEST_SIDE
from pomona.backbones.runtimes.base import DEFAULT_PRECISION
from pomona.backbones.spec import Backbone
from pomona.errors import BackboneError

KEY = "pomona"


@dataclass(frozen=True)
class Spec:
    """The facts of `Backbone` that an exported file carries, and one more.

    Parameters
    ----------
    model_sha256 : str
        SHA-256 of the ONNX bytes without this text: the digest of the network in any run.
    """

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
    precision: str = DEFAULT_PRECISION  # of files that earlier versions wrote


def write(backbone: Backbone, network: Network) -> bytes:
    """Returns the file's content, which any ONNX tool opens."""
    facts = {**backbone.facts(), "width": network.width, "model_sha256": network.digest}
    model = onnx.load_model_from_string(network.model)
    model.metadata_props.add(key=KEY, value=json.dumps(facts, sort_keys=True, ensure_ascii=False))
    return bytes(model.SerializeToString(deterministic=True))


def _can_be(facts: dict[str, Any]) -> bool:
    """Returns whether all facts are of their type and in their range."""
    texts = ("name", "preprocessing", "licence", "origin")
    digests = ("weights_sha256", "model_sha256")
    share, top1, source = facts["crop_fraction"], facts["top1"], facts["top1_source"]
    return (
        all(isinstance(facts[key], str) and facts[key].isprintable() for key in texts)
        and (source is None or (isinstance(source, str) and source.isprintable()))
        and all(re.fullmatch("[0-9a-f]{64}", facts[key]) for key in digests)
        and all(type(facts[key]) is int and facts[key] > 0 for key in ("width", "revision"))
        and (type(facts["input_size"]) is int and 0 < facts["input_size"] <= LARGEST_SIDE)
        and facts["precision"] in (DEFAULT_PRECISION, "int8")
        and (type(share) in (int, float) and 0 < share <= 1)
        and (top1 is None or (type(top1) in (int, float) and 0 <= top1 <= 100))
    )


def read(model: onnx.ModelProto) -> tuple[Spec, bytes] | None:
    """Returns the spec and the network's own bytes, or None if pomona did not write the file.

    Raises
    ------
    BackboneError
        If the file is not as it was written.
    """
    entries = [each for each in model.metadata_props if each.key == KEY]
    if not entries:
        return None
    try:
        facts: dict[str, Any] = json.loads(entries[0].value)
        facts.setdefault("precision", DEFAULT_PRECISION)
        spec = Spec(**{each.name: facts[each.name] for each in fields(Spec)})
        if not _can_be(facts):
            raise ValueError("facts that cannot be")
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise BackboneError("it was made by another version of pomona: export it again") from exc
    model.metadata_props.remove(entries[0])
    content = bytes(model.SerializeToString(deterministic=True))
    if sha256(content) != spec.model_sha256:
        raise BackboneError("it is damaged, or was changed since: copy or export it again")
    return spec, content
