"""ONNX files that somebody made to do harm, or that a tool spoilt: refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import CHANNELS, SIDE, TORCH, Node, expected, model

from pomona.backbones import cache, registry
from pomona.backbones.onnx import exported
from pomona.backbones.onnx.cut import free_batch
from pomona.backbones.overrides import ModelOverrides
from pomona.errors import BackboneError, PomonaError, UsageError

UNIT = ModelOverrides(preprocessing="unit")


def outside(place: str) -> onnx.TensorProto:
    """A tensor whose numbers are in a file of the reader's."""
    tensor = TensorProto(name="secret", data_type=TensorProto.FLOAT, dims=[CHANNELS])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    return tensor


def constant(place: str) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["secret"], value=outside(place))


def in_a_constant(made: onnx.ModelProto, place: str) -> None:
    made.graph.node.insert(0, constant(place))


def in_a_sparse_initializer(made: onnx.ModelProto, place: str) -> None:
    made.graph.sparse_initializer.add(values=outside(place), dims=[CHANNELS])


def in_a_branch_of_a_branch(made: onnx.ModelProto, place: str) -> None:
    inner = helper.make_graph([constant(place)], "inner", [], [])
    for _ in range(2):
        branch = helper.make_node("If", ["c"], ["x"], then_branch=inner, else_branch=inner)
        inner = helper.make_graph([branch], "outer", [], [])
    made.graph.node.extend(inner.node)


def in_a_function(made: onnx.ModelProto, place: str) -> None:
    own = [helper.make_opsetid("", 17)]
    nodes = [constant(place)]
    made.functions.append(helper.make_function("own", "F", [], ["secret"], nodes, own))


PUTS = [in_a_constant, in_a_sparse_initializer, in_a_branch_of_a_branch, in_a_function]
PLACES = ["../secret.bin", "{}/secret.bin", "model/../../secret.bin", "link", "model", "gone", ""]


@pytest.mark.parametrize("put", PUTS)
@pytest.mark.parametrize("place", PLACES)
def test_weights_are_read_from_no_file_elsewhere(
    tmp_path: Path, put: Callable[[onnx.ModelProto, str], None], place: str
) -> None:
    folder = tmp_path / "folder"
    (folder / "model").mkdir(parents=True)
    (tmp_path / "secret.bin").write_bytes(bytes(4 * CHANNELS))
    (folder / "link").symlink_to(tmp_path / "secret.bin")
    made = model(TORCH)
    put(made, place.format(tmp_path))
    with pytest.raises(BackboneError, match=r"keeps weights in .*(not beside it|its folder)"):
        registry.get(save(folder, made), UNIT)


@pytest.mark.parametrize("put", PUTS)
def test_an_exported_file_has_no_weights_beside_it(
    tmp_path: Path, put: Callable[[onnx.ModelProto, str], None]
) -> None:
    (tmp_path / "beside.bin").write_bytes(bytes(4 * CHANNELS))
    made = model(TORCH)
    put(made, "beside.bin")
    export(made)
    with pytest.raises(BackboneError, match="pomona exports one file"):
        registry.get(save(tmp_path, made), UNIT)


@pytest.mark.parametrize(
    ("dims", "told", "complaint"),
    [
        ([CHANNELS], {"offset": "8"}, "24 of them there"),
        ([CHANNELS], {"length": "4"}, "does not fit"),
        ([CHANNELS], {"offset": "-8"}, "does not fit"),
        ([CHANNELS], {"offset": "x"}, "ValueError"),
        ([2**40], {}, "more weights than"),
        ([-1], {}, "cannot be read"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, dims: list[int], told: dict[str, str], complaint: str
) -> None:
    (tmp_path / "beside.bin").write_bytes(bytes(4 * CHANNELS))
    made = model([*TORCH[:4], ("Mul", "flat secret", "features")])
    tensor = outside("beside.bin")
    tensor.dims[:] = dims
    for key, value in told.items():
        tensor.external_data.add(key=key, value=value)
    made.graph.initializer.append(tensor)
    with pytest.raises(BackboneError, match=complaint) as caught:
        registry.get(save(tmp_path, made), UNIT)
    assert "\n" not in str(caught.value)


def save(folder: Path, made: onnx.ModelProto) -> str:
    path = folder / "hostile.onnx"
    path.write_bytes(made.SerializeToString())
    return str(path)


def export(made: onnx.ModelProto, **told: Any) -> None:
    """Writes into the model what an exported one says of itself."""
    facts = {
        "name": "small",
        "width": CHANNELS,
        "input_size": SIDE,
        "crop_fraction": 0.875,
        "preprocessing": "RGB, x",
        "weights_sha256": "0" * 64,
        "licence": "MIT",
        "origin": "a test",
        "top1": None,
        "top1_source": None,
        "revision": 1,
        "model_sha256": cache.sha256(made.SerializeToString(deterministic=True)),
    }
    made.metadata_props.add(key=exported.KEY, value=json.dumps(facts | told))


def carried() -> onnx.ModelProto:
    """What pomona runs of the small network."""
    nodes: list[Node] = [
        ("Cast", "images", "floats", {"to": TensorProto.FLOAT}),
        ("Transpose", "floats", "first", {"perm": [0, 3, 1, 2]}),
        ("Conv", "first kernel", "conv"),
        ("GlobalAveragePool", "conv", "pool"),
        ("Flatten", "pool", "features"),
    ]
    return model(nodes, ("batch", SIDE, SIDE, 3), TensorProto.UINT8, inputs=("images",))


def test_an_exported_file_must_fit_its_facts(tmp_path: Path) -> None:
    made = carried()
    export(made)
    assert registry.get(save(tmp_path, made)).width == CHANNELS


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        ({"width": "8"}, "export it again"),
        ({"width": True}, "export it again"),
        ({"width": CHANNELS + 1}, "not 9 numbers each"),
        ({"input_size": 10**9}, "export it again"),
        ({"input_size": SIDE + 1}, "cannot"),
        ({"crop_fraction": float("nan")}, "export it again"),
        ({"crop_fraction": 2}, "export it again"),
        ({"weights_sha256": "x"}, "export it again"),
        ({"licence": "\x1b[2J"}, "export it again"),
        ({"top1": "best"}, "export it again"),
        ({"revision": 1.5}, "export it again"),
    ],
)
def test_impossible_facts_are_refused(tmp_path: Path, told: dict[str, Any], complaint: str) -> None:
    made = carried()
    export(made, **told)
    with pytest.raises(BackboneError, match=complaint):
        registry.get(save(tmp_path, made))


def going_round() -> onnx.ModelProto:
    return model([("Relu", "last", "first"), ("Relu", "first", "last")])


def dropping_round() -> onnx.ModelProto:
    matrix: Node = ("MatMul", "last matrix", "logits")
    return model([("Dropout", "last", "first"), ("Identity", "first", "last"), matrix])


def with_doubled_constants() -> onnx.ModelProto:
    made = model(TORCH)
    made.graph.initializer.append(made.graph.initializer[0])
    return made


def with_an_unknown_type() -> onnx.ModelProto:
    made = model(TORCH)
    made.graph.input[0].type.tensor_type.elem_type = 999
    return made


def with_a_broken_shape() -> onnx.ModelProto:
    reshape: Node = ("Reshape", "pool one_row", "flat")
    made = model([*TORCH[:3], reshape, *TORCH[4:]], (1, 3, SIDE, SIDE))
    [shape] = [each for each in made.graph.initializer if each.name == "one_row"]
    shape.raw_data = b"odd"
    return made


def with_an_escape() -> onnx.ModelProto:
    """A terminal's command, where a tensor of too many dimensions has its name."""
    made = model([*TORCH[:3], ("Reshape", "pool many", "\x1b[2J")])
    shape = numpy_helper.from_array(np.array([0, 1, 2, 4, 1], np.int64), "many")
    made.graph.initializer.append(shape)
    return made


def with_functions(*bodies: list[str]) -> onnx.ModelProto:
    """Function number i calls those of bodies[i]; the graph calls the first."""
    made = model([*TORCH[:2], ("F0", "relu", "last", {"domain": "own"})])
    for index, called in enumerate(bodies):
        names = ["x", *(f"x{place}" for place in range(len(called) - 1)), "y"]
        nodes = [
            helper.make_node(one, [before], [after], domain="own" if one != "Relu" else "")
            for one, (before, after) in zip(called, pairwise(names), strict=True)
        ]
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        made.functions.append(helper.make_function("own", f"F{index}", ["x"], ["y"], nodes, opsets))
    made.opset_import.append(helper.make_opsetid("own", 1))
    return made


BILLIONS = [[f"F{index + 1}"] * 10 for index in range(12)]


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (going_round(), "takes nothing"),
        (dropping_round(), "takes nothing"),
        (with_doubled_constants(), "two constants of one name"),
        (with_an_unknown_type(), "cannot make a network of .*999"),
        (with_a_broken_shape(), "cannot make a network of"),
        (with_functions(["F0"]), "a function calls itself"),
        (with_functions(["F1"], ["F0"]), "a function calls itself"),
        (with_functions(*BILLIONS, ["Relu"]), "more than 1,000,000 nodes"),
        (model(TORCH, ("n", 3, 5000, 5000)), "images of 4096 pixels"),
        (with_an_escape(), r"float32\[2, 1, 2, 4, 1\] at '\\x1b\[2J'"),
    ],
)
def test_an_invalid_model_is_refused_in_one_line(
    tmp_path: Path, made: onnx.ModelProto, told: str
) -> None:
    with pytest.raises(PomonaError, match=told) as caught:
        registry.get(save(tmp_path, made), UNIT)
    assert str(caught.value).isprintable()


def test_functions_are_inlined_and_run(tmp_path: Path) -> None:
    made = with_functions(["F1", "F1"], ["Relu"])
    assert registry.get(save(tmp_path, made), UNIT).width == CHANNELS


def test_a_size_of_minus_one_is_free(tmp_path: Path) -> None:
    path = save(tmp_path, model(TORCH, (-1, 3, 0, -1)))
    with pytest.raises(UsageError, match="say `input_size`"):
        registry.get(path, UNIT)
    network = cache.load(registry.get(path, ModelOverrides(input_size=SIDE, preprocessing="none")))
    images = np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    assert np.allclose(network.features(images), expected(images), rtol=1e-4)


@pytest.mark.parametrize(
    "after",
    [
        [("Relu", "logits", "end")],
        [("Tanh", "logits", "end")],
        [("Clip", "logits", "end")],
        [("Mul", "logits bias", "scaled"), ("Div", "scaled bias", "end")],
        [("Add", "bias logits", "end")],
    ],
)
def test_what_follows_the_classifier_is_cut_off(tmp_path: Path, after: list[Node]) -> None:
    note = registry.get(save(tmp_path, model([*TORCH, *after])), UNIT).note
    assert "is cut at flat (what enters the last Gemm" in str(note)


def test_parameters_keep_their_shape_when_a_batch_is_freed() -> None:
    nodes: list[Node] = [
        ("Reshape", "bias one_cube", "parameter"),
        ("Reshape", "input one_row", "flat"),
    ]
    graph = model(nodes).graph
    free_batch(graph, 1)
    shapes = {each.name: numpy_helper.to_array(each).tolist() for each in graph.initializer}
    assert (shapes["one_cube"], shapes["one_row"]) == ([1, 2, 4], [0, CHANNELS])


@pytest.mark.parametrize("how", ["0/0", "0/nan", "nan/1", "0/inf", "1e39/1", "0/1e-60", "0/-1"])
def test_impossible_preprocessing_is_refused(how: str) -> None:
    with pytest.raises(UsageError, match="give none, unit"):
        ModelOverrides(preprocessing=how)
