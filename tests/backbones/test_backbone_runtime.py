from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pomona.backbones import cache, registry
from pomona.backbones.runtime import BATCH_SIZE, Network
from pomona.errors import BackboneError


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POMONA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield cache.load(registry.get(registry.DEFAULT))


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


@pytest.mark.parametrize("size", sorted({2, 3, 8, 17, BATCH_SIZE}))
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


def test_bytes_that_are_no_model_are_refused(network: Network, images: NDArray[np.uint8]) -> None:
    broken = replace(network, model=network.model[:1_000])
    with pytest.raises(BackboneError, match="cannot run efficientnet_lite0"):
        broken.features(images[:1])
