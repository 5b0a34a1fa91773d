"""What a worker does beside its network, held against the bare network within the same seconds.

`speed` measures whole runs, half a minute apart from their limits; on a machine that others use,
that tells two per cent from five after many rounds only. It leaves out the driver and a run's ends.
"""

from __future__ import annotations

from benchmarks.cases.speed import offers_bfloat16
from benchmarks.limit import network_file, squares_file
from benchmarks.measuring import WORKERS, Measure, Setting, children


def measure(setting: Setting) -> list[Measure]:
    ways = {"float32": "onnxruntime", "int8": "onnxruntime"}
    if offers_bfloat16():
        ways["bfloat16"] = "openvino"
    found: dict[str, list[float]] = {precision: [] for precision in ways}
    for pair in range(setting.sizes.pairs):
        for precision in sorted(ways, reverse=bool(pair % 2)):
            found[precision].append(_share(setting, ways[precision], precision))
    return [
        Measure(f"a worker's tasks / the bare network, {precision}", each)
        for precision, each in found.items()
    ]


def _share(setting: Setting, runtime: str, precision: str) -> float:
    """All workers' tasks, in units of the bare network's speed."""
    photos, sizes = setting.copies(setting.sizes.images), setting.sizes
    files = squares_file(setting), network_file(setting, precision)
    with setting.emptied("stores") as folder:
        each = [
            (photos, folder / str(which), which, *files, runtime, precision, sizes.worker)
            for which in range(WORKERS)
        ]
        with children("worker", each, folder=setting.folder, one_thread=True) as processes:
            for process in processes:
                process.give()
            spent = [process.answer() for process in processes]
    bare, worker = (sum(float(told[name]) for told in spent) for name in ("bare", "worker"))
    return bare / worker
