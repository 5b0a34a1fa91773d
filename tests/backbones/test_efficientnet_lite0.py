from __future__ import annotations

import hashlib
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import skimage.data
from numpy.typing import NDArray

from pomona.backbones import efficientnet_lite0, registry
from pomona.backbones.weights import load_state_dict
from pomona.errors import BackboneError

Weights = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def weights() -> Weights:
    return load_state_dict(registry.get("efficientnet_lite0").find_weights())


@pytest.fixture(scope="module")
def classifier(weights: Weights) -> onnxruntime.InferenceSession:
    return session(efficientnet_lite0.build(weights, logits=True))


def session(model: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def evaluation_crop(photograph: str, size: int = 224) -> NDArray[np.uint8]:
    """uint8[1, size, size, 3]: the middle 87.5 % of the short side, as the network was tested."""
    image = getattr(skimage.data, photograph)()
    if isinstance(image, tuple):  # left, right and disparity
        image = image[0]
    if image.ndim == 2:
        image = np.stack([image] * 3, axis=-1)
    height, width = image.shape[:2]
    side = round(min(height, width) * 0.875)
    top, left = (height - side) // 2, (width - side) // 2
    crop = image[top : top + side, left : left + side]
    return np.asarray(cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA), np.uint8)[None]


@pytest.mark.parametrize(
    ("photograph", "classes"),
    [
        ("cat", {281, 282, 285}),  # tabby, tiger cat, Egyptian cat
        ("coffee", {504, 967, 968}),  # coffee mug, espresso, cup
        ("rocket", {657, 744, 812}),  # missile, projectile, space shuttle
        ("camera", {872}),  # tripod
        ("stereo_motorcycle", {665, 670}),  # moped, motor scooter: ImageNet has no motorcycle
    ],
)
def test_photographs_are_named_rightly(
    classifier: onnxruntime.InferenceSession, photograph: str, classes: set[int]
) -> None:
    (logits,) = classifier.run(["logits"], {"images": evaluation_crop(photograph)})
    assert int(logits.argmax()) in classes


# The architecture once more, one line a block: kernel, stride, expansion, channels.
BLOCKS = """
3 1 1 16
3 2 6 24   3 1 6 24
5 2 6 40   5 1 6 40
3 2 6 80   3 1 6 80   3 1 6 80
5 1 6 112  5 1 6 112  5 1 6 112
5 2 6 192  5 1 6 192  5 1 6 192  5 1 6 192
3 1 6 320
"""


def reference_features(weights: Weights, image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """float64[1280]: the published forward pass, step by step, in plain NumPy."""

    def normalise(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        x = (x - mean) / np.sqrt(variance.astype(np.float64) + 1e-3)
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def convolve(x: NDArray[np.float64], name: str, stride: int = 1) -> NDArray[np.float64]:
        kernel = weights[f"{name}.weight"].astype(np.float64)
        side = kernel.shape[-1]
        height, width = (-(-n // stride) for n in x.shape[:2])
        missing = [
            max((out - 1) * stride + side - n, 0)
            for out, n in zip((height, width), x.shape[:2], strict=True)
        ]
        # TensorFlow's "SAME": the odd pixel goes to the bottom and to the right.
        x = np.pad(x, [*((n // 2, n - n // 2) for n in missing), (0, 0)])
        depthwise = kernel.shape[1] == 1
        y = np.zeros((height, width, len(kernel)))
        for row in range(side):
            for column in range(side):
                last_row, last_column = row + stride * height, column + stride * width
                pixels = x[row:last_row:stride, column:last_column:stride]
                tap = kernel[:, :, row, column]
                y += pixels * tap[:, 0] if depthwise else pixels @ tap.T
        return y

    def relu6(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(x, 0, 6)

    x = (image.astype(np.float64) - 127) / 128
    x = relu6(normalise(convolve(x, "_conv_stem", 2), "_bn0"))
    for index, block in enumerate(np.array(BLOCKS.split(), int).reshape(-1, 4)):
        _, stride, expansion, channels = map(int, block)
        name, start = f"_blocks.{index}", x
        if expansion != 1:
            x = relu6(normalise(convolve(x, f"{name}._expand_conv"), f"{name}._bn0"))
        x = relu6(normalise(convolve(x, f"{name}._depthwise_conv", stride), f"{name}._bn1"))
        x = normalise(convolve(x, f"{name}._project_conv"), f"{name}._bn2")
        if stride == 1 and channels == start.shape[-1]:
            x = x + start
    x = relu6(normalise(convolve(x, "_conv_head"), "_bn1"))
    return np.asarray(x.mean(axis=(0, 1)))


# At an odd size "SAME" pads both sides alike, at an even one it does not.
@pytest.mark.parametrize("input_size", [224, 97])
def test_features_equal_those_of_the_published_forward_pass(
    weights: Weights, input_size: int
) -> None:
    image = evaluation_crop("cat", input_size)
    network = session(efficientnet_lite0.build(weights, input_size=input_size))
    (features,) = network.run(["features"], {"images": image})
    expected = reference_features(weights, image[0])
    assert features.shape == (1, 1280)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features[0], expected, rtol=0, atol=1e-5 * expected.max())


def test_the_graph_declares_its_batch_and_its_outputs(weights: Weights) -> None:
    def tensors(model: bytes) -> dict[str, list[str | int]]:
        graph = onnx.load_model_from_string(model).graph
        return {
            each.name: [dim.dim_param or dim.dim_value for dim in each.type.tensor_type.shape.dim]
            for each in [*graph.input, *graph.output]
        }

    features = {"images": ["batch", 192, 192, 3], "features": ["batch", 1280]}
    assert tensors(efficientnet_lite0.build(weights, input_size=192)) == features
    with_logits = efficientnet_lite0.build(weights, input_size=192, logits=True)
    assert tensors(with_logits) == {**features, "logits": ["batch", 1000]}


def test_the_bytes_are_always_the_same(weights: Weights) -> None:
    model = efficientnet_lite0.build(weights)
    assert model == efficientnet_lite0.build(dict(reversed(weights.items())))
    # They are part of every store's recipe. When they change on purpose, raise the revision.
    assert (
        hashlib.sha256(model).hexdigest()
        == "aab8db521ea300ebddb3f16aa2800dd6b230b011b93e13e2bc9d4b9c195cab35"
    )


def test_weights_that_do_not_fit_are_named(weights: Weights) -> None:
    lacking = {key: each for key, each in weights.items() if key != "_bn1.bias"}
    with pytest.raises(BackboneError, match=r"lack _bn1\.bias"):
        efficientnet_lite0.build(lacking)
    misshapen = {**weights, "_bn1.bias": np.zeros(3, np.float32)}
    with pytest.raises(BackboneError, match=r"_bn1\.bias as \(3,\), not \(1280,\)"):
        efficientnet_lite0.build(misshapen)
