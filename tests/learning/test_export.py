"""An exported file: pixels in, the labels of `pomona predict` out, without pomona."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper

import pomona as api
from conftest import REAL, Here, unpack_fruits
from machine import find_chromium, need
from means import graph, teach
from pomona.backbones.network import Network
from pomona.backbones.overrides import ModelOverrides
from pomona.backbones.runtimes.onnxruntime import open_graph
from pomona.errors import BackboneError, PomonaError, StoreError, UsageError
from pomona.images.resize import resize
from pomona.learning.ask import predict_here
from pomona.learning.export import export, join
from pomona.learning.square import square
from pomona.maintenance.import_features import import_features
from pomona.pipeline import run as pipeline
from pomona.pipeline.context import RunSettings
from pomona.pipeline.settings import ExtractSettings, ReduceSettings

TOLERANCE = 1e-4
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "use-a-classifier.md"


def blocks(language: str) -> list[str]:
    """The code on the page, in its order."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def make(source: Path, out: Path, side: int = 224, **extracting: Any) -> Path:
    """A store with a classifier."""
    overrides = ModelOverrides(input_size=side)
    settings = ExtractSettings(source=source, overrides=overrides, **extracting)
    pipeline.run(out, settings, ReduceSettings(components=8, csv=False), RunSettings(Here()))
    teach(out)
    return out


@pytest.fixture(scope="module")
def taught(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of small squares with a classifier, not to be changed."""
    return make(photos, tmp_path_factory.mktemp("taught") / "store", 32)


FUTURE = "from __future__ import annotations\n"
BARE = """
import sys
for name in ("pomona", "cv2", "onnx", "sklearn"):
    sys.modules[name] = None
"""


def answer_bare(file: Path, photos: list[Path]) -> list[tuple[str, list[float]]]:
    """What the page's lines say of photographs, in a process that can import no pomona."""
    lines = next(block for block in blocks("python") if "InferenceSession" in block)
    [own] = [block for block in blocks("python") if "def square" in block]
    own = own.replace(FUTURE, "")
    before, at, each = lines.replace('"fruit.onnx"', "sys.argv[1]").partition("photo = ")
    each = (
        (at + each)
        .replace('"photo.jpg"', "path")
        .replace(
            "print(labels[label], probabilities[label])",
            "found.append((labels[label], probabilities.tolist()))",
        )
    )
    loop = "found = []\nfor path in sys.argv[2:]:\n    " + each.replace("\n", "\n    ")
    script = f"{FUTURE}{BARE}{own}{before}{loop}\nprint(json.dumps(found))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, str(file), *map(str, photos)],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    return [(label, probabilities) for label, probabilities in json.loads(done.stdout)]


def check_bare(store: Path, file: Path, photos: list[Path]) -> None:
    """The page's lines give what `pomona predict` gives."""
    export(store, file)
    labels = json.loads(metadata(file)["labels"])
    wanted = predict_here(api.open(store), photos, top=len(labels))
    answered = answer_bare(file, photos)
    assert len({each.label for each in wanted}) > 1
    for own, (label, probabilities) in zip(wanted, answered, strict=True):
        assert own.label == label
        told = dict(own.top)
        assert np.allclose([told[name] for name in labels], probabilities, rtol=0, atol=TOLERANCE)


def metadata(file: Path) -> dict[str, str]:
    return {each.key: each.value for each in onnx.load(file).metadata_props}


@pytest.mark.parametrize(("fit", "side"), [("stretch", 224), ("crop", 32)])
def test_the_page_alone_gives_the_labels_of_predict(
    fit: str, side: int, photos: Path, tmp_path: Path
) -> None:
    store = make(photos, tmp_path / "store", side, fit=fit)
    check_bare(store, tmp_path / "fruit.onnx", sorted(photos.rglob("*.*")))


@pytest.mark.parametrize("limit", [pytest.param(50, marks=REAL)])
def test_photographs_have_the_labels_of_predict(limit: int, tmp_path: Path) -> None:
    fruits = unpack_fruits(tmp_path)
    store = make(fruits, tmp_path / "store", limit=limit)
    paths = api.open(store).metadata(["path"])["path"].to_pylist()
    teach(store, temperature=1.0)
    check_bare(store, tmp_path / "fruit.onnx", [fruits / path for path in paths])


@pytest.mark.parametrize("on", ["pca", "features"])
def test_the_file_says_what_it_is(on: str, taught: Path, tmp_path: Path) -> None:
    store = shutil.copytree(taught, tmp_path / "store")
    facts = teach(store, on=on)
    file, again = tmp_path / "fruit.onnx", tmp_path / "again.onnx"
    result = export(store, file)
    export(store, again)
    assert file.read_bytes() == again.read_bytes()
    assert export(store, file) == result  # the same file may be written again
    assert (result["labels"], result["input_size"]) == (facts["labels"], 32)
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    values = {
        value.name: (value.type.tensor_type.elem_type, shape(value))
        for value in (*model.graph.input, *model.graph.output)
    }
    assert values == {
        "images": (TensorProto.UINT8, ["batch", 32, 32, 3]),
        "label": (TensorProto.INT64, ["batch"]),
        "probabilities": (TensorProto.FLOAT, ["batch", 4]),
    }
    said, recipe = metadata(file), api.open(store).recipe
    assert said.keys() == {"labels", "licence", "recipe", "sha256", "square"}
    assert json.loads(said["labels"]) == facts["labels"]
    assert json.loads(said["recipe"]) == recipe.to_dict()
    assert json.loads(said["sha256"])["network"] == recipe.model_sha256
    assert said["licence"] == "Apache-2.0"
    how = json.loads(said["square"])
    assert (how["side"], how["jpeg_side"], how["fit"], how["crop_fraction"]) == (
        32,
        128,
        "stretch",
        None,
    )
    names: dict[str, Any] = {}
    exec(how["python"], names)  # noqa: S102 - our own
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    assert np.array_equal(names["square"](pixels, 32), square(pixels, 32))


def shape(value: onnx.ValueInfoProto) -> list[int | str]:
    return [each.dim_param or each.dim_value for each in value.type.tensor_type.shape.dim]


SIZES = [(100, 100), (48, 40), (224, 90), (90, 224), (300, 260), (448, 448), (640, 100)]


@pytest.mark.parametrize("size", SIZES)
def test_the_square_is_that_of_a_run(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    for fit, fraction in (("stretch", None), ("crop", 0.875)):
        wanted = np.empty((224, 224, 3), np.uint8)
        resize(pixels, wanted, fit=fit, crop_fraction=fraction)
        given = square(pixels, 224, fraction)
        assert np.abs(given.astype(int) - wanted).max() <= 1
        # Halves of a level: OpenCV adds areas in float32, and on ARM rounds its own way.
        is_exact = cv2.ipp.useIPP() and max(size) <= 224
        assert (given != wanted).mean() <= (0 if is_exact else 0.01 if cv2.ipp.useIPP() else 0.2)


def test_the_page_has_the_source_of_the_square() -> None:
    source = Path(sys.modules[square.__module__].__file__ or "").read_text(encoding="utf-8")
    [own] = [block for block in blocks("python") if "def square" in block]
    assert source.endswith(own)


@pytest.mark.needs("chromium")
def test_the_square_of_a_browser_is_the_same() -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    need("chromium")
    [own] = [block for block in blocks("js") if "function square" in block]
    rng = np.random.default_rng(0)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        for height, width, side in ((20, 30, 64), (64, 50, 32), (90, 20, 64)):
            rgba = rng.integers(0, 256, (height, width, 4), np.uint8)
            call = f"([rgba, w, h, side]) => {{ {own}; return [...square(rgba, w, h, side)] }}"
            found = page.evaluate(call, [rgba.ravel().tolist(), width, height, side])
            assert found == square(rgba[..., :3], side).ravel().tolist()
        browser.close()


def network(opset: int, names: list[str]) -> Network:
    """A network of 8 × 8 pixels, whose features are the means of the colours."""
    first, second, third = names
    axes: dict[str, Any] = {"axes": [1, 2]} if opset < 18 else {}
    nodes = [
        helper.make_node("Cast", ["images"], [first], to=TensorProto.FLOAT),
        helper.make_node(
            "ReduceMean", [first, *(["axes"] if opset >= 18 else [])], [second], keepdims=0, **axes
        ),
        helper.make_node("Identity", [second], [third]),
        helper.make_node("Identity", [third], ["features"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 8, 8, 3])
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 3])
    constants = [helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])]
    model = helper.make_model(
        helper.make_graph(nodes, "tiny", [images], [features], constants if opset >= 18 else []),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )
    return Network("tiny", model.SerializeToString(), "", 8, 3)


@pytest.mark.parametrize("opset", [11, 17, 20])
def test_networks_of_any_opset_and_any_names_are_joined(opset: int) -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(128, 30, (5, 3)).astype(np.float32)
    given = network(opset, ["rows", "label", "probabilities"])
    content = join(given, None, graph(means, 500.0), {"labels": "[]"})
    images: npt.NDArray[np.uint8] = rng.integers(0, 256, (7, 8, 8, 3), np.uint8)
    label, probabilities = open_graph(content)(["label", "probabilities"], {"images": images})
    features = images.mean(axis=(1, 2), dtype=np.float64)
    logits = -np.square(features[:, None] - means).sum(axis=2) / 2 / 500
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(probabilities, wanted, atol=1e-5)
    assert label.tolist() == wanted.argmax(axis=1).tolist()


def refused(kind: type[PomonaError], store: Path, file: Path) -> str:
    with pytest.raises(kind) as caught:
        export(store, file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_exported_says_so_in_a_line(
    taught: Path, finished: Path, tmp_path: Path
) -> None:
    file = tmp_path / "fruit.onnx"
    assert "must end in .onnx" in refused(UsageError, taught, tmp_path / "fruit.tflite")
    assert "has no classifier: run `pomona train" in refused(StoreError, finished, file)
    file.write_bytes(b"another file")
    assert "exists and is another file" in refused(UsageError, taught, file)
    assert file.read_bytes() == b"another file"
    message = refused(BackboneError, taught, tmp_path / "nowhere" / "fruit.onnx")
    assert "No such file or directory; choose another folder" in message
    table = api.open(finished).features().table.select(["path", "label", "features"])
    pq.write_table(table, tmp_path / "features.parquet")
    imported = tmp_path / "imported"
    import_features(tmp_path / "features.parquet", imported, RunSettings(Here()))
    teach(imported, on="features")
    message = refused(BackboneError, imported, tmp_path / "imported.onnx")
    assert "these features were imported" in message
    assert not list(tmp_path.glob("*.tmp"))


def test_a_full_disk_says_so_in_a_line(taught: Path, tmp_path: Path) -> None:
    need("mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(disk)], check=True)
    try:
        message = refused(BackboneError, taught, disk / "fruit.onnx")
        assert "No space left on device; choose another folder" in message
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_file_that_would_disagree_is_not_written(
    taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a graph's optimizations change its numbers."""
    monkeypatch.setattr("pomona.learning.export.TOLERANCE", -1.0)
    message = refused(PomonaError, taught, tmp_path / "fruit.onnx")
    assert "would give other probabilities than `pomona predict`" in message
    assert list(tmp_path.iterdir()) == []
