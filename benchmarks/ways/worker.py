"""A worker's own work beside the bare network's, a bundle of each in turn, in one process.

PHOTOS, OUT, which of the workers, SQUARES.npy, NETWORK.onnx, RUNTIME, PRECISION, how many images.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import WORKERS
from benchmarks.ways import serve
from benchmarks.ways.bare import OPEN, Run
from pomona.backbones import registry
from pomona.backbones.precision import load
from pomona.extraction import task as features
from pomona.extraction.recipe import make_recipe
from pomona.images.sources.local import LocalSource
from pomona.memory import forgo_pandas
from pomona.store import plan
from pomona.store.folders.local import LocalFolder
from pomona.store.plan import Shard


def prepare() -> Callable[[], dict[str, Any]]:
    photos, out, which, squares, model, runtime, precision, images = sys.argv[1:]
    forgo_pandas()
    source, files = LocalSource(photos), LocalFolder(out)
    backbone = registry.get(registry.DEFAULT)
    network = load(backbone, runtime, precision)
    recipe = make_recipe(backbone, network, "stretch")
    work = features.ExtractTask(source, files, recipe, network)
    mine = bundles(source, int(which), int(images))
    ready = np.load(squares)
    run = OPEN[runtime](model, network.batch_size)
    features.extract(mine[-1], work)
    run(ready[: network.batch_size])

    def measure() -> dict[str, Any]:
        """Seconds of the same number of images, for both."""
        found = {"worker": 0.0, "bare": 0.0}
        for turn, bundle in enumerate(mine):
            count = sum(len(shard.images) for shard in bundle)
            for name in sorted(found, reverse=bool(turn % 2)):
                start = time.perf_counter()
                if name == "worker":
                    features.extract(bundle, work)
                else:
                    run_squares(run, ready, count, network.batch_size)
                found[name] += time.perf_counter() - start
        return found

    return measure


def bundles(source: LocalSource, which: int, images: int) -> list[list[Shard]]:
    """The first of a worker's tasks of a new run: of so many images at most, or a single task."""
    shards = plan.shards(plan.make_plan(source.scan().catalog))
    new = [dataclasses.replace(shard, is_new=True) for shard in shards]
    every = list(
        plan.bundles(new, lambda shard: len(shard.images), WORKERS, plan.LOCAL_TASK_DIVISOR)
    )
    mine = every[which::WORKERS]
    totals = itertools.accumulate(sum(len(shard.images) for shard in bundle) for bundle in mine)
    return [bundle for bundle, total in zip(mine, totals, strict=True) if total <= images] or mine[
        :1
    ]


def run_squares(run: Run, squares: NDArray[np.uint8], count: int, batch: int) -> None:
    """So many of the squares, which begin anew where there are fewer."""
    whole = len(squares) // batch * batch
    for at in range(0, count, batch):
        run(squares[at % whole : at % whole + batch])


if __name__ == "__main__":
    serve(prepare)
