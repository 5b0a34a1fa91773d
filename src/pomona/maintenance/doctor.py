"""Doctor: what is installed, what this machine has, and how to get what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from pomona import __version__
from pomona.backbones import cache, precision, registry
from pomona.backbones.network import Network
from pomona.backbones.runtimes.registry import RUNTIMES
from pomona.backbones.timing import images_per_second
from pomona.engines.base import Failure, usable_cores
from pomona.engines.local import LocalEngine
from pomona.engines.registry import ENGINES
from pomona.errors import BackboneError, EngineError, PomonaError
from pomona.progress import count, duration

SPEED_S = 2.0
PACKAGES = ("numpy", "pyarrow", "pillow", "opencv-python-headless", "simplejpeg", "onnx")
EXTRAS = {
    "dicom": ("pydicom", "to read DICOM images"),
    "figures": ("matplotlib", "to draw the report's figures (`pomona report --figures`)"),
    "heif": ("pillow-heif", "to read HEIC and HEIF images"),
    "keras": ("keras", "to convert Keras networks (`pomona backbones add`)"),
    "learn": ("scikit-learn", "to train classifiers (`pomona train`)"),
    "pandas": ("pandas", "for to_pandas() of a store's tables"),
    "s3": ("botocore", "for s3:// addresses and `pomona aws`"),
    "search": ("faiss-cpu", "to search more than a million images"),
    "serve": ("starlette", "to answer over HTTP (`pomona serve`)"),
    "xgboost": (
        "xgboost-cpu" if platform.system() == "Linux" else "xgboost",
        "to train boosted trees (`pomona train --model xgboost`)",
    ),
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
    runtimes = [each.package for each in RUNTIMES.values() if not each.extra]
    for package in dict.fromkeys((*runtimes, *PACKAGES)):
        found = _version(package)
        findings.append(Check(package, bool(found), found or f'pip install "{package}"'))
    for extra, (package, purpose) in sorted(_extras().items()):
        found = _version(package)
        missing = f'{purpose}: pip install "pomona[{extra}]"'
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
    backbone = registry.get(registry.DEFAULT)
    for runtime in RUNTIMES.values():
        for chosen in runtime.batch_sizes:
            what = f"speed, {runtime.name} {chosen}"
            try:
                runtime.check_machine(chosen)
            except BackboneError as exc:
                yield Check(what, None, str(exc))
                continue
            rate = sum(_rates(precision.load(backbone, runtime.name, chosen)))
            told = f"{rate:,.0f} images/s with {count(usable_cores(), 'worker')}, "
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
    return images_per_second(network, SPEED_S)


def _extras() -> dict[str, tuple[str, str]]:
    """The package that each extra of pomona installs, and what it is for."""
    extras = dict(EXTRAS)
    for runtime in RUNTIMES.values():
        if runtime.extra:
            purpose = f"for the runtime {runtime.name} ({', '.join(runtime.batch_sizes)})"
            extras[runtime.extra] = runtime.package, purpose
    for name, engine in ENGINES.items():
        if engine.package and engine.extra:
            extras[engine.extra] = engine.package, f"for the engine {name}"
    return extras


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
