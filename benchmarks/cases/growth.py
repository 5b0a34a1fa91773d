"""Growth: speed and memory over ever more images, with a network input so small that it ends."""

from __future__ import annotations

from benchmarks.measuring import Measure, Ran, Setting, figure, pomona, ratio

INPUT_SIZE = 32


def measure(setting: Setting) -> list[Measure]:
    counts = setting.sizes.growth
    folders = {count: setting.copies(count) for count in counts}
    found: dict[int, list[Ran]] = {count: [] for count in counts}
    for pair in range(setting.sizes.pairs):
        for count in counts[:: -1 if pair % 2 else 1]:
            with setting.emptied("run") as folder:
                flags = ("--input-size", INPUT_SIZE)
                found[count].append(pomona("extract", folders[count], folder / "out", *flags))
    least, most = counts[0], counts[-1]
    first, last = found[least], found[most]
    grown = [
        (_memory(more, "driver") - _memory(few, "driver")) * 1e6 / (most - least)
        for few, more in zip(first, last, strict=True)
    ]
    beside = f"{most:,} images / {least:,}"
    told = [
        ratio(
            f"images/s, steady, {beside}",
            [run.steady for run in last],
            [run.steady for run in first],
            "0.95 to 1.05",
        ),
        ratio(
            f"a worker's peak memory, {beside}",
            [_memory(run, "worker") for run in last],
            [_memory(run, "worker") for run in first],
            "0.9 to 1.1",
        ),
        Measure("the driver's peak memory, growth per image", grown, "bytes", goal="< 300"),
    ]
    for count, runs in found.items():
        told.append(figure(f"{count:,} images, steady", [run.steady for run in runs], "images/s"))
        told.append(figure(f"{count:,} images, all in", [run.all_in for run in runs], "images/s"))
        told.append(figure(f"{count:,} images, while busy", [run.busy for run in runs], "images/s"))
        for who in ("worker", "driver"):
            told.append(
                figure(f"{count:,} images, {who}", [_memory(run, who) for run in runs], "MB")
            )
    return told


def _memory(run: Ran, who: str) -> float:
    """Its peak, in MB."""
    peak: float = run.entry["peak_memory_mb"][who]
    return peak
