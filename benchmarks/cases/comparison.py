"""The report's comparison of images, by CPU time: beside all with all, and as images get more."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import Measure, Setting, figure, ratio
from pomona.pca.blas import one_thread
from pomona.report.nearest import find_nearest
from pomona.report.neighbours import NEAREST

COMPONENTS = 100
# So many views of an object, which turns: each view is near the next one.
OBJECTS, STEP = 250, 0.05
BLOCK_ROWS = 256


def measure(setting: Setting) -> list[Measure]:
    few, many = (_views(count) for count in setting.sizes.compared)
    found: dict[str, list[float]] = {"few": [], "many": [], "all": []}
    for _ in range(setting.sizes.pairs):
        found["few"].append(_cpu_seconds(lambda: find_nearest(few, NEAREST)))
        found["all"].append(_cpu_seconds(lambda: _all_with_all(few)))
        found["many"].append(_cpu_seconds(lambda: find_nearest(many, NEAREST)))
    each = [seconds * len(many) / len(few) for seconds in found["few"]]
    counts = f"{len(few):,}", f"{len(many):,}"
    return [
        ratio(
            f"products of all with all / the comparison, {counts[0]}", found["all"], found["few"]
        ),
        ratio(f"CPU time per image, {counts[1]} images / {counts[0]}", found["many"], each),
        figure(f"comparison of {counts[0]}", found["few"], "CPU s"),
        figure(f"comparison of {counts[1]}", found["many"], "CPU s"),
    ]


def _views(count: int) -> NDArray[np.float32]:
    """Rows of `OBJECTS` objects, each on a walk from its own start."""
    rng = np.random.default_rng(0)
    weights = np.arange(1, COMPONENTS + 1) ** -0.5
    walks = []
    for views in np.diff(np.linspace(0, count, OBJECTS + 1).astype(int)):
        steps = STEP * rng.normal(size=(views, COMPONENTS))
        walks.append((rng.normal(size=COMPONENTS) + steps.cumsum(axis=0)) * weights)
    return np.concatenate(walks).astype(np.float32)


def _all_with_all(rows: NDArray[np.float32]) -> None:
    """The products alone, without a look at them."""
    with one_thread():
        for start in range(0, len(rows), BLOCK_ROWS):
            rows[start : start + BLOCK_ROWS] @ rows.T


def _cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
