"""Converts a network of keras.applications to ONNX, in a process of its own.

TensorFlow takes gigabytes and writes to stderr; here both end with the process. `main` gets a JSON
file with `Request`'s fields; the folder `out` gets model.onnx and facts.json, or error.txt with
one line.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pomona.backbones.keras.graph import build
from pomona.backbones.keras.layers import LAYERS
from pomona.backbones.network import Network
from pomona.backbones.preprocessing import Preprocessing
from pomona.errors import BackboneError

if TYPE_CHECKING:
    import types

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Request:
    """A conversion to do.

    Parameters
    ----------
    application : str
        The name of a function in keras.applications.
    name : str
        The backbone's name.
    weights : str, optional
        A weights file. None: Keras downloads its own into out/models.
    input_size : int
        Side of the images, in pixels.
    out : str
        The folder of the results.
    """

    application: str
    name: str
    weights: str | None
    input_size: int
    out: str


@dataclass(frozen=True)
class Facts:
    """The facts that a conversion found.

    Parameters
    ----------
    width : int
        Features per image.
    preprocessing : str
        All that happens to the pixels, for people.
    keras : str
        The version of Keras.
    difference : float
        The largest difference to Keras's own `predict` on drawn images, as a share of the largest
        feature.
    """

    width: int
    preprocessing: str
    keras: str
    difference: float


def convert(request: Request) -> tuple[bytes, Facts]:
    """Builds the Keras model, loads its weights, converts it and compares the features of both.

    Returns
    -------
    model : bytes
        The network as ONNX.
    facts : Facts
        The facts that were found.

    Raises
    ------
    BackboneError
        If a step cannot be done, or the features differ.
    """
    import keras

    function = getattr(keras.applications, request.application, None)
    if not callable(function):
        known = ", ".join(name for name in dir(keras.applications) if name[0].isupper())
        raise BackboneError(f"keras.applications has no {request.application}; it has {known}")
    module = sys.modules[function.__module__]
    side = request.input_size
    model = _load(function, request)
    preprocessing = find_preprocessing(module)
    content, seen = build(model, request.name, side, preprocessing, LAYERS)
    images = draw(side)
    expected = model.predict(module.preprocess_input(images.astype(np.float32)), verbose=0)
    width = expected.shape[1]
    network = Network(request.name, content, "", side, width)
    difference = float(np.abs(network.features(images) - expected).max() / np.abs(expected).max())
    if not difference <= TOLERANCE:
        raise BackboneError(
            f"the converted {request.name} differs from Keras's by {difference:.1e} of its "
            "features' scale; these weights make no ordinary activations, or this is a bug"
        )
    return content, Facts(width, seen.in_words(), keras.__version__, difference)


def draw(side: int, count: int = 4) -> NDArray[np.uint8]:
    """Draws uint8[count, side, side, 3]: coarse blots of colour with fine noise on them."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (count, 8, 8, 3))
    places = np.arange(side) * 8 // side
    images = coarse[:, places][:, :, places] + random.normal(0, 20, (count, side, side, 3))
    return np.clip(images, 0, 255).astype(np.uint8)


def find_preprocessing(module: types.ModuleType) -> Preprocessing:
    """Finds what a module's `preprocess_input` does, by what it makes of black and each colour."""
    colours = np.zeros((4, 1, 1, 3), np.float32)
    colours[1:, 0, 0] = 255 * np.eye(3)
    black, *single = module.preprocess_input(colours)[:, 0, 0].astype(np.float64)
    slopes = (np.array(single) - black) / 255
    order = np.abs(slopes).argmax(axis=0).tolist()
    if order not in ([0, 1, 2], [2, 1, 0]):
        raise BackboneError(f"{module.__name__}.preprocess_input mixes the colours")
    # To the digits that float32 holds.
    std = [float(f"{1 / slopes[source, at]:.7g}") for at, source in enumerate(order)]
    mean = [float(f"{-value * spread:.6g}") for value, spread in zip(black, std, strict=True)]
    return Preprocessing(tuple(mean), tuple(std), order == [2, 1, 0])  # type: ignore[arg-type]


def _load(function: Callable[..., Any], request: Request) -> Any:
    """Returns the network without its top, pooled, with the request's weights."""
    shape = (request.input_size, request.input_size, 3)
    pooled = {"include_top": False, "pooling": "avg", "input_shape": shape}
    if request.weights is None:
        try:
            return function(weights="imagenet", **pooled)
        except Exception as exc:
            raise BackboneError(f"cannot download {request.name}: {_line(exc)}") from exc
    file = _with_suffix(Path(request.weights), Path(request.out))
    model = build_unloaded(function, **pooled)
    try:
        model.load_weights(file)
    except Exception as exc:
        # The file may have the top, which comes last.
        whole = build_unloaded(function, include_top=True)
        try:
            whole.load_weights(file)
        except Exception:
            raise BackboneError(
                f"{request.weights} does not hold the weights of keras.applications."
                f"{request.application} ({_line(exc)})"
            ) from exc
        model.set_weights(whole.get_weights()[: len(model.weights)])
    for layer in model.layers:
        # A Normalization uses its weights only from then on.
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
    return model


def build_unloaded(function: Callable[..., Any], **settings: Any) -> Any:
    """Returns the network as it is built for ImageNet's weights, without these.

    With weights=None some networks lack a step that scales their input.

    Parameters
    ----------
    function : callable
        Of keras.applications.
    **settings
        What it is given besides.
    """
    import keras
    from keras.src.utils import file_utils

    load, fetch = keras.Model.load_weights, file_utils.get_file
    keras.Model.load_weights = lambda *_, **__: None
    file_utils.get_file = lambda *_, **__: ""
    try:
        return function(weights="imagenet", **settings)
    finally:
        keras.Model.load_weights, file_utils.get_file = load, fetch


def _with_suffix(file: Path, folder: Path) -> Path:
    """Links to a file by the suffix that tells Keras its format, found in the file itself.

    Keras reads arrays from each of them and runs nothing: of a .keras file, the weights alone.
    """
    import h5py

    if zipfile.is_zipfile(file):
        suffix = ".keras"
    else:
        try:
            with h5py.File(file) as opened:
                old = "layer_names" in opened.attrs or "model_weights" in opened
        except OSError as exc:
            raise BackboneError(f"{file} is not a Keras weights file ({_line(exc)})") from exc
        suffix = ".h5" if old else ".weights.h5"
    link = folder / f"given{suffix}"
    link.symlink_to(file.absolute())
    return link


def _line(exc: BaseException) -> str:
    text = " ".join(str(exc).split())
    return text if len(text) < 300 else f"{text[:297]}…"


def main(request_file: str) -> None:
    """Does the conversion that a file requests; exits with status 1 if it cannot."""
    request = Request(**json.loads(Path(request_file).read_text()))
    out = Path(request.out)
    try:
        os.environ["KERAS_BACKEND"] = "tensorflow"
        os.environ["KERAS_HOME"] = request.out
        content, facts = convert(request)
    except BackboneError as exc:
        (out / "error.txt").write_text(str(exc))
        sys.exit(1)
    (out / "model.onnx").write_bytes(content)
    (out / "facts.json").write_text(json.dumps(dataclasses.asdict(facts)))
