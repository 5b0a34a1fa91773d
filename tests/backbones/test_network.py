from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pomona.backbones import cache, registry
from pomona.backbones.network import Network
from pomona.backbones.precision import load
from pomona.backbones.runtimes import openvino
from pomona.backbones.runtimes import registry as runtimes
from pomona.backbones.runtimes.registry import RUNTIMES
from pomona.errors import BackboneError, UsageError

WAYS = [
    (runtime.name, precision) for runtime in RUNTIMES.values() for precision in runtime.batch_sizes
]


def needs(runtime: str, precision: str) -> None:
    """Skips where the processor has no such numbers; another test shows what is said there."""
    try:
        RUNTIMES[runtime].check_machine(precision)
    except BackboneError as exc:
        pytest.skip(str(exc))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POMONA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield cache.load(registry.get(registry.DEFAULT))


@pytest.fixture(scope="module", params=WAYS, ids=" ".join)
def network(request: pytest.FixtureRequest, reference: Network) -> Network:
    runtime, precision = request.param
    needs(runtime, precision)
    return load(registry.get(reference.backbone), runtime, precision)


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (17, 224, 224, 3), dtype=np.uint8)
    noise[3], noise[7] = 0, 255
    return noise


@pytest.fixture(scope="module")
def alone(network: Network, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Each image's features when it is the only one of its batch."""
    return np.concatenate([network.features(image[None]) for image in images])


def test_features_are_finite_rows_of_float32(alone: NDArray[np.float32]) -> None:
    assert alone.shape == (17, 1280)
    assert alone.dtype == np.float32
    assert np.isfinite(alone).all()
    assert len(np.unique(alone, axis=0)) == len(alone)


@pytest.mark.parametrize("size", [2, 3, 4, 8, 17])
def test_an_image_has_the_same_bits_in_any_batch(
    network: Network, images: NDArray[np.uint8], alone: NDArray[np.float32], size: int
) -> None:
    batches = [network.features(images[at : at + size]) for at in range(0, len(images), size)]
    assert np.concatenate(batches).tobytes() == alone.tobytes()


def test_an_image_has_the_same_bits_at_any_place_in_a_batch(
    network: Network, images: NDArray[np.uint8], alone: NDArray[np.float32]
) -> None:
    order = np.random.default_rng(1).permutation(len(images))
    assert network.features(images[order]).tobytes() == alone[order].tobytes()
    # Views that are not contiguous, as a decoder may hand them over.
    assert network.features(images[::-2]).tobytes() == alone[::-2].tobytes()


def test_all_runtimes_and_precisions_agree(
    reference: Network, network: Network, images: NDArray[np.uint8], alone: NDArray[np.float32]
) -> None:
    expected = reference.features(images)
    cosine = (alone * expected).sum(1) / (
        np.linalg.norm(alone, axis=1) * np.linalg.norm(expected, axis=1)
    )
    least = {"float32": 0.999999, "bfloat16": 0.998, "int8": 0.98}  # of noise
    assert cosine.min() > least[network.precision]
    assert (alone.tobytes() == expected.tobytes()) == (network == reference)


def test_filters_keep_their_sums_in_bfloat16() -> None:
    weights = np.random.default_rng(0).normal(size=(500, 1, 1, 3, 3)).astype(np.float32)
    weights[0], weights[1] = 0, 1 + 2**-8  # a tie each
    rounded = openvino.round_filters(weights)
    assert rounded.shape == weights.shape
    assert not (rounded.view(np.uint32) & 0xFFFF).any()
    magnitudes = np.sort(np.abs(weights).reshape(500, 9))
    assert (np.abs(rounded - weights).reshape(500, 9) <= 2**-7 * magnitudes[:, -1:]).all()
    sums, expected = (filters.sum((2, 3, 4), np.float64) for filters in (rounded, weights))
    assert (np.abs(sums - expected) <= 2**-8 * magnitudes[:, 1:2]).all()


def test_a_missing_precision_names_the_runtime_that_has_it() -> None:
    with pytest.raises(UsageError, match="onnxruntime does not have it; add `runtime` openvino"):
        runtimes.get("onnxruntime", "bfloat16")
    with pytest.raises(UsageError, match="float16: openvino does not have it; choose float32 or"):
        runtimes.get("openvino", "float16")
    with pytest.raises(UsageError, match="`runtime` tensorrt: choose onnxruntime or openvino"):
        runtimes.get("tensorrt", "float32")


def test_a_processor_without_bfloat16_is_refused() -> None:
    able = ["FP32", "INT8", "BIN"]  # as OpenVINO says of one with AVX2
    openvino._check_capabilities("float32", able)
    with pytest.raises(BackboneError, match=r"no bfloat16 .*: choose `precision` float32"):
        openvino._check_capabilities("bfloat16", able)


def test_a_missing_runtime_says_how_to_install_it() -> None:
    code = (
        "import sys; sys.modules['openvino'] = None\n"
        "from pomona.backbones.runtimes.registry import RUNTIMES\n"
        "RUNTIMES['openvino'].{call}"
    )
    for call in ("check_machine('float32')", "check_machine('bfloat16')", "load()"):
        script = [sys.executable, "-c", code.format(call=call)]
        done = subprocess.run(script, capture_output=True, text=True, timeout=120)
        message = done.stderr.strip().splitlines()[-1]
        assert message.endswith('openvino is not installed: pip install "pomona[openvino]"')


def test_an_empty_batch_has_no_rows(network: Network, images: NDArray[np.uint8]) -> None:
    assert network.features(images[:0]).shape == (0, 1280)


def test_a_network_travels_without_its_session(
    network: Network, images: NDArray[np.uint8], alone: NDArray[np.float32]
) -> None:
    network.features(images[:1])
    sent = pickle.dumps(network)
    received = pickle.loads(sent)  # noqa: S301
    assert len(sent) < len(network.model) + 1_000
    assert received == network
    assert hash(received) == hash(network)
    assert received.features(images[:1]).tobytes() == alone[:1].tobytes()


def test_networks_differ_by_their_digest(network: Network) -> None:
    assert replace(network, digest="0" * 64) != network
    assert len(repr(network)) < 300


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((1, 96, 96, 3), np.uint8),
        np.zeros((224, 224, 3), np.uint8),
        np.zeros((1, 3, 224, 224), np.uint8),
        np.zeros((1, 224, 224, 3), np.float32),
    ],
)
def test_another_kind_of_batch_is_refused(network: Network, batch: NDArray[np.uint8]) -> None:
    with pytest.raises(BackboneError, match=r"efficientnet_lite0 takes uint8\["):
        network.features(batch)


def test_bytes_that_are_not_a_model_are_refused(
    network: Network, images: NDArray[np.uint8]
) -> None:
    broken = replace(network, model=network.model[:1_000])
    with pytest.raises(BackboneError, match="cannot run efficientnet_lite0"):
        broken.features(images[:1])
