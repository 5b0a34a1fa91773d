"""Any ONNX file of an image network as a backbone: cut, and given pomona's input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, inliner, numpy_helper

from pomona.backbones.cache import sha256
from pomona.backbones.network import Network
from pomona.backbones.onnx import exported
from pomona.backbones.onnx import trial as onnx_trial
from pomona.backbones.onnx.cut import (
    Cut,
    dimensions,
    external_files,
    find_cut,
    free_batch,
    in_words,
    inlined_nodes,
    keep_until,
    shown,
)
from pomona.backbones.overrides import LARGEST_SIDE, ModelOverrides
from pomona.backbones.preprocessing import NAMED, Preprocessing
from pomona.backbones.spec import Backbone
from pomona.errors import BackboneError, PomonaError, UsageError

MAX_BYTES = 2**31 - 1  # of a protobuf message
OLDEST_OPSET = 7  # from which on operators broadcast
MOST_NODES = 1_000_000
_PIXELS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8)
_RAW = "pomona/raw"


def read(path: Path, overrides: ModelOverrides) -> Backbone:
    """Returns the network in a file, as a backbone.

    Parameters
    ----------
    path : Path
        The file: any ONNX model of images, or one that pomona exported.
    overrides : ModelOverrides
        How to read it.

    Raises
    ------
    BackboneError
        If the file is not an ONNX model of images, or not the one of `overrides.sha256`.
    UsageError
        For settings that are missing or cannot be.
    """
    content = _content(path)
    digest = sha256(content)
    if overrides.sha256 is not None and digest != overrides.sha256.lower():
        raise BackboneError(
            f"{path} has the SHA-256 {digest}, not {overrides.sha256}: get the file again"
        )
    try:
        model = onnx.load_model_from_string(content)
    except Exception as exc:  # protobuf's own, of no common base
        raise BackboneError(f"{path} is not a complete ONNX file: get it again") from exc
    try:
        return _read(path, model, digest, overrides)
    except PomonaError:
        raise
    except Exception as exc:  # what onnx, NumPy and ONNX Runtime make of a file that is not valid
        raise BackboneError(
            f"cannot make a network of {path} ({type(exc).__name__}: "
            f"{shown(' '.join(str(exc).split())[:300])}); onnx.checker may say what is not valid "
            "in it: export it again"
        ) from exc


def _read(path: Path, model: onnx.ModelProto, digest: str, overrides: ModelOverrides) -> Backbone:
    others = external_files(model)
    if others:
        raise BackboneError(
            f"{path} keeps its weights in {', '.join(sorted(others)[:3])}: save it as one file, "
            'with onnx.save_model(onnx.load("in.onnx"), "out.onnx")'
        )
    try:
        own = exported.read(model)
    except BackboneError as exc:
        raise BackboneError(f"cannot use {path}: {exc}") from exc
    if own is None:
        return _foreign(path, model, digest, overrides)
    spec, network = own
    given = overrides.layer or overrides.preprocessing or overrides.layout
    if given or overrides.input_size not in (None, spec.input_size):
        raise UsageError(
            f"{path} is {spec.name}, exported by pomona for {spec.input_size} × {spec.input_size} "
            "pixels: leave out `input_size`, `layer`, `preprocessing` and `layout`"
        )
    onnx_trial.try_out(path, Network(spec.name, network, "", spec.input_size, spec.width))
    facts = {key: value for key, value in vars(spec).items() if key != "model_sha256"}
    return _ready(path, network, **facts)


def _ready(path: Path, network: bytes, **facts: Any) -> Backbone:
    """Returns a backbone whose bytes are here already."""
    return Backbone(
        **facts,
        remedy=f"get {path.name} again",
        find_weights=partial(Path, path),
        build=partial(_give, network),
        cacheable=False,
    )


def _give(network: bytes, path: Path, input_size: int) -> bytes:
    return network


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise BackboneError(
                f"{path} has {size:,} bytes: an ONNX file has {MAX_BYTES:,} at most"
            )
        return path.read_bytes()
    except OSError as exc:
        raise BackboneError(f"cannot read {path}: {exc.strerror}; check `backbone`") from exc


def _foreign(
    path: Path, model: onnx.ModelProto, digest: str, overrides: ModelOverrides
) -> Backbone:
    _refuse_old_or_endless(path, model)
    images = _find_images(path, model, overrides)
    preprocessing = _find_preprocessing(path, images, overrides)
    cut = find_cut(model.graph, overrides.layer)
    if images.batch:
        free_batch(model.graph, images.batch)
    keep_until(model.graph, cut.tensor)
    taken = {name for node in model.graph.node for name in (*node.input, *node.output)}
    if {"images", "features"} & taken:
        model = compose.add_prefix(model, "model/")
        images = replace(images, name=f"model/{images.name}")
        cut = replace(cut, tensor=f"model/{cut.tensor}")
    _put_in_front(model, images, preprocessing)
    pooled, width = _end(path, model, images, cut)
    content = bytes(model.SerializeToString(deterministic=True))
    onnx_trial.try_out(path, Network(path.name, content, "", images.side, width))
    return _ready(
        path,
        content,
        name=path.name,
        width=width,
        input_size=images.side,
        crop_fraction=0.875,
        preprocessing=preprocessing.in_words(),
        weights_sha256=digest,
        licence="not known",
        origin=f"the file {path.name}, cut at {shown(cut.tensor)}",
        top1=None,
        top1_source=None,
        revision=1,
        note=f"{path.name} is cut at {shown(cut.tensor)} ({cut.reason}){pooled}: {width:,} numbers",
    )


def _refuse_old_or_endless(path: Path, model: onnx.ModelProto) -> None:
    if not model.graph.node or not model.graph.output:
        raise BackboneError(f"{path} is not an ONNX model: it has no nodes")
    versions = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    if not versions or versions[0] < OLDEST_OPSET:
        raise BackboneError(
            f"{path} is of opset {versions[0] if versions else 'none'}: "
            f"export it with {OLDEST_OPSET} or later"
        )
    constants = [each.name for each in model.graph.initializer]
    if len(constants) > len(set(constants)):
        raise BackboneError(f"{path} has two constants of one name: export it again")
    if model.functions:
        if inlined_nodes(model) > MOST_NODES:
            raise BackboneError(f"{path} has more than {MOST_NODES:,} nodes in its functions")
        model.CopyFrom(inliner.inline_local_functions(model))
    # Only from this version on may initializers be no inputs.
    model.ir_version = max(model.ir_version, 4)


@dataclass(frozen=True)
class _Images:
    """A network's input. batch: the number of images it is fixed to, or 0."""

    name: str
    dtype: int
    layout: str
    side: int
    batch: int


def _find_images(path: Path, model: onnx.ModelProto, overrides: ModelOverrides) -> _Images:
    constants = {each.name for each in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in constants]
    given = ", ".join(f"{shown(each.name)} {in_words(each)}" for each in inputs) or "nothing"
    refusal = f"{path} takes {given}: not a batch of RGB images"
    if len(inputs) != 1:
        raise BackboneError(refusal)
    [value] = inputs
    shape = dimensions(value)
    if value.type.tensor_type.elem_type not in _PIXELS or len(shape) != 4:
        raise BackboneError(refusal)
    layout = overrides.layout or _guess_layout(shape)
    if layout is None:
        if all(isinstance(size, int) for size in shape[1:]):
            raise BackboneError(refusal)
        raise UsageError(f"{path} takes {given}: say `layout` nchw or nhwc")
    channels = shape[1] if layout == "nchw" else shape[3]
    if isinstance(channels, int) and channels != 3:
        raise BackboneError(refusal)
    height, width = shape[2:] if layout == "nchw" else shape[1:3]
    sides = {size for size in (height, width) if isinstance(size, int)}
    if len(sides) > 1:
        raise BackboneError(f"{path} takes {given}: pomona makes squares of images")
    side = sides.pop() if sides else overrides.input_size
    if side is None:
        raise UsageError(
            f"{path} takes images of any size ({given}): say `input_size`, such as 224"
        )
    if overrides.input_size not in (None, side):
        raise UsageError(
            f"`input_size` {overrides.input_size}: {path} takes {side} alone ({given})"
        )
    if side > LARGEST_SIDE:
        raise BackboneError(f"{path} takes {given}: images of {LARGEST_SIDE} pixels a side at most")
    batch = shape[0] if isinstance(shape[0], int) else 0
    return _Images(value.name, value.type.tensor_type.elem_type, layout, side, batch)


def _guess_layout(shape: list[int | str]) -> str | None:
    """Returns the layout by where the three channels are."""
    if shape[1] == 3 and shape[3] != 3:
        return "nchw"
    return "nhwc" if shape[3] == 3 and shape[1] != 3 else None


def _find_preprocessing(path: Path, images: _Images, overrides: ModelOverrides) -> Preprocessing:
    if overrides.preprocessing is not None:
        return Preprocessing.parse(overrides.preprocessing)
    if images.dtype == TensorProto.UINT8:
        return Preprocessing()
    raise UsageError(
        f"{path} does not say how it wants pixels: say `preprocessing` {', '.join(NAMED)}, "
        "or means/deviations in 0…255"
    )


def _put_in_front(model: onnx.ModelProto, images: _Images, preprocessing: Preprocessing) -> None:
    """Makes uint8[batch, side, side, 3] "images" the input, and the network's own input of it."""
    nodes: list[onnx.NodeProto] = []
    constants = model.graph.initializer
    axis = 1 if images.layout == "nchw" else 3
    shape = (3, 1, 1) if axis == 1 else (3,)
    last = "images"

    def apply(operator: str, output: str, *others: str, **attributes: Any) -> None:
        nonlocal last
        nodes.append(helper.make_node(operator, [last, *others], [output], output, **attributes))
        last = output

    def constant(name: str, values: object, dtype: type) -> str:
        constants.append(numpy_helper.from_array(np.array(values, dtype), name))
        return name

    if axis == 1:
        apply("Transpose", "pomona/channels_first", perm=[0, 3, 1, 2])
    if preprocessing.bgr:
        order = constant("pomona/order", [2, 1, 0], np.int64)
        apply("Gather", "pomona/bgr", order, axis=axis)
    if images.dtype != TensorProto.UINT8 or preprocessing != Preprocessing(bgr=preprocessing.bgr):
        apply("Cast", "pomona/pixels", to=TensorProto.FLOAT)
        mean = np.reshape(preprocessing.mean, shape)
        std = np.reshape(preprocessing.std, shape)
        if mean.any():
            apply("Sub", "pomona/centred", constant("pomona/mean", mean, np.float32))
        if (std != 1).any():
            apply("Div", "pomona/scaled", constant("pomona/std", std, np.float32))
        if images.dtype != TensorProto.FLOAT:
            apply("Cast", "pomona/cast", to=images.dtype)
    apply("Identity", images.name)
    after = list(model.graph.node)
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend([*nodes, *after])
    size: list[int | str | None] = ["batch", images.side, images.side, 3]
    model.graph.input.append(helper.make_tensor_value_info("images", TensorProto.UINT8, size))


def _end(path: Path, model: onnx.ModelProto, images: _Images, cut: Cut) -> tuple[str, int]:
    """Makes "features", float32 rows, of the tensor at the cut; returns how, and their width."""
    graph = model.graph
    graph.node.append(helper.make_node("Cast", [cut.tensor], [_RAW], _RAW, to=TensorProto.FLOAT))
    graph.output.append(helper.make_tensor_value_info(_RAW, TensorProto.FLOAT, None))
    shape = onnx_trial.shape_of(path, model, _RAW, images.side, f"at {shown(cut.tensor)}")
    del graph.output[:]
    last, done = _RAW, ""
    if len(shape) == 4:
        _, one, two, three = shape
        if (one == two) == (two == three) and (one, two, three) != (1, 1, 1):
            raise BackboneError(
                f"{path} has float32{shape} at {shown(cut.tensor)}, channels first or last?"
            )
        if two != three:  # height and width come first
            graph.node.append(
                helper.make_node(
                    "Transpose", [last], ["pomona/first"], "pomona/first", perm=[0, 3, 1, 2]
                )
            )
            last = "pomona/first"
        if two > 1:
            graph.node.append(
                helper.make_node("GlobalAveragePool", [last], ["pomona/pooled"], "pomona/pooled")
            )
            last, done = "pomona/pooled", ", its maps averaged"
        graph.node.append(helper.make_node("Flatten", [last], ["features"], "pomona/flat"))
    elif len(shape) == 2:
        graph.node.append(helper.make_node("Identity", [last], ["features"], "pomona/same"))
    else:
        raise BackboneError(
            f"{path} has float32{shape} at {shown(cut.tensor)} ({cut.reason}), "
            "not a row or map of features per image: say another `layer`"
        )
    width = shape[1] if len(shape) == 2 or two == three else three
    graph.output.append(
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", width])
    )
    return done, width
