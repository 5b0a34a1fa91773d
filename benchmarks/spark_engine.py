"""Spark beside the local engine: speed in steady state, start-up, and PCA beside MLlib's.

    make bench-spark

Everything is measured in one run, interleaved, as medians of pairs; ratios are what counts, for a
shared machine's seconds drift. Real photographs where POMONA_DATA (or ../shared/data) has them,
else drawn ones.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import pomona

DATA = Path(os.environ.get("POMONA_DATA", Path(__file__).parents[2] / "shared" / "data"))
SLOTS = 2
COMPONENTS = 50
START_SPARK = f"""
from pyspark import SparkConf, SparkContext
conf = SparkConf().setMaster("local[{SLOTS}]").set("spark.python.worker.reuse", "true")
with SparkContext(conf=conf) as context:
    context.parallelize(range({SLOTS}), {SLOTS}).map(str).count()
"""
FIT_MLLIB = f"""
import sys, time
from pyspark.ml.feature import PCA
from pyspark.ml.functions import array_to_vector
from pyspark.sql import SparkSession
spark = (
    SparkSession.builder.master("local[{SLOTS}]").config("spark.driver.memory", "6g")
    .config("spark.ui.enabled", "false").getOrCreate()
)
spark.sparkContext.setLogLevel("OFF")
rows = spark.read.parquet(sys.argv[1] + "/features")
vectors = rows.select(array_to_vector(rows.features.cast("array<double>")).alias("v")).cache()
vectors.count()
for _ in range(2):  # the second time the JVM is warm
    start = time.perf_counter()
    model = PCA(k={COMPONENTS}, inputCol="v", outputCol="p").fit(vectors)
    seconds = time.perf_counter() - start
print(seconds, float(sum(model.explainedVariance)))
"""


def command(*args: object) -> float:
    """Runs a command; returns its seconds."""
    start = time.perf_counter()
    done = subprocess.run(
        list(map(str, args)),
        capture_output=True,
        text=True,
        env={**os.environ, "PYSPARK_PYTHON": sys.executable},
    )
    if done.returncode:
        raise SystemExit(f"{args}: {done.stderr}")
    return time.perf_counter() - start


def extract(photos: Path, engine: str, *flags: object) -> tuple[float, float]:
    """Seconds all in, and images/s from the first shard that came back to the last one."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        args = (photos, Path(folder, "out"), "--engine", engine, "--workers", SLOTS, *flags)
        seconds = command(sys.executable, "-m", "pomona", "extract", *args, "--log-file", log)
        events = [json.loads(line) for line in log.read_text().splitlines()]
    told = [
        (datetime.fromisoformat(event["time"]).timestamp(), event["done"])
        for event in events
        if event["event"] == "progress"
    ]
    (first, before), (last, after) = told[0], told[-1]
    return seconds, (after - before) / (last - first) if last > first else 0.0


def told(name: str, values: list[float], unit: str) -> None:
    spread = f"{min(values):.3g} to {max(values):.3g}"
    print(f"{name:<58} {statistics.median(values):8.3g} {unit:<9} ({spread}, n={len(values)})")


def bench_speed(photos: Path, images: int, pairs: int) -> None:
    speeds: dict[str, list[float]] = {"local": [], "spark": []}
    for pair in range(pairs):
        for engine in sorted(speeds, reverse=bool(pair % 2)):
            speeds[engine].append(extract(photos, engine, "--limit", images)[1])
    for engine, values in speeds.items():
        told(f"{engine}, {SLOTS} workers, steady state", values, "images/s")
    ratios = [spark / local for spark, local in zip(speeds["spark"], speeds["local"], strict=True)]
    told("spark / local", ratios, "")


def bench_start(photos: Path, pairs: int) -> None:
    beyond = []
    for _ in range(pairs):
        alone = command(sys.executable, "-c", START_SPARK)
        beyond.append(extract(photos, "spark", "--limit", 2 * SLOTS)[0] - alone)
    told(f"spark, {2 * SLOTS} images all in, beyond a bare application", beyond, "s")


def bench_pca(features: Path, rows: int, pairs: int, folder: Path) -> None:
    table = pq.read_table(features)
    rng = np.random.default_rng(0)
    matrix = np.stack(table["features"].to_numpy()).astype(np.float32)
    picked = rng.integers(0, len(matrix), rows)
    noisy = matrix[picked] + rng.normal(0, 0.01, (rows, matrix.shape[1])).astype(np.float32)
    numbers = pa.FixedSizeListArray.from_arrays(noisy.ravel(), noisy.shape[1])
    paths = [f"{index:06d}.jpg" for index in range(rows)]
    pq.write_table(pa.table({"path": paths, "features": numbers}), folder / "features.parquet")
    out = folder / "store"
    command(sys.executable, "-m", "pomona", "import-features", folder / "features.parquet", out)
    mllib, mine, ratios, differences = [], [], [], []
    for _ in range(pairs):
        done = subprocess.run(
            [sys.executable, "-c", FIT_MLLIB, out], capture_output=True, text=True, check=True
        )
        seconds, explained = map(float, done.stdout.split()[-2:])
        flags = ("--components", COMPONENTS, "--refit", "--no-csv", "--engine", "spark")
        command(sys.executable, "-m", "pomona", "reduce", out, *flags, "--workers", SLOTS)
        manifest = pomona.open(out).manifest
        mllib.append(seconds)
        mine.append(manifest["runs"][-1]["seconds"]["pca"])
        ratios.append(mllib[-1] / mine[-1])
        differences.append(abs(explained - manifest["pca"]["variance_explained"]))
    told(f"MLlib PCA, fit of {rows:,} × {matrix.shape[1]:,}, cached", mllib, "s")
    told("pomona on Spark, fit of the same, reading included", mine, "s")
    told("MLlib / pomona", ratios, "")
    print(f"{'explained variance, largest difference':<58} {max(differences):8.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=67_692, help="of the features for PCA")
    parser.add_argument("--images", type=int, default=8_710)
    parser.add_argument("--only", choices=["speed", "start", "pca"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        photos = folder / "fruits-360"
        if DATA.is_dir():
            with tarfile.open(DATA / "fruits360-subset.tar") as archive:
                archive.extractall(folder, filter="data")
        else:
            command(sys.executable, "-m", "pomona", "sample", photos)
        if args.only in (None, "speed"):
            bench_speed(photos, args.images, args.pairs)
        if args.only in (None, "start"):
            bench_start(photos, args.pairs)
        if args.only in (None, "pca") and DATA.is_dir():
            features = DATA / "mobilenetv2-apples-features.parquet"
            bench_pca(features, args.rows, args.pairs, folder)


if __name__ == "__main__":
    main()
