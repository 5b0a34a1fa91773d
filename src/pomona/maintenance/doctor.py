"""Doctor: what is installed, what this machine has, and how to get what is missing."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import psutil

from pomona import __version__
from pomona.backbones import cache, registry, runtime
from pomona.backbones.runtime import Network
from pomona.engines.base import Failure, usable_cores
from pomona.engines.local import LocalEngine
from pomona.errors import BackboneError, EngineError, PomonaError
from pomona.progress import duration

SPEED_S = 2.0
RUNTIMES = ("onnxruntime",)
PACKAGES = ("numpy", "pyarrow", "pillow", "opencv-python-headless", "simplejpeg", "onnx")
EXTRAS = {
    "keras": ("keras", "pomona backbones add, of Keras's networks"),
    "openvino": ("openvino", "--runtime openvino and --precision bfloat16"),
    "pandas": ("pandas", "to_pandas() of a store's tables"),
    "s3": ("botocore", "s3:// addresses"),
    "spark": ("pyspark", "--engine spark"),
}


@dataclass(frozen=True)
class Check:
    """ok: True fine, False missing, None optional and not there."""

    what: str
    ok: bool | None
    detail: str
    images_per_second: float | None = None


def examine() -> list[Check]:
    """Everything that decides whether and how pomona runs here."""
    memory = psutil.virtual_memory()
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    findings = [
        Check("pomona", True, f"{__version__} on {system}"),
        Check("cores", True, f"{usable_cores()} may be used, of {os.cpu_count()}"),
        Check(
            "memory", True, f"{memory.available / 1e9:.1f} GB free of {memory.total / 1e9:.1f} GB"
        ),
    ]
    for package in (*RUNTIMES, *PACKAGES):
        found = _version(package)
        findings.append(Check(package, bool(found), found or f'pip install "{package}"'))
    for extra, (package, purpose) in EXTRAS.items():
        found = _version(package)
        missing = f'for {purpose}: pip install "pomona[{extra}]"'
        findings.append(Check(package, True if found else None, found or missing))
    if _version("pyspark"):
        findings.append(_java())
    findings.append(_cache())
    findings.extend(_backbone(name) for name in registry.names())
    return findings


def measure() -> Iterator[Check]:
    """How fast this machine runs the default network, with each runtime and precision.

    As many processes as there are cores to use, each for `SPEED_S` on images in memory: what
    `pomona run` can reach at most. Raises EngineError.
    """
    network = cache.load(registry.get(registry.DEFAULT))
    for name, precisions in runtime.PRECISIONS.items():
        for precision in precisions:
            what = f"speed, {name} {precision}"
            try:
                runtime.check_machine(name, precision)
            except BackboneError as exc:
                yield Check(what, None, str(exc))
                continue
            chosen = dataclasses.replace(network, runtime=name, precision=precision)
            rate = sum(_rates(chosen))
            told = f"{rate:,.0f} images/s with {usable_cores()} workers, "
            told += f"a million in {duration(1e6 / rate)}"
            yield Check(what, True, told, round(rate, 1))


def _rates(network: Network) -> Iterator[float]:
    with LocalEngine(usable_cores()) as engine:
        for _, rate in engine.map(time_network, range(engine.workers), network):
            if isinstance(rate, Failure):
                raise EngineError(f"the network cannot be measured here: {rate.message}")
            yield rate


def time_network(worker: int, network: Network, attempt: int = 1) -> float:
    """Images/s of this process alone."""
    side = network.input_size
    batch = np.zeros((network.batch_size, side, side, 3), np.uint8)
    network.features(batch)
    start, images = time.perf_counter(), 0
    while (seconds := time.perf_counter() - start) < SPEED_S:
        network.features(batch)
        images += len(batch)
    return images / seconds


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _java() -> Check:
    from pomona.engines.spark.application import find_java

    try:
        return Check("Java", True, find_java())
    except PomonaError as exc:
        return Check("Java", None, str(exc))


def _cache() -> Check:
    folder = cache.cache_folder()
    at = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(at, os.W_OK):
        return Check("cache", False, f"{folder} cannot be written: set POMONA_CACHE to a folder")
    return Check("cache", True, f"{folder}, {shutil.disk_usage(at).free / 1e9:.0f} GB free")


def _backbone(name: str) -> Check:
    backbone = registry.get(name)
    if not registry.is_bundled(name):
        found = cache.is_cached(backbone)
        told = "cached" if found else f"not added: pomona backbones add {name}"
        return Check(name, True if found else None, told)
    try:
        backbone.find_weights()
    except PomonaError as exc:
        return Check(name, False, str(exc))
    return Check(name, True, "cached" if cache.is_cached(backbone) else "built on first use")
