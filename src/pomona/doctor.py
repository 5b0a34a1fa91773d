"""Doctor: what is installed, what this machine has, and how to get what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from dataclasses import dataclass

import psutil

from pomona import __version__
from pomona.backbones import cache, registry
from pomona.engines import usable_cores
from pomona.errors import PomonaError

RUNTIMES = ("onnxruntime",)
PACKAGES = ("numpy", "pyarrow", "pillow", "opencv-python-headless", "onnx")
EXTRAS = {
    "keras": ("keras", "pomona backbones add, of Keras's networks"),
    "openvino": ("openvino", "--runtime openvino and --precision bfloat16"),
    "pandas": ("pandas", "to_pandas() of a store's tables"),
    "spark": ("pyspark", "--engine spark"),
}


@dataclass(frozen=True)
class Finding:
    """ok: True fine, False missing, None optional and not there."""

    what: str
    ok: bool | None
    detail: str


def examine() -> list[Finding]:
    """Everything that decides whether and how pomona runs here."""
    memory = psutil.virtual_memory()
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    findings = [
        Finding("pomona", True, f"{__version__} on {system}"),
        Finding("cores", True, f"{usable_cores()} may be used, of {os.cpu_count()}"),
        Finding(
            "memory", True, f"{memory.available / 1e9:.1f} GB free of {memory.total / 1e9:.1f} GB"
        ),
    ]
    for package in (*RUNTIMES, *PACKAGES):
        found = _version(package)
        findings.append(Finding(package, bool(found), found or f'pip install "{package}"'))
    for extra, (package, purpose) in EXTRAS.items():
        found = _version(package)
        missing = f'for {purpose}: pip install "pomona[{extra}]"'
        findings.append(Finding(package, True if found else None, found or missing))
    if _version("pyspark"):
        findings.append(_java())
    findings.append(_cache())
    findings.extend(_backbone(name) for name in registry.names())
    return findings


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _java() -> Finding:
    from pomona.spark.application import find_java

    try:
        return Finding("Java", True, find_java())
    except PomonaError as exc:
        return Finding("Java", None, str(exc))


def _cache() -> Finding:
    folder = cache.cache_folder()
    at = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(at, os.W_OK):
        return Finding("cache", False, f"{folder} cannot be written: set POMONA_CACHE to a folder")
    return Finding("cache", True, f"{folder}, {shutil.disk_usage(at).free / 1e9:.0f} GB free")


def _backbone(name: str) -> Finding:
    backbone = registry.get(name)
    if not registry.is_bundled(name):
        found = cache.is_cached(backbone)
        told = "cached" if found else f"not added: pomona backbones add {name}"
        return Finding(name, True if found else None, told)
    try:
        backbone.find_weights()
    except PomonaError as exc:
        return Finding(name, False, str(exc))
    return Finding(name, True, "cached" if cache.is_cached(backbone) else "built on first use")
