"""Pixels, gathered into batches and run through a network."""

from __future__ import annotations

import numpy as np

from pomona.backbones.runtime import Network
from pomona.images.decode import Pixels, resize
from pomona.stopwatch import Stopwatch
from pomona.store.recipe import Recipe

# Images that are read, then decoded, then run, one after another: each work finds its own in the
# caches. Fewer where their files, or the network's squares, are large.
WAITING = 64
WAITING_BYTES = 2**25


class Batches:
    """Runs images through a network in batches; `features[row]` is there once `flush` returns.

    features: float32[rows, width].
    """

    def __init__(self, rows: int, network: Network, recipe: Recipe, watch: Stopwatch) -> None:
        side = network.input_size
        self.features = np.empty((rows, network.width), np.float32)
        self._network, self._recipe, self._watch = network, recipe, watch
        waiting = max(1, min(rows, WAITING, WAITING_BYTES // (3 * side**2)))
        self._buffer = np.empty((waiting, side, side, 3), np.uint8)
        self._rows: list[int] = []

    def add(self, row: int, pixels: Pixels) -> None:
        """Takes uint8[h, w, 3] for `row`."""
        square = self._buffer[len(self._rows)]
        with self._watch.timed("decode"):
            resize(pixels, square, fit=self._recipe.fit, crop_fraction=self._recipe.crop_fraction)
        self._rows.append(row)
        if len(self._rows) == len(self._buffer):
            self.flush()

    def flush(self) -> None:
        """Runs what is waiting."""
        if self._rows:
            with self._watch.timed("network"):
                batch = self._buffer[: len(self._rows)]
                self.features[self._rows] = self._network.features(batch)
            self._rows.clear()
