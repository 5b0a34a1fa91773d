"""The commands for the first steps."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import Pomona


def test_doctor_lists_what_is_installed(pomona: Pomona) -> None:
    findings = json.loads(pomona.done("doctor", "--json").stdout)
    assert {"pomona", "cores", "memory", "onnxruntime", "cache"} <= {
        one["what"] for one in findings
    }
    assert all(one["ok"] in (True, None) for one in findings)
    assert "onnxruntime" in pomona.done("doctor").stdout


def test_doctor_measures_the_network(pomona: Pomona) -> None:
    findings = json.loads(pomona.done("doctor", "--speed", "--json").stdout)
    rates = {
        each["what"]: each["images_per_second"] for each in findings if "speed" in each["what"]
    }
    assert {"speed, onnxruntime float32", "speed, openvino float32"} <= rates.keys()
    assert rates["speed, onnxruntime float32"] > 0
    assert sum(each["images_per_second"] is not None for each in findings) >= 2


def test_a_sample_can_be_run(pomona: Pomona, tmp_path: Path) -> None:
    ended = pomona.done("sample", tmp_path / "fruit", "--varieties", "3", "--per-variety", "4")
    assert ended.stdout.startswith("12 images of 3 varieties in ")
    assert f"next: pomona run {tmp_path / 'fruit'} out" in ended.stdout
    result = pomona.done("run", tmp_path / "fruit", tmp_path / "out", "--dry-run").stdout
    assert "12 images of 3 labels" in result
