"""Pixels, gathered into batches and run through a network."""

from __future__ import annotations

import numpy as np

from pomona.backbones.network import Network
from pomona.images.orientation import Pixels
from pomona.images.resize import resize
from pomona.stopwatch import Stopwatch
from pomona.store.recipe import Recipe

# Images go through each step some at a time, so that each step finds its own data in the caches.
# Fewer where their files, or the squares that the network takes, are large.
WAITING = 64
WAITING_BYTES = 2**25


class Batches:
    """Runs images through a network in batches.

    Parameters
    ----------
    rows : int
        How many images there will be at most.
    network : Network
        What they run through.
    recipe : Recipe
        How they are fitted into the network's square.
    watch : Stopwatch
        Counts the seconds of "decode" (the resizing) and "network".

    Attributes
    ----------
    features : float32[rows, width]
        A row is valid once `flush` returns; rows that were not added are undefined.
    """

    def __init__(self, rows: int, network: Network, recipe: Recipe, watch: Stopwatch) -> None:
        side = network.input_size
        self.features = np.empty((rows, network.width), np.float32)
        self._network, self._recipe, self._watch = network, recipe, watch
        waiting = max(1, min(rows, WAITING, WAITING_BYTES // (3 * side**2)))
        self._buffer = np.empty((waiting, side, side, 3), np.uint8)
        self._rows: list[int] = []

    def add(self, row: int, pixels: Pixels) -> None:
        """Takes the pixels of a row, uint8[h, w, 3], RGB."""
        square = self._buffer[len(self._rows)]
        with self._watch.timed("decode"):
            resize(pixels, square, fit=self._recipe.fit, crop_fraction=self._recipe.crop_fraction)
        self._rows.append(row)
        if len(self._rows) == len(self._buffer):
            self.flush()

    def flush(self) -> None:
        """Runs the images that are waiting."""
        if self._rows:
            with self._watch.timed("network"):
                batch = self._buffer[: len(self._rows)]
                self.features[self._rows] = self._network.features(batch)
            self._rows.clear()
