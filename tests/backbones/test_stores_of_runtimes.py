"""Stores whose features another runtime computed."""

from __future__ import annotations

from pathlib import Path

import pytest

import pomona
from conftest import Pomona

OPENVINO = ["--runtime", "openvino"]


@pytest.fixture(scope="module")
def out(photos: Path, pomona: Pomona, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("openvino") / "out"
    pomona.done("run", photos, out, "--limit", 9, "--components", 4, *OPENVINO)
    return out


def test_the_manifest_names_the_runtime(out: Path) -> None:
    manifest = pomona.open(out).manifest
    assert manifest["recipe"]["runtime"] == "openvino"
    assert manifest["recipe"]["precision"] == "float32"
    assert "openvino" in manifest["runs"][-1]["machine"]


def test_featurize_uses_the_runtime_of_the_store(out: Path, photos: Path) -> None:
    store = pomona.open(out)
    rows = store.features()
    made = pomona.featurize([photos / path for path in rows.paths[:3]], store.recipe)
    assert made.tobytes() == rows.array[:3].tobytes()


def test_another_runtime_cannot_continue_the_store(out: Path, photos: Path, pomona: Pomona) -> None:
    ended = pomona("run", photos, out, "--limit", 9)
    assert ended.status == 1
    assert "another recipe (runtime: openvino, not onnxruntime)" in ended.stderr


@pytest.mark.spark
def test_spark_makes_the_same_bytes(
    out: Path, photos: Path, pomona: Pomona, tmp_path: Path
) -> None:
    spark = tmp_path / "out"
    flags = ["--limit", 9, "--components", 4, *OPENVINO, "--engine", "spark", "--workers", 2]
    pomona.done("run", photos, spark, *flags)
    for name in ("features/part-00000.parquet", "pca/part-00000.parquet"):
        assert (spark / name).read_bytes() == (out / name).read_bytes()


def test_a_precision_that_a_runtime_lacks_is_wrong_usage(
    photos: Path, pomona: Pomona, tmp_path: Path
) -> None:
    ended = pomona("run", photos, tmp_path / "out", "--precision", "bfloat16")
    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr == (
        "pomona: --precision bfloat16: onnxruntime does not have it; add --runtime openvino\n"
    )
    assert not (tmp_path / "out").exists()
