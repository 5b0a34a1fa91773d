"""efficientnet_lite0 in int8: what it costs, its bytes, and where it is refused."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from conftest import Pomona
from pomona import open as open_store
from pomona.backbones import cache, precision, registry
from pomona.backbones.network import Network
from pomona.backbones.onnx import exported
from pomona.backbones.runtimes import onnxruntime
from pomona.errors import UsageError
from pomona.images.resize import resize

PHOTOGRAPHS = ("astronaut", "cat", "coffee", "coins", "rocket", "stereo_motorcycle")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("POMONA_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def floats(folder: Path) -> Network:
    return cache.load(registry.get("efficientnet_lite0"))


@pytest.fixture(scope="module")
def network(folder: Path) -> Network:
    return precision.load(registry.get("efficientnet_lite0"), "onnxruntime", "int8")


@pytest.fixture(scope="module")
def photographs() -> NDArray[np.uint8]:
    squares = np.empty((len(PHOTOGRAPHS), 224, 224, 3), np.uint8)
    for square, name in zip(squares, PHOTOGRAPHS, strict=True):
        pixels = getattr(skimage.data, name)()
        pixels = pixels[0] if isinstance(pixels, tuple) else pixels
        if pixels.ndim == 2:
            pixels = np.stack([pixels] * 3, axis=-1)
        resize(np.ascontiguousarray(pixels), square, fit="stretch", crop_fraction=None)
    return squares


def test_its_features_are_nearly_those_of_float32(
    floats: Network, network: Network, photographs: NDArray[np.uint8]
) -> None:
    made, wanted = network.features(photographs), floats.features(photographs)
    norms = np.linalg.norm(made, axis=1) * np.linalg.norm(wanted, axis=1)
    cosines = (made * wanted).sum(1) / norms
    assert cosines.mean() >= 0.993
    assert cosines.min() >= 0.98


def test_the_graph_is_the_same_everywhere(network: Network) -> None:
    # It is part of every store's recipe. When it changes on purpose, raise the revision.
    assert network.digest == hashlib.sha256(network.model).hexdigest()
    assert network.digest == "ea42520a843172d745d6e348a8dc915f021996c7f7c04e42cb6e158864179d02"
    assert network.precision == "int8"


def test_what_it_computes_is_no_choice_of_the_runtime(
    network: Network, photographs: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = network.features(photographs[:2])
    plain = onnxruntime.run_unoptimized(network.model, "features", photographs[:2])
    assert plain.tobytes() == made.tobytes()
    monkeypatch.setattr(onnxruntime, "_processor_flags", frozenset)  # of a processor without VNNI
    assert replace(network).features(photographs[:2]).tobytes() == made.tobytes()


EMULATED = """
import sys, hashlib, pathlib
import numpy as np
from pomona.backbones.runtimes import onnxruntime
from pomona.backbones.runtimes.base import SessionSettings
onnxruntime._processor_flags = lambda: frozenset(["avx2"])  # the emulator shows the host's
run = onnxruntime.open_session(
    pathlib.Path(sys.argv[1]).read_bytes(), SessionSettings(224, 4, "int8", 1)
)
print(hashlib.sha256(run(np.load(sys.argv[2])).tobytes()).hexdigest())
"""


@pytest.mark.skipif("POMONA_AVX2" not in os.environ, reason="takes an emulator: make test-avx2")
def test_a_processor_with_avx2_alone_gives_the_same_bytes(
    network: Network, photographs: NDArray[np.uint8], tmp_path: Path
) -> None:
    model, squares = tmp_path / "model.onnx", tmp_path / "squares.npy"
    model.write_bytes(network.model)
    np.save(squares, photographs[:4])
    command = ["qemu-x86_64", "-cpu", "Haswell", sys.executable, "-c", EMULATED, model, squares]
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=900,
        check=True,
    )
    expected = hashlib.sha256(network.features(photographs[:4]).tobytes()).hexdigest()
    assert done.stdout.strip() == expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("avx2 avx512bw avx512_vnni", True),
        ("avx2 avx_vnni", True),
        ("avx2 avx512bw avx_vnni", False),
        ("avx2 avx512bw", False),
        ("avx2", False),
        ("", False),
    ],
)
def test_products_of_8_bits_are_exact_with_vnni_alone(flags: str, expected: bool) -> None:
    assert onnxruntime.has_vnni(flags.split()) is expected


def test_auto_takes_what_the_processor_has_instructions_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled = registry.get("efficientnet_lite0")
    monkeypatch.setattr(onnxruntime, "_processor_flags", lambda: frozenset(["avx512_vnni"]))
    assert precision.fastest(bundled, "onnxruntime") == "int8"
    assert precision.fastest(registry.get("resnet50"), "onnxruntime") == "float32"
    monkeypatch.setattr(onnxruntime, "_processor_flags", lambda: frozenset(["avx2"]))
    assert precision.fastest(bundled, "onnxruntime") == "float32"


def test_an_exported_copy_has_the_same_graph(
    floats: Network, network: Network, tmp_path: Path
) -> None:
    file = tmp_path / "copy.onnx"
    file.write_bytes(exported.write(registry.get("efficientnet_lite0"), floats))
    copy = precision.load(registry.get(str(file)), "onnxruntime", "int8")
    assert copy == network


def test_a_network_that_nothing_was_measured_of_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"`precision` int8: nothing was measured of resnet50"):
        precision.load(registry.get("resnet50"), "onnxruntime", "int8")


def test_a_store_stays_with_the_precision_it_was_begun_in(
    photos: Path, pomona: Pomona, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--components", 2, "--workers", 1]
    pomona.done("run", photos, tmp_path / "out", "--limit", 4, "--precision", "int8", *flags)
    assert read_recipe(tmp_path / "out")["precision"] == "int8"
    # As on a machine without VNNI.
    monkeypatch.setattr(onnxruntime, "_processor_flags", frozenset)
    pomona.done("run", photos, tmp_path / "out", "--limit", 6, "--precision", "auto", *flags)
    assert read_recipe(tmp_path / "out")["precision"] == "int8"
    ended = pomona("run", photos, tmp_path / "out", "--limit", 6, *flags)
    assert ended.status == 1
    assert "precision: int8, not float32" in ended.stderr


def read_recipe(out: Path) -> dict[str, object]:
    recipe: dict[str, object] = open_store(out).manifest["recipe"]
    return recipe
