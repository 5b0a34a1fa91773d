"""The bare limit: the network alone, on squares in memory, a single-threaded process a worker."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.measuring import WORKERS, Setting, children
from pomona.backbones import cache, registry
from pomona.backbones.precision import quantized
from pomona.backbones.runtimes.registry import RUNTIMES
from pomona.images.decode import decode
from pomona.images.resize import resize

BATCHES = (1, 2, 4, 8, 16)


class Limit:
    """The bare limit of the default backbone, in bfloat16 by openvino, else by onnxruntime."""

    def __init__(self, setting: Setting, precision: str = "float32") -> None:
        runtime = "openvino" if precision == "bfloat16" else "onnxruntime"
        self._setting, self._runtime = setting, runtime
        self._model = network_file(setting, precision)
        self.batch = RUNTIMES[runtime].batch_sizes[precision]
        self._squares = squares_file(setting)

    def speed(self) -> float:
        """Images/s of all processes together, in batches of pomona's own size."""
        [speed] = self.speeds([self.batch])
        return speed

    @cached_property
    def best_batch(self) -> int:
        """Of `BATCHES` the fastest in one trial, there and back."""
        there, back = self.speeds(BATCHES), self.speeds(BATCHES[::-1])[::-1]
        both = map(sum, zip(there, back, strict=True))
        return max(zip(both, BATCHES, strict=True))[1]

    def speeds(self, batches: Sequence[int]) -> list[float]:
        """As `speed`, in batches of each of these sizes."""
        edges = np.linspace(0, self._setting.sizes.limit, WORKERS + 1).astype(int)
        each = [(self._squares, *edge, self._model, self._runtime) for edge in pairwise(edges)]
        folder, told = self._setting.folder, []
        with children("bare", each, folder=folder, one_thread=True) as processes:
            for batch in batches:
                for process in processes:
                    process.give(batch=batch)
                found = [process.answer() for process in processes]
                told.append(sum(each["images"] / each["seconds"] for each in found))
        return told


def network_file(setting: Setting, precision: str = "float32") -> Path:
    """The graph that pomona's workers run, as a file; in bfloat16 it is float32's."""
    backbone = registry.get(registry.DEFAULT)
    if precision == "int8":
        backbone = quantized(backbone)
    file = setting.folder / f"network-{backbone.precision}.onnx"
    if not file.exists():
        file.write_bytes(cache.load(backbone).model)
    return file


def squares_file(setting: Setting) -> Path:
    """uint8[limit, side, side, 3] as .npy: the photographs as pomona gives them to a network."""
    file = setting.folder / "squares.npy"
    if not file.exists():
        photos = sorted(setting.copies(setting.sizes.limit).rglob("*.jpg"))
        side = registry.get(registry.DEFAULT).input_size
        squares = np.empty((len(photos), side, side, 3), np.uint8)
        for square, photo in zip(squares, photos, strict=True):
            resize(decode(photo.read_bytes()).pixels, square, fit="stretch", crop_fraction=None)
        np.save(file, squares)
    return file
