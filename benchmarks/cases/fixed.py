"""What a run costs beyond its images: 300 of them all in, and Spark beyond a bare application."""

from __future__ import annotations

from benchmarks.limit import Limit
from benchmarks.measuring import (
    WORKERS,
    Measure,
    Setting,
    available,
    command,
    figure,
    pomona,
)

BARE_APPLICATION = f"""
from pyspark import SparkConf, SparkContext
with SparkContext(conf=SparkConf().setMaster("local[{WORKERS}]")) as context:
    context.parallelize(range({WORKERS}), {WORKERS}).map(str).count()
"""


def measure(setting: Setting) -> list[Measure]:
    sizes = setting.sizes
    limit = Limit(setting)
    photos = setting.copies(sizes.fixed)
    beyond, seconds, spark = [], [], []
    for _ in range(sizes.pairs):
        before = limit.speed()
        with setting.emptied("run") as folder:
            seconds.append(pomona("run", photos, folder / "out").seconds)
        alone = sizes.fixed / ((before + limit.speed()) / 2)
        beyond.append(seconds[-1] - alone)
        if sizes.started and available("pyspark"):
            bare = command("-c", BARE_APPLICATION)
            with setting.emptied("run") as folder:
                few, flags = setting.copies(sizes.started), ("--engine", "spark")
                told = pomona("extract", few, folder / "out", flags=flags)
            spark.append(told.seconds - bare)
    name = f"`pomona run`, {sizes.fixed} images all in, beyond their network"
    on_spark = f"`pomona extract` on Spark, {sizes.started} images, beyond a bare application"
    return [
        Measure(name, beyond, "s", goal="≤ 2.5"),
        *([Measure(on_spark, spark, "s")] if spark else []),
        figure(f"{sizes.fixed} images all in", seconds, "s"),
    ]
