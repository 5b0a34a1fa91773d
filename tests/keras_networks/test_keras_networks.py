"""Networks of Keras, held against Keras itself: `make test-keras`, for they need TensorFlow.

Weights are random, and calibrated: each normalisation has the moments of what it gets, so that
activations are of ordinary size at every layer. Files are written as Keras publishes them.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

import pomona as api
from conftest import Pomona
from machine import DATA
from pomona.backbones import cache, registry
from pomona.backbones.keras import catalog as keras_catalog
from pomona.backbones.keras import convert as keras_convert
from pomona.backbones.network import Network
from pomona.backbones.overrides import ModelOverrides
from pomona.errors import BackboneError

TOLERANCE = 1e-4
SIDE = 224
APPLICATIONS = {
    "mobilenet_v2": "MobileNetV2",
    "resnet50": "ResNet50",
    "efficientnet_b0": "EfficientNetB0",
}
# Of EfficientNet's published weights alone, its input is divided by the root of these.
DEVIATIONS = np.array([0.229, 0.224, 0.225])

pytestmark = [
    pytest.mark.needs("tensorflow"),
    pytest.mark.filterwarnings("ignore"),
]


@dataclass(frozen=True)
class Original:
    """A network as Keras has it: float32[n, width] for uint8[n, side, side, 3]."""

    name: str
    model: Any
    predict: Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@pytest.fixture(scope="module")
def photographs() -> NDArray[np.uint8]:
    """uint8[n, 224, 224, 3]: real ones, of scikit-image and, where they are, of fruit."""
    images = [getattr(skimage.data, name)() for name in ("astronaut", "coffee", "cat", "rocket")]
    squares = [cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in images]
    if DATA.is_dir():
        with tarfile.open(DATA / "fruits360-subset.tar") as archive:
            fruits = [name for name in archive.getnames() if "/Test/" in name and ".jpg" in name]
            for name in fruits[::800]:
                opened = archive.extractfile(name)
                assert opened is not None
                fruit = Image.open(io.BytesIO(opened.read()))
                squares.append(np.asarray(fruit.convert("RGB").resize((SIDE, SIDE))))
    return np.stack(squares).astype(np.uint8)


def calibrate(model: Any, pixels: NDArray[np.float32]) -> None:
    """Random gains and shifts for every normalisation, and the moments of what it gets."""
    random = np.random.default_rng(0)
    norms = [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    for layer in norms:
        layer.gamma.assign(random.uniform(0.7, 1.3, layer.gamma.shape))
        layer.beta.assign(random.normal(0, 0.2, layer.beta.shape))
        layer.momentum = 0.0
    model(pixels, training=True)


def sizes(model: Any, pixels: NDArray[np.float32]) -> dict[str, float]:
    """The root mean square of what every layer with weights gives."""
    import keras

    layers = [layer for layer in model.layers if layer.weights]
    outputs = keras.Model(model.input, [layer.output for layer in layers])(pixels, training=False)
    return {
        layer.name: float(np.sqrt(np.mean(np.square(output))))
        for layer, output in zip(layers, outputs, strict=True)
    }


@pytest.fixture(scope="module", params=APPLICATIONS)
def original(request: pytest.FixtureRequest, photographs: NDArray[np.uint8]) -> Original:
    import keras

    keras.utils.set_random_seed(1)
    function = getattr(keras.applications, APPLICATIONS[request.param])
    model = function(include_top=False, pooling="avg", weights=None, input_shape=(SIDE, SIDE, 3))
    preprocess = sys.modules[function.__module__].preprocess_input

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = preprocess(images.astype(np.float32))
        found: NDArray[np.float32] = predicting.predict(pixels, verbose=0)
        return found

    pixels = preprocess(photographs.astype(np.float32))
    if request.param != "efficientnet_b0":
        calibrate(model, pixels)
        predicting = model
    else:
        # What Keras does to the input for its published weights, done to the first kernel.
        stem = model.get_layer("stem_conv")
        kernel = np.asarray(stem.kernel)
        stem.kernel.assign(kernel / np.sqrt(DEVIATIONS)[:, None])
        calibrate(model, pixels)
        predicting = keras.models.clone_model(model)
        predicting.set_weights(model.get_weights())
        stem.kernel.assign(kernel)
    found = sizes(predicting, pixels)
    assert all(0.01 < size < 100 for size in found.values()), found
    return Original(request.param, model, predict)


def save_as_published(model: Any, path: Path) -> None:
    """The layout of Keras's downloads: a group a layer, its arrays in `weight_names`' order."""
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.2.4"
        for layer in model.layers:
            group = file.create_group(layer.name)
            weights = [*layer.trainable_weights, *layer.non_trainable_weights]
            names = [f"{layer.name}/{weight.name}_{i}:0" for i, weight in enumerate(weights)]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, weights, strict=True):
                group[name] = np.asarray(weight)


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of its own, and no way to the network."""
    folder = tmp_path_factory.mktemp("keras-cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POMONA_CACHE", str(folder))
        for name in ("http_proxy", "https_proxy"):
            patch.setenv(name, "http://127.0.0.1:9")
        yield folder


def add(pomona: Pomona, name: str, weights: Path) -> dict[str, Any]:
    told = pomona.done("backbones", "add", name, "--weights", weights, "--json").stdout
    return json.loads(told)  # type: ignore[no-any-return]


def check_close(mine: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
    assert mine.shape == theirs.shape
    assert np.abs(mine - theirs).max() <= TOLERANCE * np.abs(theirs).max()


def test_features_are_those_of_keras(
    original: Original,
    photographs: NDArray[np.uint8],
    pomona: Pomona,
    offline: Path,
    tmp_path: Path,
) -> None:
    """From both layouts of weights files, through the command, on the same pixels."""
    old, new = tmp_path / "old.h5", tmp_path / "new.weights.h5"
    save_as_published(original.model, old)
    assert add(pomona, original.name, old)["difference"] <= TOLERANCE
    for index, image in enumerate(photographs):
        path = tmp_path / "photos" / f"{index:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    store = tmp_path / "out"
    args = (tmp_path / "photos", store, "--backbone", original.name, "--workers", "1")
    pomona.done("extract", *args)
    theirs = original.predict(photographs)
    check_close(api.open(store).features().array, theirs)
    digest = api.open(store).recipe.model_sha256
    if original.name == "efficientnet_b0":
        new = tmp_path / "new.keras"
        original.model.save(new)
    else:
        original.model.save_weights(new)
    add(pomona, original.name, new)
    assert cache.load(registry.get(original.name)).digest == digest


@pytest.fixture(scope="module")
def efficientnet(tmp_path_factory: pytest.TempPathFactory) -> Original:
    """With its top, and ImageNet's numbers where the published weights have them."""
    import keras

    keras.utils.set_random_seed(3)
    model = keras_convert.build_unloaded(keras.applications.EfficientNetB0, include_top=True)
    [normalization] = [each for each in model.layers if hasattr(each, "finalize_state")]
    values = [np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]), np.array(1)]
    normalization.set_weights(values)
    normalization.finalize_state()
    headless = keras.Model(model.input, model.layers[-3].output)
    return Original("efficientnet_b0", model, lambda images: headless.predict(images, verbose=0))


@pytest.mark.parametrize("layout", ["whole.h5", "whole.weights.h5", "whole.keras", "headless.h5"])
def test_numbers_of_a_normalization_are_those_of_the_file(
    efficientnet: Original, layout: str, tmp_path: Path
) -> None:
    path = tmp_path / layout
    if layout == "headless.h5":
        import keras

        headless = keras.Model(efficientnet.model.input, efficientnet.model.layers[-3].output)
        save_as_published(headless, path)
    elif layout == "whole.h5":
        save_as_published(efficientnet.model, path)
    elif layout == "whole.keras":
        efficientnet.model.save(path)
    else:
        efficientnet.model.save_weights(path)
    (tmp_path / "out").mkdir()
    request = keras_convert.Request(
        "EfficientNetB0", "efficientnet_b0", str(path), SIDE, str(tmp_path / "out")
    )
    content, facts = keras_convert.convert(request)
    images = keras_convert.draw(SIDE, 2)
    mine = Network("efficientnet_b0", content, "", SIDE, facts.width).features(images)
    check_close(mine, efficientnet.predict(images.astype(np.float32)))


def test_nothing_of_the_current_folder_is_run(
    offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "h5py.py").write_text("raise SystemExit('run')")
    (tmp_path / "text.h5").write_text("no weights")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BackboneError, match="is not a Keras weights file"):
        keras_catalog.add("keras:VGG16", Path("text.h5"))


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole classifier, with its top, in an old file of Keras."""
    import keras

    path = tmp_path_factory.mktemp("mobilenet") / "whole.h5"
    save_as_published(keras.applications.MobileNetV2(weights=None), path)
    return path


def test_one_of_two_commands_at_once_converts_and_damage_is_mended(
    pomona: Pomona, mobilenet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POMONA_CACHE", str(tmp_path))
    command = ("backbones", "add", "keras:MobileNetV2", "--weights", mobilenet, "--json")
    both = [pomona.end(process) for process in [pomona.start(*command) for _ in range(2)]]
    assert sorted(json.loads(ended.stdout)["converted"] for ended in both) == [False, True]
    whole = cache.load(registry.get("mobilenet_v2"))
    [entry] = tmp_path.glob("*.onnx")
    entry.write_bytes(entry.read_bytes()[:-1] + b"?")
    exported = tmp_path / "exported.onnx"
    ended = pomona.done("backbones", "export", "mobilenet_v2", exported)
    assert f"{entry} is damaged and is built again" in ended.stderr
    assert cache.load(registry.get("mobilenet_v2")) == whole
    assert cache.load(registry.get(str(exported))) == whole
    small = cache.load(registry.get("mobilenet_v2", ModelOverrides(input_size=64)))
    assert small.features(np.zeros((1, 64, 64, 3), np.uint8)).shape == (1, 1280)
    [weights] = tmp_path.glob("*.weights")
    weights.write_bytes(b"damaged")
    assert pomona("backbones", "export", "mobilenet_v2", exported, "--input-size", "96").status == 1
    assert add(pomona, "mobilenet_v2", mobilenet)["converted"]
    assert not list(tmp_path.glob("*.tmp"))


def test_what_cannot_be_added_leaves_nothing_behind(
    pomona: Pomona, mobilenet: Path, offline: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.h5").write_text("no weights")
    before = sorted(offline.iterdir())
    for args, told in (
        (("keras:VGG16", "--weights", mobilenet), "does not hold the weights of"),
        (("keras:VGG16", "--weights", tmp_path / "text.h5"), "is not a Keras weights file"),
        (("keras:VGG16",), "--weights FILE"),
        (("keras:Nothing",), "keras.applications has no Nothing; it has "),
    ):
        ended = pomona("backbones", "add", *args)
        assert ended.status == 1
        assert told in ended.complaint
    assert [path for path in sorted(offline.iterdir()) if path.name != cache.LOCK] == [
        path for path in before if path.name != cache.LOCK
    ]


CONVERT = """
import sys
import numpy as np, keras
from pomona.backbones.keras import convert as keras_convert
from pomona.backbones.keras.graph import build
from pomona.backbones.keras.layers import LAYERS
from pomona.backbones.network import Network
random = np.random.default_rng(0)
for name, side in (pair.split("=") for pair in sys.argv[1:]):
    side, function = int(side), getattr(keras.applications, name)
    module = sys.modules[function.__module__]
    shape = (side, side, 3)
    model = keras_convert.build_unloaded(
        function, include_top=False, pooling="avg", input_shape=shape
    )
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.beta.assign(random.normal(0, 0.1, layer.beta.shape))
            layer.moving_mean.assign(random.normal(0, 0.1, layer.moving_mean.shape))
            layer.moving_variance.assign(random.uniform(0.8, 1.2, layer.moving_variance.shape))
    how = keras_convert.find_preprocessing(module)
    content, _ = build(model, name, side, how, LAYERS)
    images = keras_convert.draw(side, 2)
    theirs = model.predict(module.preprocess_input(images.astype("float32")), verbose=0)
    mine = Network(name, content, "", side, theirs.shape[1]).features(images)
    print(name, np.abs(mine - theirs).max() / np.abs(theirs).max())
"""
OTHERS = {
    "ConvNeXtTiny": 64,
    "DenseNet121": 64,
    "EfficientNetV2B0": 64,
    "InceptionV3": 96,
    "MobileNetV3Small": 64,
    "NASNetMobile": 64,
    "ResNet50V2": 64,
    "VGG16": 64,
    "Xception": 96,
}


def test_every_family_of_keras_is_converted() -> None:
    pairs = [f"{name}={side}" for name, side in OTHERS.items()]
    done = subprocess.run(
        [sys.executable, "-c", CONVERT, *pairs], capture_output=True, text=True, check=True
    )
    differences = dict(line.split() for line in done.stdout.splitlines() if len(line.split()) == 2)
    assert differences.keys() >= OTHERS.keys()
    assert all(float(differences[name]) <= TOLERANCE for name in OTHERS), differences


def test_an_export_by_tf2onnx_is_cut_before_its_classifier(
    photographs: NDArray[np.uint8], tmp_path: Path
) -> None:
    """tf2onnx's, of a whole classifier of Keras."""
    import keras

    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    model = keras.applications.MobileNetV2(weights=None, input_shape=(96, 96, 3))
    path = tmp_path / "whole.onnx"
    signature = [keras.InputSpec(shape=(None, 96, 96, 3), dtype="float32", name="images")]
    model.export(path, format="onnx", input_signature=signature, verbose=False)
    images = np.stack([cv2.resize(image, (96, 96)) for image in photographs]).astype(np.uint8)
    backbone = registry.get(str(path), ModelOverrides(preprocessing="tf"))
    assert "what enters the last MatMul" in str(backbone.note)
    headless = keras.Model(model.input, model.layers[-2].output)  # pooled
    theirs = headless.predict(images / np.float32(127.5) - 1, verbose=0)
    check_close(cache.load(backbone).features(images), theirs)
