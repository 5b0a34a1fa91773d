"""How fast a network runs."""

from __future__ import annotations

import time

import numpy as np

from pomona.backbones.network import Network


def images_per_second(network: Network, seconds: float) -> float:
    """Times a network on this thread, after one batch that opens its session.

    Parameters
    ----------
    network : Network
        The network; its images are black.
    seconds : float
        How long to run it. It runs one batch at least.

    Returns
    -------
    float
        Images per second.
    """
    batch = np.zeros((network.batch_size, network.input_size, network.input_size, 3), np.uint8)
    network.features(batch)
    start, images = time.perf_counter(), 0
    while True:
        network.features(batch)
        images += len(batch)
        if (elapsed := time.perf_counter() - start) >= seconds:
            return images / elapsed
