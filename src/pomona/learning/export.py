"""Export: network, projection and classifier of a store in one ONNX file, pixels in, labels out."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import compose, helper, numpy_helper, version_converter

from pomona.backbones import cache
from pomona.backbones.network import Network
from pomona.backbones.runtimes import registry as runtimes
from pomona.backbones.runtimes.base import DEFAULT_PRECISION
from pomona.backbones.runtimes.onnxruntime import open_graph
from pomona.errors import BackboneError, PomonaError, UsageError
from pomona.extraction.featurize import find_backbone, load_network
from pomona.images import jpeg
from pomona.learning import square
from pomona.learning.classifier import INPUT, Classifier
from pomona.learning.predictions import Predictor
from pomona.pca.projection import Projection
from pomona.s3.address import Access
from pomona.store.recipe import Recipe
from pomona.store.store import Store

# How far the file's probabilities may be from those of `pomona predict`.
TOLERANCE = 1e-4
TRIED_IMAGES = 4
_NETWORK, _CLASSIFIER = "network/", "classifier/"
_SQUARE = (
    "Decode to RGB, upright (EXIF), transparent pixels on white; a JPEG may be decoded at 1/2, 1/4 "
    "or 1/8 of its size while both sides keep jpeg_side. Then square(pixels, side, crop_fraction), "
    "whose source is `python`: it shrinks each side by area, and enlarges it linearly."
)


def export(store: str | Path, file: Path, access: Access | None = None) -> dict[str, Any]:
    """Writes a store's classifier into one ONNX file that takes pixels.

    Its input is "images", uint8[batch, side, side, 3] in RGB. Its outputs are "label",
    int64[batch], the place of the most probable label, and "probabilities", float32[batch, labels].
    Its metadata has `labels` (a JSON list), `recipe`, `square` (how to bring a photograph to the
    square) and `sha256` (what it was made of), all JSON, and `licence`, that of the network.

    Parameters
    ----------
    store : str or Path
        The store.
    file : Path
        The file to write, .onnx. The same store gives the same bytes.
    access : Access, optional
        How buckets are used.

    Returns
    -------
    dict
        The file, its SHA-256, the labels and the classifier's id.

    Raises
    ------
    UsageError
        If the file has another name, or is another file.
    StoreError
        If the store has no classifier that can be used.
    BackboneError
        If its network is not here, cannot be joined, or the file cannot be written.
    PomonaError
        If the file would disagree with `pomona predict`.
    """
    if file.suffix != ".onnx":
        raise UsageError(f"{file} must end in .onnx, by which others recognize it")
    trained = Store(store, access)
    predictor, recipe = Predictor.read(trained), trained.recipe
    backbone, network = find_backbone(recipe), load_network(recipe)
    classifier = predictor.classifier
    facts = _describe(classifier, recipe, backbone.licence)
    try:
        content = join(network, predictor.projection, classifier.model, facts)
    except Exception as exc:  # what onnx makes of operators that it cannot bring together
        reason = " ".join(str(exc).split())[:300]
        raise BackboneError(
            f"{recipe.backbone} and the classifier cannot become one graph ({reason}): "
            "make a store with another network"
        ) from exc
    _check(content, predictor, network)
    _write(file, content)
    return {
        "file": str(file),
        "sha256": cache.sha256(content),
        "labels": classifier.labels,
        "classifier": classifier.id,
        "input_size": network.input_size,
        "licence": backbone.licence,
    }


def _describe(classifier: Classifier, recipe: Recipe, licence: str) -> dict[str, str]:
    """The file's metadata."""
    digests = {
        "classifier": cache.sha256(classifier.model),
        "network": recipe.model_sha256,
        "weights": recipe.weights_sha256,
    }
    return {
        "labels": json.dumps(classifier.labels, ensure_ascii=False),
        "licence": licence,
        "recipe": json.dumps(recipe.to_dict(), sort_keys=True),
        "sha256": json.dumps(digests),
        "square": json.dumps(describe_square(recipe), ensure_ascii=False),
    }


def describe_square(recipe: Recipe) -> dict[str, Any]:
    """Returns how a photograph becomes the square that the network takes, as the file says it."""
    return {
        "side": recipe.input_size,
        "jpeg_side": jpeg.DETAIL * (recipe.side or 0),
        "fit": recipe.fit,
        "crop_fraction": recipe.crop_fraction,
        "decode_scaling": recipe.decode_scaling,
        "shrink": recipe.shrink,
        "enlarge": recipe.enlarge,
        "how": _SQUARE,
        "python": inspect.getsource(square),
    }


def join(
    network: Network, projection: Projection | None, classifier: bytes, facts: Mapping[str, str]
) -> bytes:
    """Returns one checked graph of a network, a projection and a classifier, as ONNX bytes.

    Parameters
    ----------
    network : Network
        From pixels to features.
    projection : Projection, optional
        From features to the classifier's rows, where these are components.
    classifier : bytes
        The classifier's graph.
    facts : mapping of str to str
        The file's metadata.
    """
    models = [onnx.load_model_from_string(each) for each in (network.model, classifier)]
    opset = max(map(_opset, models))
    first, last = (
        compose.add_prefix(_at_opset(model, opset), prefix)
        for model, prefix in zip(models, (_NETWORK, _CLASSIFIER), strict=True)
    )
    labels = {each.name: each for each in last.graph.output}
    outputs = [labels[f"{_CLASSIFIER}{name}"] for name in ("label", "probabilities")]
    nodes, constants = _project(projection)
    graph = helper.make_graph(
        [*first.graph.node, *nodes, *last.graph.node],
        "classifier",
        list(first.graph.input),
        outputs,
        [*first.graph.initializer, *constants, *last.graph.initializer],
    )
    names = [f"{_NETWORK}images", *(output.name for output in outputs)]
    _rename(graph, {name: name.partition("/")[2] for name in names})
    versions = {each.domain: each.version for model in (first, last) for each in model.opset_import}
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(*each) for each in sorted(versions.items())],
        ir_version=max(first.ir_version, last.ir_version),
        producer_name="pomona",
    )
    for key, value in sorted(facts.items()):
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _opset(model: onnx.ModelProto) -> int:
    return max(int(each.version) for each in model.opset_import if each.domain in ("", "ai.onnx"))


def _at_opset(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    return model if _opset(model) == version else version_converter.convert_version(model, version)


def _project(
    projection: Projection | None,
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """What makes the classifier's rows of the network's features."""
    features, rows = f"{_NETWORK}features", f"{_CLASSIFIER}{INPUT}"
    if projection is None:
        return [helper.make_node("Identity", [features], [rows])], []
    mean, axes = "projection/mean", "projection/components"
    nodes = [
        helper.make_node("Sub", [features, mean], ["projection/centred"]),
        helper.make_node("MatMul", ["projection/centred", axes], [rows]),
    ]
    constants = [
        numpy_helper.from_array(projection.mean.astype(np.float32), mean),
        numpy_helper.from_array(projection.components.T.astype(np.float32), axes),
    ]
    return nodes, constants


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Renames tensors of a graph."""
    for node in graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]
    for value in (*graph.input, *graph.output):
        value.name = names.get(value.name, value.name)


def _check(content: bytes, predictor: Predictor, network: Network) -> None:
    """Holds the file's answers of a few drawn images against those of its parts.

    Raises
    ------
    PomonaError
        If they differ by more than `TOLERANCE`.
    """
    side = network.input_size
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (TRIED_IMAGES, 2, 2, 3))
    images: npt.NDArray[np.uint8] = np.repeat(
        np.repeat(coarse, -(-side // 2), axis=1), -(-side // 2), axis=2
    )[:, :side, :side].astype(np.uint8)
    # The numbers that the file computes in, whichever the store's are.
    here = dataclasses.replace(
        network, runtime=runtimes.RUNTIMES[runtimes.DEFAULT], precision=DEFAULT_PRECISION
    )
    wanted = predictor.probabilities(here.features(images))
    [given] = open_graph(content)(["probabilities"], {"images": images})
    gap = float(np.abs(wanted - given).max())
    if not gap <= TOLERANCE:
        raise PomonaError(
            f"the file would give other probabilities than `pomona predict`, by up to {gap:.1e}: "
            "nothing was written; train another `model`, and report it"
        )


def _write(file: Path, content: bytes) -> None:
    try:
        if file.exists() and file.read_bytes() != content:
            raise UsageError(f"{file} exists and is another file: choose another name")
        cache.put(file, content)
    except OSError as exc:
        raise BackboneError(f"cannot write {file}: {exc.strerror}; choose another folder") from exc
