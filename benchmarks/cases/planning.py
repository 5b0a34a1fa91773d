"""Planning a catalog of millions of images: seconds and memory before the first task."""

from __future__ import annotations

from benchmarks.measuring import Measure, Setting, children


def measure(setting: Setting) -> list[Measure]:
    planned = setting.sizes.planned
    seconds, memory = [], []
    # A process each: what it needed at most is asked, and freed memory would hide in the next one.
    for _ in range(min(setting.sizes.pairs, 3)):
        with (
            setting.emptied("plan") as folder,
            children("planning", [(planned, folder)], folder=setting.folder) as [process],
        ):
            done = process.measure()
        seconds.append(done["seconds"])
        memory.append(done["memory_mb"] / 1000)
    name = f"planning {planned:,} images"
    return [
        Measure(name, seconds, "s", goal="< 60"),
        Measure(f"{name}, peak memory with the catalog", memory, "GB", goal="< 3"),
    ]
