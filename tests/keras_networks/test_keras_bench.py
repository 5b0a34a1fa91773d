"""The benchmark beside Keras on Spark, with a few images: `make test-keras`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import results

pytestmark = [pytest.mark.needs("tensorflow"), pytest.mark.spark]


def test_keras_on_spark_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--only", "original", "--results", file],
        cwd=Path(__file__).parents[2],
        check=True,
        timeout=600,
    )
    told = results.measures(results.load(file), "original")
    assert all(each.median > 0 for each in told.values())
    assert {"local", "batched", "single"} <= told.keys()
