"""Where a network is cut, and what is kept of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import onnx
from onnx import helper, numpy_helper

from pomona.errors import UsageError

# These may stand between a classifier and the output, or between the features and the classifier.
_AFTER_CLASSIFIER = {
    "Add",
    "Cast",
    "Clip",
    "Div",
    "Dropout",
    "Flatten",
    "Identity",
    "LogSoftmax",
    "Mul",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Softmax",
    "Squeeze",
    "Tanh",
}
_CLASSIFIERS = ("Gemm", "MatMul")
# Outputs of Hugging Face's networks: of one that was trained with texts, and of a transformer.
_EMBEDDING, _POOLED = "image_embeds", "pooler_output"


@dataclass(frozen=True)
class Cut:
    """The tensor where a network is cut, and why there, for people."""

    tensor: str
    reason: str


def find_cut(graph: onnx.GraphProto, layer: str | None) -> Cut:
    """Finds where to cut a network.

    Parameters
    ----------
    graph : onnx.GraphProto
        The network.
    layer : str, optional
        The node whose output, or the tensor, to cut at. None: what enters the classifier, a Gemm or
        MatMul with weights of its own and nothing but activations between it and the output;
        without one, the output. Of several outputs, the one of images alone.

    Raises
    ------
    UsageError
        If there is no such layer.
    """
    if layer is not None:
        return Cut(_find_layer(graph, layer), "as `layer` says")
    makers = {output: node for node in graph.node for output in node.output}
    constants = {each.name for each in graph.initializer}
    end = _find_output(graph)
    if end == _EMBEDDING:
        return Cut(end, "its output of this name")
    tensor = end
    while (node := makers.pop(tensor, None)) is not None:  # once, should they go round
        data = [name for name in node.input if name and not _is_constant(name, makers, constants)]
        if len(data) != 1:
            break
        if node.op_type in _CLASSIFIERS and len(node.input) > 1:
            features = _before_reshaping(data[0], makers)
            name = shown(node.name or node.output[0])
            return Cut(features, f"what enters the last {node.op_type}, {name}")
        if node.op_type not in _AFTER_CLASSIFIER:
            break
        tensor = data[0]
    return Cut(end, "its output, for no Gemm or MatMul ends it")


def _find_output(graph: onnx.GraphProto) -> str:
    """Returns the output that needs images alone: one with a name of features, or else the first.

    Networks of images and texts have others beside it, transformers their tokens.
    """
    constants = {each.name for each in graph.initializer}
    inputs = {each.name: each for each in graph.input if each.name not in constants}
    names = [str(each.name) for each in graph.output]
    of_images = []
    for name in names:
        taken = needed(graph, name) & set(inputs)
        if [len(dimensions(inputs[each])) for each in taken] == [4]:
            of_images.append(name)
    found = [name for name in (_EMBEDDING, _POOLED) if name in of_images]
    return [*found, *of_images, *names][0]


def _before_reshaping(tensor: str, makers: dict[str, onnx.NodeProto]) -> str:
    """Returns the tensor before Dropout, which does nothing outside of training."""
    node = makers.pop(tensor, None)
    while node is not None and node.op_type in ("Dropout", "Identity"):
        tensor = node.input[0]
        node = makers.pop(tensor, None)
    return tensor


def _is_constant(name: str, makers: dict[str, onnx.NodeProto], constants: set[str]) -> bool:
    waiting, seen = [name], {""}
    while waiting:
        one = waiting.pop()
        if one in constants or one in seen:
            continue
        seen.add(one)
        node = makers.get(one)
        if node is None or (not node.input and node.op_type != "Constant"):
            return False
        waiting.extend(node.input)
    return True


def _find_layer(graph: onnx.GraphProto, layer: str) -> str:
    for node in graph.node:
        if layer in node.output:
            return layer
        if node.name == layer:
            return str(node.output[0])
    known = [name for node in graph.node for name in (node.name, *node.output) if name]
    close = difflib.get_close_matches(layer, known, n=3)
    hint = f"its last are {known[-3:]}"
    if close:
        hint = f"did you mean {' or '.join(map(shown, close))}?"
    raise UsageError(f"`layer` {layer}: the network has no such node or tensor; {hint}")


def needed(graph: onnx.GraphProto, tensor: str) -> set[str]:
    """Returns the names of all tensors that a tensor is made of, and its own."""
    makers = {output: node for node in graph.node for output in node.output}
    found: set[str] = set()
    waiting = [tensor]
    while waiting:
        name = waiting.pop()
        if name and name not in found:
            found.add(name)
            if name in makers:
                waiting.extend(_inputs(makers[name]))
    return found


def keep_until(graph: onnx.GraphProto, tensor: str) -> None:
    """Drops from a graph all that a tensor does not need, and its outputs and shapes."""
    names = needed(graph, tensor)
    nodes = [node for node in graph.node if names.intersection(node.output)]
    kept = [each for each in graph.initializer if each.name in names]
    inputs = [each for each in graph.input if each.name in names]
    del graph.node[:], graph.initializer[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    graph.input.extend(inputs)


def _inputs(node: onnx.NodeProto) -> Iterator[str]:
    """Returns a node's inputs, in its branches and loops too."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _inputs(inner)


def free_batch(graph: onnx.GraphProto, fixed: int) -> None:
    """Lets what reshapes to a batch of `fixed` images keep whatever batch it gets."""
    makers = {output: node for node in graph.node for output in node.output}
    constants = {each.name for each in graph.initializer}
    reshapes = [node.input for node in graph.node if node.op_type == "Reshape"]
    of_images: set[str] = set()
    of_parameters: set[str] = set()
    for data, shape in reshapes:
        (of_parameters if _is_constant(data, makers, constants) else of_images).add(shape)
    targets = of_images - of_parameters
    for each in graph.initializer:
        if each.name in targets:
            _free(each, fixed)
    for node in graph.node:
        if node.op_type == "Constant" and targets.intersection(node.output):
            for attribute in node.attribute:
                if attribute.name == "value":
                    _free(attribute.t, fixed)
                elif attribute.name == "value_ints" and list(attribute.ints[:1]) == [fixed]:
                    attribute.ints[0] = 0
    for node in graph.node:
        if node.op_type == "Reshape" and node.input[1] in targets:
            own = [each for each in node.attribute if each.name != "allowzero"]
            del node.attribute[:]  # 0: as many as come in
            node.attribute.extend(own)


def _free(target: onnx.TensorProto, fixed: int) -> None:
    shape = numpy_helper.to_array(target).copy()
    if shape.ndim == 1 and shape.size > 1 and shape[0] == fixed:
        shape[0] = 0
        target.CopyFrom(numpy_helper.from_array(shape, target.name))


def inlined_nodes(model: onnx.ModelProto) -> int:
    """Counts a model's nodes as if its functions were inlined.

    Raises ValueError for functions that call themselves.
    """
    bodies = {(each.domain, each.name, each.overload): each.node for each in model.functions}
    counts: dict[tuple[str, str, str], int] = {}

    def count(nodes: Iterable[onnx.NodeProto], callers: frozenset[tuple[str, str, str]]) -> int:
        total = 0
        for node in nodes:
            total += 1
            called = (node.domain, node.op_type, node.overload)
            if called in callers:
                raise ValueError("a function calls itself")
            if called in bodies:
                if called not in counts:
                    counts[called] = count(bodies[called], callers | {called})
                total += counts[called]
            for attribute in node.attribute:
                for graph in (attribute.g, *attribute.graphs):
                    total += count(graph.node, callers)
        return total

    return count(model.graph.node, frozenset())


def shown(name: str) -> str:
    """Returns a name from a file in one printable line."""
    return name if name.isprintable() else ascii(name)


def dimensions(value: onnx.ValueInfoProto) -> list[int | str]:
    """Returns a tensor's shape; a size that is not fixed, such as −1, by its name, or "?"."""
    return [
        each.dim_value if each.dim_value > 0 else shown(each.dim_param) or "?"
        for each in value.type.tensor_type.shape.dim
    ]


def in_words(value: onnx.ValueInfoProto) -> str:
    """Returns a tensor's type for people, such as float32[batch, 3, 224, 224]."""
    tensor = value.type.tensor_type
    if not tensor.elem_type:
        return "no tensor"
    kind = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return f"{kind}[{', '.join(map(str, dimensions(value)))}]"
