"""Growth: speed and memory over ever more images, with a network input so small that it ends."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.measuring import Measure, Ran, Setting, figure, pomona
from pomona.backbones import cache, registry
from pomona.backbones.overrides import ModelOverrides

INPUT_SIZE = 128


def measure(setting: Setting) -> list[Measure]:
    cache.load(registry.get(registry.DEFAULT, ModelOverrides(input_size=INPUT_SIZE)))
    least, *more = setting.sizes.growth
    folders = {count: setting.copies(count) for count in setting.sizes.growth}

    def extract(count: int) -> Ran:
        with setting.emptied("run") as folder:
            flags = ("--input-size", INPUT_SIZE)
            return pomona("extract", folders[count], folder / "out", flags=flags)

    # Of each number of images: the run, and that of the least before and after it.
    found: dict[int, list[tuple[Ran, Ran, Ran]]] = {count: [] for count in more}
    for pair in range(setting.sizes.pairs):
        before = extract(least)
        for count in more[:: -1 if pair % 2 else 1]:
            run, after = extract(count), extract(least)
            found[count].append((run, before, after))
            before = after
    told = []
    for count, runs in found.items():
        beside = f"{count:,} images / {least:,}"
        told.append(_beside(f"images/s, steady, {beside}", runs, _steady, "0.95 to 1.05"))
        told.append(_beside(f"a worker's peak memory, {beside}", runs, _worker_mb, "0.9 to 1.1"))
    most = more[-1]
    grown = [
        (_driver_mb(run) - (_driver_mb(before) + _driver_mb(after)) / 2) * 1e6 / (most - least)
        for run, before, after in found[most]
    ]
    told.append(Measure("the driver's peak memory, growth per image", grown, "bytes", "< 300"))
    all_runs = {least: [before for _, before, _ in found[most]]}
    all_runs |= {count: [run for run, _, _ in runs] for count, runs in found.items()}
    for count, each in all_runs.items():
        told.append(figure(f"{count:,} images, steady", [run.steady for run in each], "images/s"))
        told.append(figure(f"{count:,} images, all in", [run.all_in for run in each], "images/s"))
        told.append(figure(f"{count:,} images, while busy", [run.busy for run in each], "images/s"))
        told.append(figure(f"{count:,} images, worker", [_worker_mb(run) for run in each], "MB"))
        told.append(figure(f"{count:,} images, driver", [_driver_mb(run) for run in each], "MB"))
    return told


def _beside(
    name: str, runs: list[tuple[Ran, Ran, Ran]], of: Callable[[Ran], float], goal: str
) -> Measure:
    """What a run has, over the mean of what the runs before and after it had."""
    values = [of(run) / ((of(before) + of(after)) / 2) for run, before, after in runs]
    return Measure(name, values, goal=goal)


def _steady(run: Ran) -> float:
    return run.steady


def _worker_mb(run: Ran) -> float:
    """Its peak."""
    return float(run.entry["peak_memory_mb"]["worker"])


def _driver_mb(run: Ran) -> float:
    """Its peak."""
    return float(run.entry["peak_memory_mb"]["driver"])
