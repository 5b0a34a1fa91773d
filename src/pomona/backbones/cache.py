"""Keeps each backbone's ONNX bytes on disk, so that its weights are converted once."""

from __future__ import annotations

import hashlib
import logging
import os
import uuid
from pathlib import Path

import platformdirs

from pomona.backbones.registry import Backbone
from pomona.backbones.runtime import Network
from pomona.errors import BackboneError

logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Return the folder of converted backbones: $POMONA_CACHE, or the user's cache folder."""
    chosen = os.environ.get("POMONA_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("pomona")


def load(backbone: Backbone) -> Network:
    """Return the backbone ready to run, from the cache or else from its weights.

    Reads and writes `cache_folder()`; any number of processes may do so at once. A file there
    that is damaged is replaced; a folder that cannot be written costs a warning. Raises
    BackboneError when the weights are needed and are missing or not the published ones.
    """
    folder = cache_folder()
    network = _read(folder, backbone)
    if network is None:
        network = _convert(backbone)
        _write(folder, backbone, network)
    return network


def is_cached(backbone: Backbone) -> bool:
    """Whether the cache holds the backbone, whole or not."""
    return bool(_entries(cache_folder(), backbone))


def _entries(folder: Path, backbone: Backbone) -> list[Path]:
    try:
        return sorted(folder.glob(f"{_stem(backbone)}-*.onnx"))
    except OSError:  # a folder that may not be entered: `_write` says so
        return []


def _stem(backbone: Backbone) -> str:
    key = _sha256(f"{backbone.weights_sha256} {backbone.revision}".encode())[:16]
    return f"{backbone.name}-{backbone.input_size}-{key}"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _network(backbone: Backbone, model: bytes) -> Network:
    return Network(
        backbone=backbone.name,
        model=model,
        digest=_sha256(model),
        input_size=backbone.input_size,
        width=backbone.width,
    )


def _read(folder: Path, backbone: Backbone) -> Network | None:
    # The name ends in the content's digest: a file is whole when the two agree.
    for path in _entries(folder, backbone):
        try:
            network = _network(backbone, path.read_bytes())
        except OSError as exc:
            logger.warning("cannot read the cached backbone %s: %s", path, exc.strerror)
            continue
        if path.stem.endswith(network.digest):
            return network
        logger.warning("the cached backbone %s is damaged and is built anew", path)
    return None


def _convert(backbone: Backbone) -> Network:
    weights = backbone.find_weights()
    try:
        digest = _sha256(weights.read_bytes())
    except OSError as exc:
        raise BackboneError(
            f"cannot read the weights {weights}: {exc.strerror}; "
            f"reinstall the package of {backbone.origin}"
        ) from exc
    if digest != backbone.weights_sha256:
        raise BackboneError(
            f"{weights} is not the weights file of {backbone.origin} (its SHA-256 is {digest}); "
            "reinstall the package it came with"
        )
    return _network(backbone, backbone.build(weights, backbone.input_size))


def _write(folder: Path, backbone: Backbone, network: Network) -> None:
    path = folder / f"{_stem(backbone)}-{network.digest}.onnx"
    temporary = folder / f"{uuid.uuid4().hex}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(network.model)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as exc:
        logger.warning(
            "cannot keep the converted backbone in %s (%s): it is converted anew in every run; "
            "set POMONA_CACHE to a folder that can be written",
            folder,
            exc.strerror,
        )
