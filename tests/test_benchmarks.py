"""The benchmarks' harness, with so few images that its figures mean nothing."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.cases import CASES
from benchmarks.measuring import Measure

pytestmark = pytest.mark.spark  # one of the benchmarks
ROOT = Path(__file__).parents[1]


def bench(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of all cases that need no TensorFlow."""
    file = tmp_path_factory.mktemp("bench") / "results.json"
    done = bench("--quick", "--results", file, "--only", *sorted(CASES.keys() - {"original"}))
    assert done.returncode == 0, done.stderr
    return file


def test_every_benchmark_yields_figures(measured: Path) -> None:
    found = results.load(measured)
    assert found.keys() == CASES.keys() - {"original"}
    for case, about in found.items():
        assert about["sizes"]["pairs"] == 1
        told = results.measures(found, case)
        assert all(math.isfinite(value) for each in told.values() for value in each.values), case
    speed = results.measures(found, "speed")
    assert speed["local, all in"].values[0] > 0
    shares = [each.median for name, each in speed.items() if name.startswith("a worker's time")]
    assert sum(shares) == pytest.approx(1, abs=1e-3)


def test_pca_agrees_with_the_others(measured: Path) -> None:
    told = results.measures(results.load(measured), "pca")
    for name in ("MLlib", "scikit-learn"):
        assert told[f"explained variance, largest difference to {name}'s"].median < 1e-6
        assert told[f"components, least cosine to {name}'s"].median > 0.999


def test_table_and_chart_come_from_the_results_file(measured: Path) -> None:
    chart = measured.with_suffix(".svg")
    before = chart.read_bytes()
    chart.unlink()
    done = bench("--table", "--results", measured)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("| `local`, all in")]
    assert chart.read_bytes() == before


def test_measuring_one_case_again_keeps_the_others(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    about = {"when": "2026-01-01T00:00+00:00"}
    results.save(file, "pca", about, [Measure("one", [1.0])])
    results.save(file, "speed", about, [Measure("two", [2.0])])
    results.save(file, "speed", about, [Measure("three", [3.0, 5.0])])
    found = results.load(file)
    assert [*results.measures(found, "pca")] == ["one"]
    assert results.measures(found, "speed")["three"].median == 4.0
    assert [*results.measures(found, "speed")] == ["three"]


def test_the_table_stands_between_the_marks_of_the_page(tmp_path: Path, measured: Path) -> None:
    page = tmp_path / "page.md"
    marks = [results.BEGIN.format(name=name) for name in ("table", "core-hours")]
    page.write_text("".join(f"above\n{mark}\nold\n{results.END}\nbelow\n" for mark in marks))
    for _ in range(2):
        results.update_page(page, results.load(measured))
    text = page.read_text()
    assert text.startswith(f"above\n{marks[0]}\n")
    assert text.endswith(f"{results.END}\nbelow\n")
    assert "old" not in text
    assert text.count(CASES["pca"]) == 1
    assert text.count("images of a core-hour") == 1
    page.write_text(marks[0])
    with pytest.raises(ValueError, match="has no"):
        results.update_page(page, results.load(measured))


def test_the_performance_page_shows_the_stored_results(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    before = results.PAGE.read_text(encoding="utf-8")
    page.write_text(before, encoding="utf-8")
    results.update_page(page, results.load(results.RESULTS))
    assert page.read_text(encoding="utf-8") == before
