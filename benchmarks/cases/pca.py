"""PCA from a store, beside MLlib's and scikit-learn's from memory, and whether all agree."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import pomona as api
from benchmarks.measuring import (
    DATA,
    WORKERS,
    Measure,
    Setting,
    Sizes,
    available,
    children,
    command,
    figure,
    ratio,
)

COMPONENTS = 50
NAMES = {"mllib_pca": "MLlib", "sklearn_pca": "scikit-learn"}


def measure(setting: Setting) -> list[Measure]:
    store = _store(setting)
    needed = {"mllib_pca": "pyspark", "sklearn_pca": "sklearn"}
    found: dict[str, list[dict[str, Any]]] = {
        way: [] for way, package in needed.items() if available(package)
    }
    mine = []
    with ExitStack() as stack:
        others = {
            way: stack.enter_context(children(way, [(store, COMPONENTS)], folder=setting.folder))
            for way in found
        }
        for _ in range(setting.sizes.pairs):
            flags = ("--components", COMPONENTS, "--refit", "--no-csv", "--workers", WORKERS)
            command("-m", "pomona", "reduce", store, *flags)
            mine.append(api.open(store).manifest["runs"][-1]["seconds"])
            for way, [other] in others.items():
                found[way].append(other.measure())
    told = []
    both = [each["pca"] + each["project"] for each in mine]
    for way, each in found.items():
        name, goal = NAMES[way], "≥ 5" if way == "mllib_pca" else ""
        theirs = [one["fit"] + one["project"] for one in each]
        told.append(ratio(f"{name} / pomona, fit and project", theirs, both, goal))
        told += _differences(store, name, each[-1])
    told.append(figure("rows", [setting.sizes.rows], ""))
    for what, mine_is in (("fit", "pca"), ("project", "project")):
        told.append(figure(f"pomona, {what}", [each[mine_is] for each in mine], "s"))
        for way, each in found.items():
            told.append(figure(f"{NAMES[way]}, {what}", [one[what] for one in each], "s"))
    return told


def _differences(store: Path, name: str, other: dict[str, Any]) -> list[Measure]:
    """The largest ones, of shares of variance, and of the components' directions."""
    projection = api.open(store).projection
    shares = np.abs(projection.explained[:COMPONENTS] - np.array(other["explained"])).max()
    cosines = np.abs(np.sum(projection.components * np.array(other["components"]), axis=1))
    return [
        Measure(f"explained variance, largest difference to {name}'s", [float(shares)]),
        Measure(f"components, least cosine to {name}'s", [float(cosines.min())]),
    ]


def _store(setting: Setting) -> Path:
    """Real features with some noise, as often as it takes, or drawn ones."""
    rows, width, rng = setting.sizes.rows, setting.sizes.width, np.random.default_rng(0)
    real = DATA / "mobilenetv2-apples-features.parquet"
    if real.exists() and width == Sizes.width:
        table = pq.read_table(real)
        known = np.stack(table["features"].to_numpy()).astype(np.float32)
    else:
        scale = np.linspace(1, 0.01, width)
        known = (rng.normal(0, 1, (2 * width, width)) * scale).astype(np.float32)
    made = known[rng.integers(0, len(known), rows)]
    made += rng.normal(0, 0.01, made.shape).astype(np.float32)
    numbers = pa.FixedSizeListArray.from_arrays(made.ravel(), made.shape[1])
    paths = [f"{index:06d}.jpg" for index in range(rows)]
    file, store = setting.folder / "features.parquet", setting.folder / "reduced"
    pq.write_table(pa.table({"path": paths, "features": numbers}), file)
    command("-m", "pomona", "import-features", file, store)
    return store
