"""The networks of keras.applications: what is known of them, and how they come into the cache.

The conversion runs in a process of its own (`convert`), the only one that needs TensorFlow. The
weights stay in the cache beside a record of what they are, so that a damaged network, or one of
another input size, is made from them again.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pomona.backbones import cache
from pomona.backbones.spec import Backbone
from pomona.errors import BackboneError, UsageError

# Raised whenever `graph.build` comes to give another network.
REVISION = 1
TOP1_SOURCE = "https://keras.io/api/applications/"
DEFAULT_SIZE = 224
NOT_STATED = "not stated by Keras (its code: Apache-2.0)"

# Input sizes other than 224, as the functions of keras.applications have them.
_SIZES = {
    "EfficientNetB1": 240,
    "EfficientNetB2": 260,
    "EfficientNetB3": 300,
    "EfficientNetB4": 380,
    "EfficientNetB5": 456,
    "EfficientNetB6": 528,
    "EfficientNetB7": 600,
    "EfficientNetV2B1": 240,
    "EfficientNetV2B2": 260,
    "EfficientNetV2B3": 300,
    "EfficientNetV2L": 480,
    "EfficientNetV2M": 480,
    "EfficientNetV2S": 384,
    "InceptionResNetV2": 299,
    "InceptionV3": 299,
    "NASNetLarge": 331,
    "Xception": 299,
}


@dataclass(frozen=True)
class _Known:
    application: str
    width: int
    preprocessing: str
    licence: str
    top1: float


NAMED = {
    "mobilenet_v2": _Known("MobileNetV2", 1280, "RGB, (x − 127.5) / 127.5", NOT_STATED, 71.3),
    "resnet50": _Known("ResNet50", 2048, "BGR, x − (103.939, 116.779, 123.68)", "MIT", 74.9),
    "efficientnet_b0": _Known(
        "EfficientNetB0",
        1280,
        "RGB, (x / 255 − (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)",
        NOT_STATED,
        77.1,
    ),
}
PREFIX = "keras:"
# With this process's paths: the user's folder, where any h5py.py may lie, is not put among them.
BOOTSTRAP = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from pomona.backbones.keras.convert import main; main(sys.argv[1])"
)


def names() -> list[str]:
    """Returns the networks that have a name of their own, and the others that were added."""
    try:
        records = sorted(cache.cache_folder().glob(f"{cache.file_name(PREFIX)}*.record"))
    except OSError:  # a folder that may not be entered
        return list(NAMED)
    added = [PREFIX + path.stem.removeprefix("keras-") for path in records]
    return [*NAMED, *(name for name in added if canonical(name) == name)]


def canonical(name: str) -> str | None:
    """Returns the one name of a Keras network, by whichever it is called, or None."""
    if name in NAMED:
        return name
    application = name.removeprefix(PREFIX)
    if application == name or not re.fullmatch("[A-Za-z][A-Za-z0-9]*", application):
        return None
    own = [key for key, known in NAMED.items() if known.application == application]
    return own[0] if own else name


def get(name: str) -> Backbone:
    """Returns a network by its canonical name. Some facts are known only once it was added."""
    application = _application(name)
    record = _record(name)
    known = NAMED.get(name)
    download = _download(application)
    # What is known of Keras's own weights says nothing of those in a user's file.
    keras_own = record.get("origin", download) == download
    published = known if keras_own else None
    nothing = "known once it is added"
    return Backbone(
        name=name,
        width=record.get("width", known and known.width),
        input_size=_SIZES.get(application, DEFAULT_SIZE),
        crop_fraction=0.875,
        preprocessing=record.get("preprocessing", known.preprocessing if known else nothing),
        weights_sha256=record.get("weights_sha256"),
        licence=(known.licence if known else NOT_STATED) if keras_own else "that of your file",
        origin=record.get("origin", download),
        top1=published.top1 if published else None,
        top1_source=TOP1_SOURCE if published else None,
        revision=REVISION,
        remedy=f"`{_command(name)}` brings it back",
        find_weights=partial(_find_weights, name, record.get("weights_sha256")),
        build=partial(_build, name),
    )


@dataclass(frozen=True)
class Added:
    """The result of `add`.

    Parameters
    ----------
    backbone : Backbone
        The network, in the cache.
    converted : bool
        False if it was there already.
    difference : float, optional
        The largest difference to Keras's own `predict`, as a share of the largest feature. None if
        nothing was converted.
    """

    backbone: Backbone
    converted: bool
    difference: float | None


def add(name: str, weights: Path | None = None) -> Added:
    """Converts a network's weights, and keeps them and the network in the cache.

    Parameters
    ----------
    name : str
        A canonical name, as `check_name` returns it.
    weights : Path, optional
        A weights file of Keras. None: Keras downloads its own.

    Raises
    ------
    BackboneError
        If there is no such network, the file is not what it should be, Keras is missing or the
        cache cannot be written.
    """
    folder = cache.cache_folder()
    try:
        given = None if weights is None else cache.sha256(weights.read_bytes())
    except OSError as exc:
        raise BackboneError(f"cannot read {weights}: {exc.strerror}; check `weights`") from exc
    with cache.locked(folder):
        before = get(name)
        if before.weights_sha256 and given in (None, before.weights_sha256) and _is_whole(before):
            return Added(before, False, None)
        if not cache.can_write(folder):
            raise BackboneError(
                f"cannot keep {name} in {folder}: set POMONA_CACHE to a folder that can be written"
            )
        with cache.temporary_folder() as out:
            model, facts = _convert(name, weights, before.input_size, out)
            source = weights or next((out / "models").iterdir())
            content = source.read_bytes()
            if given not in (None, cache.sha256(content)):
                raise BackboneError(f"{weights} changed while it was read: run the command again")
            _keep_weights(name, weights, content, facts)
            added = get(name)
            cache.keep(added, model)
        return Added(added, True, facts["difference"])


def has_keras() -> bool:
    """Returns whether Keras and TensorFlow are installed, without importing them."""
    return all(importlib.util.find_spec(package) for package in ("keras", "tensorflow"))


def _keep_weights(name: str, file: Path | None, content: bytes, facts: dict[str, Any]) -> None:
    """Puts weights and a record of them into the cache. file: the user's, None for Keras's own."""
    application, digest = _application(name), cache.sha256(content)
    origin = _download(application)
    if file is not None:
        origin = f"the file {file.name}, given as keras.applications.{application}"
    record = {
        "width": facts["width"],
        "preprocessing": facts["preprocessing"],
        "weights_sha256": digest,
        "origin": origin,
        "keras": facts["keras"],
    }
    try:
        cache.put(_weights_path(name, digest), content)
        # Last: what the record names is there.
        cache.put(_record_path(name), json.dumps(record, indent=1).encode())
    except OSError as exc:
        raise BackboneError(
            f"cannot keep {name} in {cache.cache_folder()}: {exc.strerror}; "
            "set POMONA_CACHE to a folder that can be written"
        ) from exc


def _is_whole(backbone: Backbone) -> bool:
    """Returns whether a network and its weights are in the cache as they were put there."""
    try:
        weights = backbone.find_weights().read_bytes()
    except OSError:
        return False
    return cache.sha256(weights) == backbone.weights_sha256 and cache.find(backbone) is not None


def _application(name: str) -> str:
    return NAMED[name].application if name in NAMED else name.removeprefix(PREFIX)


def _download(application: str) -> str:
    return f"Keras's download of keras.applications.{application}"


def _command(name: str) -> str:
    return f"pomona backbones add {name}"


def _record_path(name: str) -> Path:
    return cache.cache_folder() / f"{cache.file_name(name)}.record"


def _weights_path(name: str, digest: str) -> Path:
    return cache.cache_folder() / f"{cache.file_name(name)}-{digest}.weights"


def _record(name: str) -> dict[str, Any]:
    try:
        record = json.loads(_record_path(name).read_bytes())
    except (OSError, ValueError):  # not there, or damaged: to be added again
        return {}
    texts = ("preprocessing", "weights_sha256", "origin")
    whole = isinstance(record, dict) and all(isinstance(record.get(one), str) for one in texts)
    return record if whole and isinstance(record.get("width"), int) else {}


def _find_weights(name: str, digest: str | None) -> Path:
    if digest is None:
        raise BackboneError(
            f"{name} is not in the cache: `{_command(name)}` downloads and converts it, "
            "or converts a Keras weights file from disk"
        )
    return _weights_path(name, digest)


def _build(name: str, weights: Path, input_size: int) -> bytes:
    with cache.temporary_folder() as out:
        return _convert(name, weights, input_size, out)[0]


def _convert(
    name: str, weights: Path | None, input_size: int, out: Path
) -> tuple[bytes, dict[str, Any]]:
    """Returns the network as ONNX bytes, and the facts of its conversion."""
    if not has_keras():
        raise BackboneError(
            f'converting {name} needs Keras: pip install "pomona[keras]"; or run '
            f"`pomona backbones export {name} FILE.onnx --input-size {input_size}` on a machine "
            "that has it, and here `pomona run SOURCE OUT --backbone FILE.onnx`"
        )
    request = {
        "application": _application(name),
        "name": name,
        "weights": None if weights is None else str(weights.absolute()),
        "input_size": input_size,
        "out": str(out.absolute()),
    }
    request_file = out.absolute() / "request.json"
    request_file.write_text(json.dumps(request))
    done = subprocess.run(  # noqa: S603 - this very interpreter, and no shell
        [sys.executable, "-c", BOOTSTRAP, str(request_file), *sys.path],
        cwd=out,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        error_file = out / "error.txt"
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        reason = f"cannot convert {name}: {lines[-1]}"
        if error_file.exists():
            reason = error_file.read_text()
        if reason.startswith("cannot download"):
            reason += "; or take the weights from disk, by `weights` FILE"
        raise BackboneError(reason)
    facts = json.loads((out / "facts.json").read_text())
    return (out / "model.onnx").read_bytes(), facts


def check_name(name: str) -> str:
    """Returns the canonical name of a network that can be added. Raises UsageError."""
    own = canonical(name)
    if own is None:
        raise UsageError(
            f"{name} cannot be added: give {', '.join(NAMED)}, or keras:NAME with a name "
            "of keras.applications"
        )
    return own
