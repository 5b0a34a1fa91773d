"""Runtimes report to their makers by default, or bring along what does; pomona's use does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pomona.backbones.runtime import PRECISIONS

USE = """
import dataclasses, sys
import numpy as np
from pomona.backbones import cache, registry
network = dataclasses.replace(cache.load(registry.get(registry.DEFAULT)), runtime=sys.argv[1])
network.features(np.zeros((1, 224, 224, 3), np.uint8))
"""


@pytest.mark.parametrize("runtime", PRECISIONS)
def test_running_a_network_leaves_no_identifier_behind(runtime: str, tmp_path: Path) -> None:
    """The telemetry keeps an identifier of the device in the user's folders."""
    home = tmp_path / "home"
    home.mkdir()
    moved = {
        name: str(home) for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    }
    # The runtime reports nothing from what it takes for a CI machine, so it must not see one.
    kept = {
        name: os.environ[name]
        for name in ("PATH", "POMONA_CACHE", "SSL_CERT_FILE")
        if name in os.environ
    }
    command = [sys.executable, "-c", USE, runtime]
    subprocess.run(command, env={**kept, **moved}, check=True, timeout=120)
    assert list(home.rglob("*")) == []
