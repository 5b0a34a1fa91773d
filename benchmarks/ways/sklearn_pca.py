"""scikit-learn's PCA of features/ of a STORE, in memory in float64, with so many COMPONENTS."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from sklearn.decomposition import PCA

from benchmarks.ways import serve


def prepare() -> Callable[..., dict[str, Any]]:
    store, components = sys.argv[1], int(sys.argv[2])
    column = pq.read_table(f"{store}/features", columns=["features"])["features"]
    flat = np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])
    rows = flat.reshape(len(column), -1).astype(np.float64)

    def measure() -> dict[str, Any]:
        start = time.perf_counter()
        model = PCA(n_components=components, svd_solver="covariance_eigh").fit(rows)
        fitted = time.perf_counter()
        model.transform(rows)
        return {
            "fit": fitted - start,
            "project": time.perf_counter() - fitted,
            "explained": model.explained_variance_ratio_.tolist(),
            "components": model.components_.tolist(),
        }

    return measure


if __name__ == "__main__":
    serve(prepare)
