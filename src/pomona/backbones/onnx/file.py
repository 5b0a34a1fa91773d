"""Any ONNX file of an image network as a backbone: cut, and given pomona's input."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx
from onnx import compose, inliner

from pomona.backbones.network import Network
from pomona.backbones.onnx import exported, external, hugging_face, one_by_one
from pomona.backbones.onnx import trial as onnx_trial
from pomona.backbones.onnx.cut import Cut, find_cut, free_batch, inlined_nodes, keep_until, shown
from pomona.backbones.onnx.ending import put_behind
from pomona.backbones.onnx.images import (
    Images,
    find_images,
    find_preprocessing,
    put_in_front,
)
from pomona.backbones.overrides import ModelOverrides
from pomona.backbones.preprocessing import Preprocessing
from pomona.backbones.spec import Backbone
from pomona.errors import BackboneError, PomonaError, UsageError

OLDEST_OPSET = 7  # from which on operators broadcast
MOST_NODES = 1_000_000


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
    try:
        model = onnx.load_model_from_string(content)
    except Exception as exc:  # protobuf's own, of no common base
        raise BackboneError(f"{path} is not a complete ONNX file: get it again") from exc
    files = external.find_files(path, model)
    digest = external.digest(content, files.values())
    if overrides.sha256 is not None and digest != overrides.sha256.lower():
        raise BackboneError(
            f"{path} has the SHA-256 {digest}, not {overrides.sha256}: get the file again"
        )
    try:
        return _read(path, model, files, digest, overrides)
    except PomonaError:
        raise
    except Exception as exc:  # what onnx, NumPy and ONNX Runtime make of a file that is not valid
        raise BackboneError(
            f"cannot make a network of {path} ({type(exc).__name__}: "
            f"{shown(' '.join(str(exc).split())[:300])}); onnx.checker may say what is not valid "
            "in it: export it again"
        ) from exc


def _read(
    path: Path,
    model: onnx.ModelProto,
    files: dict[str, Path],
    digest: str,
    overrides: ModelOverrides,
) -> Backbone:
    try:
        own = exported.read(model)
    except BackboneError as exc:
        raise BackboneError(f"cannot use {path}: {exc}") from exc
    if own is None:
        return _foreign(path, model, files, digest, overrides)
    if files:
        raise BackboneError(f"cannot use {path}: pomona exports one file: export it again")
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
        if size > external.MAX_BYTES:
            raise BackboneError(
                f"{path} has {size:,} bytes: an ONNX file has {external.MAX_BYTES:,} at most"
            )
        return path.read_bytes()
    except OSError as exc:
        raise BackboneError(f"cannot read {path}: {exc.strerror}; check `backbone`") from exc


def _foreign(
    path: Path,
    model: onnx.ModelProto,
    files: dict[str, Path],
    digest: str,
    overrides: ModelOverrides,
) -> Backbone:
    _refuse_old_or_endless(path, model)
    cut = find_cut(model.graph, overrides.layer)
    keep_until(model.graph, cut.tensor)
    config = None if overrides.preprocessing else hugging_face.find(path)
    images = find_images(path, model, overrides, config)
    preprocessing = find_preprocessing(path, images, overrides, config)
    external.load(path, model, files)
    taken = {name for node in model.graph.node for name in (*node.input, *node.output)}
    if {"images", "features"} & taken:
        model = compose.add_prefix(model, "model/")
        images = replace(images, name=f"model/{images.name}")
        cut = replace(cut, tensor=f"model/{cut.tensor}")
    content, width, done = _complete(path, model, images, preprocessing, cut)
    return _ready(
        path,
        content,
        name=path.name,
        width=width,
        input_size=images.side,
        crop_fraction=config.crop_fraction if config else 0.875,
        preprocessing=preprocessing.in_words(),
        weights_sha256=digest,
        licence="not known",
        origin=f"the file {path.name}, cut at {shown(cut.tensor)}",
        top1=None,
        top1_source=None,
        revision=1,
        note=f"{path.name} is cut at {shown(cut.tensor)} ({cut.reason}){done}: {width:,} numbers"
        + (f"; pixels as {hugging_face.NAME} says: {preprocessing.in_words()}" if config else ""),
    )


def _complete(
    path: Path, model: onnx.ModelProto, images: Images, preprocessing: Preprocessing, cut: Cut
) -> tuple[bytes, int, str]:
    """Returns a network with pomona's input and output, how many features, and what was done."""

    def finish(made: onnx.ModelProto, count: int) -> tuple[bytes, int, str]:
        put_in_front(made, images, preprocessing)
        done, width = put_behind(path, made, images, cut, count)
        if count == 1:
            one_by_one.loop(path, made, images.side, width)
            done += ", one image after the other, for its batch is fixed to 1"
        content = bytes(made.SerializeToString(deterministic=True))
        onnx_trial.try_out(path, Network(path.name, content, "", images.side, width))
        return content, width, done

    if not images.batch:
        return finish(model, 2)
    free = onnx.ModelProto()
    free.CopyFrom(model)
    free_batch(free.graph, images.batch)
    try:
        return finish(free, 2)
    except BackboneError:
        if images.batch > 1:
            raise
    return finish(model, 1)


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
