"""`pomona backbones` and `--backbone`, as processes on real files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import CHANNELS, TORCH, model

import pomona as api
from conftest import Pomona, contents, tables
from pomona.errors import BackboneError

FEW = ("--limit", "8", "--workers", "1", "--quiet")


@pytest.fixture
def own(pomona: Pomona, cache: Path, tmp_path: Path) -> Pomona:
    """`pomona` with a cache of its own, as the others have filled theirs so far."""
    folder = shutil.copytree(cache, tmp_path / "cache")
    return replace(pomona, env={"POMONA_CACHE": str(folder)})


def test_a_network_that_is_not_there_writes_nothing(
    pomona: Pomona, photos: Path, tmp_path: Path
) -> None:
    for command in ("run", "extract"):
        ended = pomona(command, photos, tmp_path / "out", "--backbone", "mobilenet_v2")
        assert ended.status == 1
        assert "`pomona backbones add mobilenet_v2` downloads" in ended.complaint
        assert "or converts a Keras weights file" in ended.complaint
        assert len(ended.stderr.splitlines()) == 1
    assert contents(tmp_path) == {}


def test_an_exported_network_makes_the_same_store(
    pomona: Pomona, photos: Path, tmp_path: Path
) -> None:
    file = tmp_path / "small.onnx"
    export = ("backbones", "export", "efficientnet_lite0", file, "--input-size", "32", "--json")
    result = json.loads(pomona.done(*export).stdout)
    assert json.loads(pomona.done(*export).stdout) == result
    named, carried = tmp_path / "named", tmp_path / "carried"
    pomona.done("extract", photos, named, "--input-size", "32", *FEW)
    digest = ("--backbone-sha256", result["sha256"])
    pomona.done("extract", photos, carried, "--backbone", file, *digest, *FEW)
    assert tables(named) == tables(carried)
    recipes = [api.open(store).recipe for store in (named, carried)]
    assert recipes[0] == recipes[1]
    assert (recipes[0].input_size, recipes[0].model_sha256) == (32, result["model_sha256"])
    ended = pomona("extract", photos, named, *FEW)
    assert ended.status == 1
    assert "input_size: 32, not 224" in ended.complaint
    other = pomona("backbones", "export", "efficientnet_lite0", file, "--input-size", "48")
    assert (other.status, "exists and is another file" in other.complaint) == (2, True)


def test_any_file_is_run_and_its_cut_is_reported(
    pomona: Pomona, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "other.onnx"
    file.write_bytes(model(TORCH).SerializeToString())
    out = tmp_path / "out"
    args = ("extract", photos, out, "--backbone", file, "--limit", "8", "--workers", "2")
    assert "say --preprocessing" in pomona(*args).complaint
    ended = pomona.done(*args, "--preprocessing", "tf")
    assert "other.onnx is cut at flat (what enters the last Gemm, /logits)" in ended.stderr
    assert api.open(out).features().array.shape == (8, CHANNELS)
    again = pomona(*args, "--preprocessing", "unit")
    assert "was made by another recipe (model_sha256" in again.complaint
    # From Python, once the file says how it is read.
    held = api.open(out).features()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BackboneError, match=r"`pomona backbones export FILE\.onnx other\.onnx`"):
        api.featurize([], api.open(out).recipe)
    here = tmp_path / "here"
    here.mkdir()
    pomona.done("backbones", "export", file, here / "other.onnx", "--preprocessing", "tf")
    monkeypatch.chdir(here)
    images = [photos / path for path in held.paths]
    assert np.array_equal(api.featurize(images, api.open(out).recipe), held.array)


def test_a_damaged_entry_is_rebuilt_and_the_run_goes_on(
    own: Pomona, photos: Path, finished: Path, tmp_path: Path
) -> None:
    [entry] = Path(own.env["POMONA_CACHE"]).glob("efficientnet_lite0-224-*.onnx")
    whole = entry.read_bytes()
    entry.write_bytes(whole[: len(whole) // 2])
    ended = own.done("extract", photos, tmp_path / "out", *FEW)
    assert f"{entry} is damaged and is built again" in ended.stderr
    assert entry.read_bytes() == whole
    assert api.open(tmp_path / "out").recipe == api.open(finished).recipe


def test_the_list_of_networks(pomona: Pomona, finished: Path) -> None:
    known, *others = json.loads(pomona.done("backbones", "--json").stdout)
    assert [one["name"] for one in others] == ["mobilenet_v2", "resnet50", "efficientnet_b0"]
    assert {one["state"] for one in others} == {"to be added"}
    assert (known["name"], known["width"], known["cached"]) == ("efficientnet_lite0", 1280, True)
    listed = pomona.done("backbones").stdout
    assert "efficientnet_lite0" in listed
    assert "75.1 %" in listed


def test_the_list_has_states_and_speeds(own: Pomona, finished: Path) -> None:
    def listed(*flags: str) -> dict[str, Any]:
        result = own.done("backbones", "--json", *flags).stdout
        return {one["name"]: one for one in json.loads(result)}

    before, after = listed(), listed("--measure")
    assert before["efficientnet_lite0"]["images_per_second"] is None
    assert after["efficientnet_lite0"]["images_per_second"] > 0
    assert listed() == after
    assert after["mobilenet_v2"]["state"] == "to be added"
    assert own("backbones", "add", "efficientnet_lite0").status == 2
    assert "keras:NAME" in own("backbones", "add", "resnet").complaint


def test_the_list_cuts_no_name(own: Pomona) -> None:
    folder = Path(own.env["POMONA_CACHE"])
    name = "A" * 70
    record = {"width": 8, "preprocessing": "x", "weights_sha256": "0" * 64, "origin": "a file"}
    (folder / f"keras-{name}.record").write_text(json.dumps(record))
    for stray in ("keras-", "keras-a b", "keras-MobileNetV2", "keras-\x1b[2J"):
        (folder / f"{stray}.record").write_text(json.dumps(record))
    narrow = replace(own, env={**own.env, "COLUMNS": "72"}).done("backbones").stdout
    assert "\nefficientnet_lite0 (default) " in narrow
    assert name in narrow.replace("\n", "").replace(" ", "")
    assert "\x1b" not in narrow
    listed = {one["name"]: one for one in json.loads(own.done("backbones", "--json").stdout)}
    assert [one for one in listed if one.startswith("keras:")] == [f"keras:{name}"]
    assert listed[f"keras:{name}"]["licence"] == "that of your file"


def test_facts_of_keras_are_not_claimed_for_a_file(own: Pomona) -> None:
    def licence_and_accuracy() -> tuple[object, object, object]:
        listed = json.loads(own.done("backbones", "--json").stdout)
        [one] = [each for each in listed if each["name"] == "mobilenet_v2"]
        return one["licence"], one["top1"], one["top1_source"] is None

    assert licence_and_accuracy() == ("not stated by Keras (its code: Apache-2.0)", 71.3, False)
    record = {"width": 1280, "preprocessing": "x", "weights_sha256": "0" * 64}
    path = Path(own.env["POMONA_CACHE"]) / "mobilenet_v2.record"
    origin = "Keras's download of keras.applications.MobileNetV2"
    path.write_text(json.dumps({**record, "origin": origin}))
    assert licence_and_accuracy() == ("not stated by Keras (its code: Apache-2.0)", 71.3, False)
    path.write_text(json.dumps({**record, "origin": "the file mine.h5, given as another"}))
    assert licence_and_accuracy() == ("that of your file", None, True)


def test_a_cache_that_is_a_file_is_refused_before_the_work(own: Pomona, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    without = replace(own, env={"POMONA_CACHE": str(tmp_path / "file")})
    ended = without("backbones", "add", "mobilenet_v2")
    assert ended.status == 1
    assert "set POMONA_CACHE to a folder that can be written" in ended.complaint


def test_help_names_what_is_to_be_installed(pomona: Pomona) -> None:
    assert 'pip install ".[keras]"' in " ".join(
        pomona.done("backbones", "add", "--help").stdout.split()
    )
