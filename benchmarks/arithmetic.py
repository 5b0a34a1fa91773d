"""From what was measured on two cores to ten million images on a cluster."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping

import numpy as np

from benchmarks.measuring import WORKERS, Measure
from pomona.progress import duration
from pomona.store.plan import part_numbers

IMAGES = 10_000_000
CORES = 16
NODES = (8, 64)
# What S3 serves from a prefix that it has made a partition of.
GETS_PER_PREFIX = 5_500


def core_hours(speed: Mapping[str, Measure], pca: Mapping[str, Measure]) -> str:
    """Markdown: what a core-hour does, and the steps of a run on clusters of `NODES`.

    speed, pca: the measures of these cases; without what is needed: nothing.
    """
    if not ({"spark, steady"} <= speed.keys() and {"pomona, fit"} <= pca.keys()):
        return ""
    each = {"float32": speed["spark, steady"].median / WORKERS}
    if "bfloat16 / float32, steady" in speed:
        each["bfloat16"] = each["float32"] * speed["bfloat16 / float32, steady"].median
    rows = [
        ["images/s of a core", *(f"{one:.0f}" for one in each.values())],
        ["images of a core-hour", *(f"{one * 3600:,.0f}" for one in each.values())],
        [
            f"core-hours of {IMAGES:,} images",
            *(f"{IMAGES / one / 3600:.1f}" for one in each.values()),
        ],
    ]
    sizes = np.bincount(part_numbers(IMAGES)).tolist()
    for nodes in NODES:
        slots = nodes * CORES
        on = f"{nodes} nodes × {CORES} cores"
        longest = busiest(sizes, slots)
        busy = IMAGES / (longest * slots)
        rows += [
            [f"{on}: busy, of {len(sizes):,} shards", *[f"{busy:.0%}"] * len(each)],
            [f"{on}: extraction", *(duration(longest / one) for one in each.values())],
            [f"{on}: objects read in a second", *(f"{one * slots:,.0f}" for one in each.values())],
            [
                f"{on}: prefixes that takes",
                *(str(math.ceil(one * slots / GETS_PER_PREFIX)) for one in each.values()),
            ],
            [f"{on}: PCA, fit and project", *[duration(pca_s(pca, slots))] * len(each)],
        ]
    head = ["", *each]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def busiest(sizes: list[int], slots: int) -> int:
    """Images of the slot that has the most, where each takes the next shard when it is done."""
    done = [0] * slots
    for size in sizes:
        heapq.heapreplace(done, done[0] + size)
    return max(done)


def pca_s(pca: Mapping[str, Measure], slots: int) -> float:
    """Seconds of what was measured, for more rows and more slots."""
    seconds = pca["pomona, fit"].median + pca["pomona, project"].median
    return seconds * WORKERS / slots * IMAGES / pca["rows"].median
