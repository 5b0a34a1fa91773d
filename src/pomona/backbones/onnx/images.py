"""The input of an ONNX network: what images it takes, and pomona's own in its place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pomona.backbones.onnx.cut import dimensions, in_words, shown
from pomona.backbones.onnx.hugging_face import Config
from pomona.backbones.overrides import LARGEST_SIDE, ModelOverrides
from pomona.backbones.preprocessing import NAMED, Preprocessing
from pomona.errors import BackboneError, UsageError

_PIXELS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8)


@dataclass(frozen=True)
class Images:
    """A network's input.

    Parameters
    ----------
    name : str
        Of the tensor.
    dtype : int
        ONNX's number of its type.
    layout : {"nchw", "nhwc"}
        The order of its axes.
    side : int
        Of the images, in pixels.
    batch : int
        The number of images that it is fixed to, or 0.
    """

    name: str
    dtype: int
    layout: str
    side: int
    batch: int


def find_images(
    path: Path, model: onnx.ModelProto, overrides: ModelOverrides, config: Config | None
) -> Images:
    """Finds the input for images, which must be the only one.

    Parameters
    ----------
    path : Path
        The model's file, for messages.
    model : onnx.ModelProto
        The model.
    overrides : ModelOverrides
        How to read it.
    config : Config, optional
        What the file beside it says.

    Raises
    ------
    BackboneError
        If the model takes something else.
    UsageError
        If it does not say what size or layout.
    """
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
    said = overrides.input_size or (config.side if config else None)
    side = sides.pop() if sides else said
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
    return Images(value.name, value.type.tensor_type.elem_type, layout, side, batch)


def _guess_layout(shape: list[int | str]) -> str | None:
    """Returns the layout by where the three channels are, or what is called so."""
    first, last = (size == 3 or "channel" in str(size) for size in (shape[1], shape[3]))
    if first == last:
        return None
    return "nchw" if first else "nhwc"


def find_preprocessing(
    path: Path, images: Images, overrides: ModelOverrides, config: Config | None
) -> Preprocessing:
    """Returns what the network expects of pixels; raises UsageError if nothing says it.

    Parameters
    ----------
    path, overrides, config
        As of `find_images`.
    images : Images
        What it found.
    """
    if overrides.preprocessing is not None:
        return Preprocessing.parse(overrides.preprocessing)
    if images.dtype == TensorProto.UINT8:
        return Preprocessing()
    if config is not None:
        return config.preprocessing
    raise UsageError(
        f"{path} does not say how it wants pixels: say `preprocessing` {', '.join(NAMED)}, "
        "or means/deviations in 0…255"
    )


def put_in_front(model: onnx.ModelProto, images: Images, preprocessing: Preprocessing) -> None:
    """Makes uint8[batch, side, side, 3] "images" the input, and the network's own input of it.

    Parameters
    ----------
    model : onnx.ModelProto
        The model, which is changed.
    images : Images
        Its input.
    preprocessing : Preprocessing
        What to make of the pixels.
    """
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
