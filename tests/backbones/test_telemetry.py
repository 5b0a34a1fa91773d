"""Runtimes report to their makers by default, or bring along what does; pomona's use does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pomona.backbones.runtimes.registry import RUNTIMES

USE = """
import dataclasses, sys
import numpy as np
from pomona.backbones import cache, registry
from pomona.backbones.runtimes.registry import RUNTIMES
network = cache.load(registry.get(registry.DEFAULT))
network = dataclasses.replace(network, runtime=RUNTIMES[sys.argv[1]])
network.features(np.zeros((1, 224, 224, 3), np.uint8))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the telemetry would keep an identifier of the device: the user's folders."""
    home = tmp_path / "home"
    home.mkdir()
    return home


def environment(home: Path) -> dict[str, str]:
    moved = {
        name: str(home) for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    }
    # The runtime reports nothing from what it takes for a CI machine, so it must not see one.
    kept = {
        name: os.environ[name]
        for name in ("PATH", "POMONA_CACHE", "PYTHONPYCACHEPREFIX", "SSL_CERT_FILE")
        if name in os.environ
    }
    return {**kept, **moved}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_running_a_network_leaves_no_identifier_behind(runtime: str, home: Path) -> None:
    command = [sys.executable, "-c", USE, runtime]
    subprocess.run(command, env=environment(home), check=True, timeout=120)
    assert list(home.rglob("*")) == []


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_run_leaves_no_identifier_behind(runtime: str, home: Path, photos: Path) -> None:
    """Its workers import the runtime before their first task."""
    run = ["run", photos, home.parent / "out", "--limit", "4", "--runtime", runtime]
    command = [sys.executable, "-m", "pomona", *map(str, run)]
    subprocess.run(command, env=environment(home), check=True, timeout=120, capture_output=True)
    assert list(home.rglob("*")) == []
