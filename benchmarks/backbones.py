"""Backbones: MobileNetV2 beside Keras's predict and a graph by hand; what a smaller input costs.

    make bench-backbones

Measured interleaved, as medians of rounds; ratios are what counts, for a shared machine's seconds
drift. The accuracy needs the photographs of POMONA_DATA (or ../shared/data).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import pomona
from benchmarks import keras_model
from benchmarks.measuring import find_photos
from pomona.backbones import cache, registry
from pomona.backbones.network import Network
from pomona.backbones.overrides import ModelOverrides
from pomona.engines.base import usable_cores

SIDE = keras_model.SIDE
IMAGES = 64
# MobileNetV2 (arXiv:1801.04381, table 2): blocks, stride of the first, expansion, channels.
STAGES = (
    (1, 1, 1, 16),
    (2, 2, 6, 24),
    (3, 2, 6, 32),
    (4, 2, 6, 64),
    (3, 1, 6, 96),
    (3, 2, 6, 160),
    (1, 1, 6, 320),
)


def by_hand() -> bytes:
    """MobileNetV2 as one would write it, with random weights."""
    random = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    constants = [
        numpy_helper.from_array(np.array(value, np.float32), name)
        for name, value in (("mean", 127.5), ("zero", 0), ("six", 6))
    ]

    def apply(operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"{operator}_{len(nodes)}"
        nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def convolve(
        x: str, before: int, after: int, size: int, stride: int = 1, *, each: bool = False
    ) -> str:
        name = f"kernel_{len(nodes)}"
        shape = (after, 1 if each else before, size, size)
        kernel = random.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        constants.append(numpy_helper.from_array(kernel.astype(np.float32), name))
        bias = np.zeros(after, np.float32)
        constants.append(numpy_helper.from_array(bias, f"{name}.bias"))
        group = after if each else 1
        pads = [size // 2] * 4
        return apply("Conv", x, name, f"{name}.bias", group=group, pads=pads, strides=[stride] * 2)

    def clipped(x: str) -> str:
        return apply("Clip", x, "zero", "six")

    x = apply("Transpose", "images", perm=[0, 3, 1, 2])
    x = apply("Sub", apply("Cast", x, to=TensorProto.FLOAT), "mean")
    x, channels = clipped(convolve(x, 3, 32, 3, 2)), 32
    for blocks, first_stride, expansion, width in STAGES:
        for block in range(blocks):
            stride, wide, start = first_stride if block == 0 else 1, channels * expansion, x
            if expansion > 1:
                x = clipped(convolve(x, channels, wide, 1))
            x = convolve(clipped(convolve(x, wide, wide, 3, stride, each=True)), wide, width, 1)
            if stride == 1 and channels == width:
                x = apply("Add", x, start)
            channels = width
    x = clipped(convolve(x, channels, 1280, 1))
    nodes.append(helper.make_node("Flatten", [apply("GlobalAveragePool", x)], ["features"]))
    graph = helper.make_graph(
        nodes,
        "by_hand",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 1280])],
        constants,
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    return bytes(model.SerializeToString())


def run(networks: list[Network], images: NDArray[np.uint8]) -> None:
    """As pomona's workers do: one thread each, in small batches."""

    def work(network: Network, part: NDArray[np.uint8]) -> None:
        for at in range(0, len(part), network.batch_size):
            network.features(part[at : at + network.batch_size])

    with ThreadPoolExecutor(len(networks)) as pool:
        list(pool.map(work, networks, np.array_split(images, len(networks))))


def medians(
    rounds: int,
    subjects: Mapping[str, Callable[[], object]],
    clock: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Median seconds of each, in turn in every round; one round more to warm up.

    By default the CPU's: those of a single thread hardly depend on what else the machine does.
    """
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(rounds + 1):
        for name, work in subjects.items():
            start = clock()
            work()
            if number:
                seconds[name].append(clock() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def compare_mobilenet(rounds: int) -> dict[str, float]:
    """MobileNetV2 with random weights: Keras's predict, pomona's network, a graph by hand."""
    workers = usable_cores()
    model = keras_model.build()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["POMONA_CACHE"] = folder
        keras_model.add(model, Path(folder))
        network = cache.load(registry.get("mobilenet_v2"))
        del os.environ["POMONA_CACHE"]
    hand = Network("by hand", by_hand(), "", SIDE, 1280)
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, SIDE, SIDE, 3), np.uint8)
    pixels = images / np.float32(127.5) - 1  # spared to Keras
    each = [replace(network) for _ in range(workers)]
    alone = medians(
        rounds,
        {
            "pomona": lambda: run([network], images),
            "by hand": lambda: run([hand], images),
        },
    )
    subjects: dict[str, Callable[[], object]] = {
        "predict": lambda: model.predict(pixels, batch_size=32, verbose=0),
        "pomona": lambda: run(each, images),
    }
    together = medians(rounds, subjects, time.perf_counter)
    work = medians(rounds, subjects)
    return {
        "workers": workers,
        "pomona_images_per_second": round(IMAGES / together["pomona"], 1),
        "predict_images_per_second": round(IMAGES / together["predict"], 1),
        "pomona_over_predict": round(together["predict"] / together["pomona"], 3),
        "pomona_over_predict_cpu_seconds": round(work["predict"] / work["pomona"], 3),
        "pomona_over_by_hand_cpu_seconds": round(alone["by hand"] / alone["pomona"], 3),
    }


def compare_sizes(rounds: int, sizes: list[int]) -> dict[int, float]:
    """Speed of the bundled network on one core at each size, over that of the first."""
    random = np.random.default_rng(0)
    subjects: dict[str, Callable[[], object]] = {}
    for side in sizes:
        network = cache.load(registry.get(registry.DEFAULT, ModelOverrides(input_size=side)))
        images = random.integers(0, 256, (64, side, side, 3), np.uint8)
        subjects[str(side)] = partial(run, [network], images)
    found = medians(rounds, subjects)
    return {side: round(found[str(sizes[0])] / found[str(side)], 2) for side in sizes}


def accuracy(photos: Path, side: int, limit: int | None) -> tuple[int, float]:
    """How many test images, and the share whose nearest training image has their label."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        pomona.run(photos, out, input_size=side, limit=limit, components=2, progress=False)
        table = pq.read_table(out / "features")
    features = np.stack(table["features"].to_numpy()).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    labels, split = (table[name].to_numpy() for name in ("label", "split"))
    train, test = split == "Training", split == "Test"
    nearest = (features[test] @ features[train].T).argmax(axis=1)
    return int(test.sum()), float((labels[train][nearest] == labels[test]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 128])
    parser.add_argument("--limit", type=int, help="of the photographs, drawn evenly")
    parser.add_argument("--skip-keras", action="store_true")
    parser.add_argument("--skip-accuracy", action="store_true")
    args = parser.parse_args()
    told: dict[str, Any] = {"when": datetime.now().astimezone().isoformat(timespec="seconds")}
    told["speed_by_size"] = compare_sizes(args.rounds, args.sizes)
    if not args.skip_keras:
        told["mobilenet_v2"] = compare_mobilenet(args.rounds)
    with tempfile.TemporaryDirectory() as folder:
        if not args.skip_accuracy and not (found := find_photos(Path(folder)))[1]:
            told["accuracy_by_size"] = {
                side: accuracy(found[0], side, args.limit) for side in args.sizes
            }
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
