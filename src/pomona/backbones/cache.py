"""Keeps each backbone's ONNX bytes on disk, so that its weights are converted once."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from pomona.backbones.network import Network
from pomona.backbones.runtimes.base import DEFAULT_PRECISION
from pomona.backbones.spec import Backbone
from pomona.backbones.timing import images_per_second
from pomona.errors import BackboneError

logger = logging.getLogger(__name__)

LOCK = ".lock"
# Names of what is half-done. In a folder that others use too, none of theirs looks so.
TEMPORARY_PREFIX, TEMPORARY_SUFFIX = ".pomona-", ".tmp"
MEASURED_S = 1.0


def cache_folder() -> Path:
    """Returns the folder of converted backbones: $POMONA_CACHE, or the user's cache folder."""
    chosen = os.environ.get("POMONA_CACHE")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("pomona")


def load(backbone: Backbone) -> Network:
    """Returns a backbone ready to run, from the cache or else from its weights.

    Of several processes that need the same conversion one does it, and the others wait. A damaged
    file in the cache is replaced; a cache that cannot be written costs a warning.

    Raises
    ------
    BackboneError
        If the weights are needed, and are missing or not the published ones.
    """
    if not backbone.cacheable:
        return _network(backbone, backbone.build(backbone.find_weights(), backbone.input_size))
    folder = cache_folder()
    network = _read(folder, backbone)
    if network is None:
        backbone.find_weights()  # before anything is written
        with locked(folder):
            # Another process may have done it meanwhile.
            network = find(backbone) or keep(backbone, _convert(backbone))
    return network


def find(backbone: Backbone) -> Network | None:
    """Returns a backbone from the cache, or None if the cache lacks it or holds it damaged."""
    return _read(cache_folder(), backbone, quietly=True)


def keep(backbone: Backbone, model: bytes) -> Network:
    """Puts a backbone's ONNX bytes into the cache; one that cannot be written costs a warning."""
    network = _network(backbone, model)
    _write(cache_folder(), backbone, network)
    return network


def is_cached(backbone: Backbone) -> bool:
    """Returns whether the cache holds a backbone, damaged or not."""
    return bool(_entries(cache_folder(), backbone))


def measure(backbone: Backbone) -> float:
    """Returns a backbone's images/s on one core of this machine, and keeps it in the cache."""
    rate = round(images_per_second(load(backbone), MEASURED_S), 1)
    for entry in _entries(cache_folder(), backbone):
        try:
            put(_speed(entry), json.dumps({"images_per_second": rate}).encode())
        except OSError as exc:
            logger.warning(
                "%s runs %s images/s, which cannot be kept in %s (%s); "
                "set POMONA_CACHE to a folder that can be written",
                backbone.name,
                rate,
                entry.parent,
                exc.strerror,
            )
    return rate


def measured(backbone: Backbone) -> float | None:
    """Returns the images/s that `measure` kept, or None."""
    for entry in _entries(cache_folder(), backbone):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return float(json.loads(_speed(entry).read_bytes())["images_per_second"])
    return None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lets one process at a time change a folder; the kernel frees it when that one dies.

    Removes what processes that died have left half-written. A folder that cannot be written cannot
    be locked, and is not changed either.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((folder / LOCK).open("ab"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.warning("waiting for another process that converts a backbone")
                fcntl.flock(file, fcntl.LOCK_EX)
            for stale in folder.glob(f"{TEMPORARY_PREFIX}*{TEMPORARY_SUFFIX}"):
                if stale.is_dir():
                    shutil.rmtree(stale, ignore_errors=True)
                else:
                    stale.unlink(missing_ok=True)
        yield


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Gives a folder that is removed at the end, or by the next `locked` if the process dies."""
    folder = cache_folder()
    with tempfile.TemporaryDirectory(
        suffix=TEMPORARY_SUFFIX,
        prefix=TEMPORARY_PREFIX,
        dir=folder if can_write(folder) else None,
        ignore_cleanup_errors=True,
    ) as name:
        yield Path(name)


def can_write(folder: Path) -> bool:
    """Returns whether files can be made in a folder."""
    try:
        return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        return False


def put(path: Path, content: bytes) -> None:
    """Writes a file whole, or not at all. Raises OSError."""
    while True:
        temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                try:
                    temporary.replace(path)
                    return
                except FileNotFoundError:
                    # Another process may have removed it as a dead one's: then once more.
                    if os.fstat(file.fileno()).st_nlink or not can_write(path.parent):
                        raise
        finally:
            temporary.unlink(missing_ok=True)


def sha256(content: bytes) -> str:
    """Returns a content's SHA-256, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _speed(entry: Path) -> Path:
    return entry.with_suffix(".json")


def _entries(folder: Path, backbone: Backbone) -> list[Path]:
    try:
        return sorted(folder.glob(f"{_stem(backbone)}-*.onnx"))
    except OSError:  # a folder that may not be entered: `_write` will say so
        return []


def _stem(backbone: Backbone) -> str:
    text = f"{backbone.weights_sha256} {backbone.revision}"
    if backbone.precision != DEFAULT_PRECISION:
        text += f" {backbone.precision} {backbone.activations}"
    key = sha256(text.encode())[:16]
    return f"{file_name(backbone.name)}-{backbone.input_size}-{key}"


def file_name(name: str) -> str:
    """Returns a backbone's name as a file has it."""
    return name.replace(":", "-")


def _network(backbone: Backbone, model: bytes) -> Network:
    if backbone.width is None:
        raise BackboneError(f"{backbone.name} has no known width: {backbone.remedy}")
    return Network(
        backbone=backbone.name,
        model=model,
        digest=sha256(model),
        input_size=backbone.input_size,
        width=backbone.width,
        precision=backbone.precision,
    )


def _read(folder: Path, backbone: Backbone, *, quietly: bool = False) -> Network | None:
    # The name ends in the content's digest: a file is whole if the two agree.
    for path in _entries(folder, backbone):
        try:
            network = _network(backbone, path.read_bytes())
        except OSError as exc:
            if not quietly:
                logger.warning("cannot read the cached backbone %s: %s", path, exc.strerror)
            continue
        if path.stem.endswith(network.digest):
            return network
        if not quietly:
            logger.warning("the cached backbone %s is damaged and is built again", path)
    return None


def _convert(backbone: Backbone) -> bytes:
    weights = backbone.find_weights()
    try:
        digest = sha256(weights.read_bytes())
    except OSError as exc:
        raise BackboneError(
            f"cannot read the weights {weights}: {exc.strerror}; {backbone.remedy}"
        ) from exc
    if digest != backbone.weights_sha256:
        raise BackboneError(
            f"{weights} is not the weights file of {backbone.origin} (its SHA-256 is {digest}); "
            f"{backbone.remedy}"
        )
    return backbone.build(weights, backbone.input_size)


def _write(folder: Path, backbone: Backbone, network: Network) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        put(folder / f"{_stem(backbone)}-{network.digest}.onnx", network.model)
    except OSError as exc:
        logger.warning(
            "cannot keep the converted backbone in %s (%s): it is converted again in every run; "
            "set POMONA_CACHE to a folder that can be written",
            folder,
            exc.strerror,
        )
