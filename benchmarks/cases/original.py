"""The way that pomona replaces: Keras in a pandas UDF, on batches and one image at a time."""

from __future__ import annotations

from benchmarks import keras_model
from benchmarks.measuring import Measure, Setting, children, figure, need, pomona, ratio


def measure(setting: Setting) -> list[Measure]:
    need("tensorflow", "pyspark", "pandas")
    sizes = setting.sizes
    keras_model.add(keras_model.build(), setting.folder)
    folders = setting.copies(sizes.batched), setting.copies(sizes.single)
    photos = setting.copies(sizes.local)
    found: dict[str, list[float]] = {"local": [], "batched": [], "single": []}
    with children("keras_on_spark", [folders], folder=setting.folder) as [spark]:
        for _ in range(sizes.pairs):
            with setting.emptied("run") as folder:
                flags = ("--backbone", "mobilenet_v2")
                found["local"].append(pomona("extract", photos, folder / "out", *flags).steady)
            for way in ("batched", "single"):
                done = spark.measure(way=way)
                found[way].append(done["images"] / done["seconds"])
    local, batched, single = found.values()
    return [
        ratio("`local` / Keras on Spark, batches", local, batched, "≥ 6"),
        ratio("`local` / Keras on Spark, one image at a time", local, single, "≥ 30"),
        *(figure(name, values, "images/s") for name, values in found.items()),
    ]
