"""Extraction beside the bare limit: `local`, bfloat16, `spark`, and Daft with the same network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.limit import Limit, network_file
from benchmarks.measuring import (
    Measure,
    Ran,
    Setting,
    available,
    children,
    figure,
    pomona,
    ratio,
)
from pomona.backbones.runtimes.registry import RUNTIMES
from pomona.errors import BackboneError

BFLOAT16 = ("--runtime", "openvino", "--precision", "bfloat16")
INT8 = ("--precision", "int8")
STAGES = ("fetch", "decode", "network", "write")


@dataclass(frozen=True)
class Found:
    """A way in one round, in images/s. limit: of the network alone, before and after it."""

    limit: float
    all_in: float
    steady: float
    ran: Ran | None = None


def measure(setting: Setting) -> list[Measure]:
    sizes = setting.sizes
    float32 = Limit(setting)
    limits = {"bare limit": float32}
    ways: dict[str, Callable[[], Found]] = {"local": lambda: _pomona(setting, float32)}
    limits["int8's bare limit"] = int8 = Limit(setting, "int8")
    ways["int8"] = lambda: _pomona(setting, int8, *INT8)
    if offers_bfloat16():
        limits["bfloat16's bare limit"] = bfloat16 = Limit(setting, "bfloat16")
        ways["bfloat16"] = lambda: _pomona(setting, bfloat16, *BFLOAT16)
    if available("pyspark"):
        flags = ("--engine", "spark", "--limit", sizes.spark)
        ways["spark"] = lambda: _pomona(setting, float32, *flags)
    if available("daft"):
        ways["daft"] = lambda: _daft(setting, float32, "tuned")
        ways["daft, plain"] = lambda: _daft(setting, float32, "plain")
    found: dict[str, list[Found]] = {name: [] for name in ways}
    of_limits: dict[str, list[float]] = {name: [] for name in limits}
    best = {name: limit.best_batch for name, limit in limits.items()}
    for pair in range(sizes.pairs):
        order = slice(None, None, -1 if pair % 2 else 1)
        for name in sorted(ways)[order]:
            found[name].append(ways[name]())
        for name, limit in limits.items():
            at_best, own = limit.speeds([best[name], limit.batch][order])[order]
            of_limits[name].append(at_best / own)
    of_batches = [
        Measure(f"{name}, batches of {best[name]} (best) / of {limit.batch} (pomona's)", each)
        for (name, each), limit in zip(of_limits.items(), limits.values(), strict=True)
    ]
    return _tell(found, of_batches, _least_cosine(setting))


def offers_bfloat16() -> bool:
    """Whether OpenVINO is here, and this processor has bfloat16."""
    try:
        RUNTIMES["openvino"].check_machine("bfloat16")
    except BackboneError:
        return False
    return True


def _pomona(setting: Setting, limit: Limit, *flags: object) -> Found:
    before = limit.speed()
    kept = setting.folder / "+".join(["features", *map(str, flags)])
    with setting.emptied("run") as folder:
        photos = setting.copies(setting.sizes.images)
        ran = pomona("run", photos, folder / "out", flags=("--no-csv", *flags))
        if not kept.exists():
            (folder / "out" / "features").rename(kept)
    return Found((before + limit.speed()) / 2, ran.all_in, ran.steady, ran)


def _daft(setting: Setting, limit: Limit, way: str) -> Found:
    """Tuned: two processes, the network in batches of its best size; plain: of fewer images."""
    before = limit.speed()
    images = setting.sizes.images if way == "tuned" else setting.sizes.plain
    given = (setting.copies(images), network_file(setting))
    with children("daft_images", [given], folder=setting.folder) as [daft]:
        done = daft.measure(way=way, batch=limit.best_batch)
    speed = done["images"] / done["seconds"]
    return Found((before + limit.speed()) / 2, speed, speed)


def _least_cosine(setting: Setting) -> float:
    """The least cosine of an image's features in bfloat16 to those in float32."""
    both = [setting.folder / "+".join(["features", *flags]) for flags in ((), BFLOAT16)]
    if not all(folder.exists() for folder in both):
        return float("nan")
    one, other = (_features(folder) for folder in both)
    products = np.einsum("nd,nd->n", one, other)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float((products / norms).min())


def _features(folder: Path) -> NDArray[np.float64]:
    table = pq.read_table(folder, columns=["path", "features"]).sort_by("path")
    rows = table["features"].combine_chunks()
    flat: NDArray[np.float32] = rows.flatten().to_numpy()
    return flat.reshape(len(table), -1).astype(np.float64)


def _tell(found: dict[str, list[Found]], of_batches: list[Measure], cosine: float) -> list[Measure]:
    local = found["local"]
    told = [
        _share("`local`, steady / bare limit", local, "steady", "≥ 0.95"),
        _share("`local`, all in / bare limit", local, "all_in", "≥ 0.90"),
        *of_batches,
    ]
    if "spark" in found:
        spark = [each.steady for each in found["spark"]]
        steady = [each.steady for each in local]
        told.append(_share("`spark`, steady / bare limit", found["spark"], "steady"))
        told.append(ratio("`spark`, steady / `local`, steady", spark, steady))
    whole = found["int8"]
    told += [
        _share("int8, steady / its bare limit", whole, "steady", "≥ 0.95"),
        _speed_ratio("int8 / float32, steady", whole, local, "≥ 2.0"),
    ]
    if "bfloat16" in found:
        told.append(_speed_ratio("int8 / bfloat16, steady", whole, found["bfloat16"], "≥ 1.15"))
        there = found["bfloat16"]
        told += [
            _share("bfloat16, steady / its bare limit", there, "steady", "≥ 0.95"),
            _share("bfloat16, all in / its bare limit", there, "all_in", "≥ 0.85"),
            ratio(
                "bfloat16 / float32, steady",
                [each.steady for each in there],
                [each.steady for each in local],
                "≥ 1.6",
            ),
            ratio(
                "bfloat16 / float32, all in",
                [each.all_in for each in there],
                [each.all_in for each in local],
            ),
            Measure("bfloat16's features to float32's, least cosine", [cosine], goal="≥ 0.99"),
        ]
    if "daft" in found:
        mine = [each.all_in for each in local]
        tuned, plain = ([each.all_in for each in found[way]] for way in ("daft", "daft, plain"))
        told.append(ratio("`local` / Daft, tuned, all in", mine, tuned, "≥ 1.3"))
        told.append(ratio("`local` / Daft, with its defaults, all in", mine, plain))
    told += _where_time_goes([each.ran for each in local if each.ran])
    for name, each in found.items():
        told.append(figure(f"{name}, all in", [one.all_in for one in each], "images/s"))
        told.append(figure(f"{name}, steady", [one.steady for one in each], "images/s"))
        busy = [one.ran.busy for one in each if one.ran]
        if busy:
            told.append(figure(f"{name}, while busy", busy, "images/s"))
        told.append(figure(f"{name}, bare limit then", [one.limit for one in each], "images/s"))
    return told


def _speed_ratio(name: str, above: list[Found], below: list[Found], goal: str) -> Measure:
    return ratio(name, [each.steady for each in above], [each.steady for each in below], goal)


def _share(name: str, found: list[Found], speed: str, goal: str = "") -> Measure:
    speeds = [getattr(each, speed) for each in found]
    return ratio(name, speeds, [each.limit for each in found], goal)


def _where_time_goes(runs: list[Ran]) -> list[Measure]:
    """Shares of the workers' time, from the first one's start to the last one's end."""
    told = []
    spent = [run.entry["seconds"]["extract"] * run.entry["workers"] for run in runs]
    seconds = [run.entry["worker_seconds"] for run in runs]
    for stage in STAGES:
        told.append(ratio(f"a worker's time: {stage}", [each[stage] for each in seconds], spent))
    rest = [all_of - sum(each.values()) for all_of, each in zip(spent, seconds, strict=True)]
    return [*told, ratio("a worker's time: starting, waiting, the rest", rest, spent)]
