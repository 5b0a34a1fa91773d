"""Search: every row compared, and a few cells, beside NumPy and faiss, on one thread.

The rows are made up: clusters of some 200, with variances that fall as those of components do.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from benchmarks.measuring import Measure, Setting, figure, need, ratio

WIDTH, TOP, QUERIES = 100, 10, 100
CLUSTER_ROWS = 200

Rows = npt.NDArray[np.float32]
Ask = Callable[[Rows], list[set[int]]]


def measure(setting: Setting) -> list[Measure]:
    need("faiss")
    return [each for count in setting.sizes.searched for each in _measure(count, setting)]


def _measure(count: int, setting: Setting) -> list[Measure]:
    import faiss

    from pomona.search.cells import Cells
    from pomona.search.exact import find_best

    clusters = max(10, count // CLUSTER_ROWS)
    rows, queries = draw(count, clusters, 1), draw(QUERIES, clusters, 2)
    faiss.omp_set_num_threads(1)
    start = time.perf_counter()
    cells = Cells.of(rows)
    made_s = time.perf_counter() - start
    flat = faiss.IndexFlatIP(WIDTH)
    flat.add(rows)
    ways: dict[str, Ask] = {
        "exact": lambda asked: [
            set(each.rows.tolist()) for each in find_best(rows, asked.astype(np.float64), TOP)
        ],
        "cells": lambda asked: [
            set(each.rows.tolist()) for each in cells.find_best(rows, asked.astype(np.float64), TOP)
        ],
        "NumPy": lambda asked: list(map(set, _by_numpy(rows, asked))),
        "faiss, flat": lambda asked: list(map(set, flat.search(asked, TOP)[1].tolist())),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    with threadpool_limits(1, "blas"):
        for _ in range(setting.sizes.pairs):
            found = {name: _ask_one_by_one(ask, queries, taken[name]) for name, ask in ways.items()}
    right = found["exact"]
    hits = sum(len(one & other) for one, other in zip(right, found["cells"], strict=True))
    of = f"{count:,} rows"
    return [
        Measure(f"{of}: recall of cells", [hits / sum(map(len, right))], goal="≥ 0.99"),
        ratio(f"{of}: time of exact / NumPy", taken["exact"], taken["NumPy"]),
        ratio(f"{of}: time of exact / faiss, flat", taken["exact"], taken["faiss, flat"]),
        ratio(f"{of}: time of cells / exact", taken["cells"], taken["exact"]),
        *(figure(f"{of}: {name}", values, "ms") for name, values in taken.items()),
        figure(f"{of}: making cells", [made_s], "s"),
        figure(f"{of}: share of cells looked at", [cells.looked_at / cells.index.nlist], ""),
    ]


def draw(count: int, clusters: int, seed: int) -> Rows:
    """Rows of length 1 in clusters, whose centres are the same for every seed."""
    scale = np.arange(1, WIDTH + 1, dtype=np.float32) ** -0.5
    centres = np.random.default_rng(0).standard_normal((clusters, WIDTH), np.float32)
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, WIDTH), np.float32)
    rows *= 0.5
    rows += centres[rng.integers(0, clusters, count)]
    rows *= scale
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def _ask_one_by_one(ask: Ask, queries: Rows, taken: list[float]) -> list[set[int]]:
    """What is found for each query; adds the mean of the milliseconds."""
    start = time.perf_counter()
    found = [ask(queries[at : at + 1])[0] for at in range(len(queries))]
    taken.append((time.perf_counter() - start) / len(queries) * 1000)
    return found


def _by_numpy(rows: Rows, asked: Rows) -> list[list[int]]:
    """As one writes it first."""
    found: list[list[int]] = np.argpartition(-(asked @ rows.T), TOP, axis=1)[:, :TOP].tolist()
    return found
