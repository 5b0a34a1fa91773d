"""The way that pomona replaces: Keras in a pandas UDF, on batches and one image at a time."""

from __future__ import annotations

from benchmarks import keras_model
from benchmarks.cases.speed import BFLOAT16, offers_bfloat16
from benchmarks.measuring import Measure, Setting, children, figure, need, pomona, ratio


def measure(setting: Setting) -> list[Measure]:
    need("tensorflow", "pyspark", "pandas")
    sizes = setting.sizes
    keras_model.add(keras_model.build(), setting.folder)
    folders = setting.copies(sizes.batched), setting.copies(sizes.single)
    photos = setting.copies(sizes.images)
    own: dict[str, tuple[str, ...]] = {"local": ()}
    if offers_bfloat16():
        own["bfloat16"] = BFLOAT16
    others = {"batched": "batches", "single": "one image at a time"}
    found: dict[str, list[float]] = {name: [] for name in (*own, *others)}
    with children("keras_on_spark", [folders], folder=setting.folder) as [spark]:
        for _ in range(sizes.pairs):
            for name, flags in own.items():
                with setting.emptied("run") as folder:
                    network = ("--backbone", "mobilenet_v2")
                    ran = pomona("extract", photos, folder / "out", flags=(*network, *flags))
                found[name].append(ran.steady)
            for way in others:
                done = spark.measure(way=way)
                found[way].append(done["images"] / done["seconds"])
    goals = {"batched": "≥ 6", "single": "≥ 30"}
    return [
        *(
            ratio(f"{_name(name)} / Keras on Spark, {words}", found[name], found[way], goals[way])
            for name in own
            for way, words in others.items()
        ),
        *(figure(name, values, "images/s") for name, values in found.items()),
    ]


def _name(way: str) -> str:
    return "`local`" if way == "local" else f"`local`, {way}"
