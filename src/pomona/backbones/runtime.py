"""Runs a network: ONNX bytes and what executes them, in this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pomona.errors import BackboneError, UsageError
from pomona.import_guard import block_import

# Those of which a core's caches hold the activations: the best, or within 2 % of it, of 1 to 32 on
# Zen 4 (1 MiB of L2 a core) and Sapphire Rapids (2 MiB); more run slower.
BATCH_SIZES = {"float32": 2, "bfloat16": 4}

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Network:
    """A backbone that is ready to run; pickles without its session, to be sent to workers.

    model: ONNX bytes with one input uint8[batch, input_size, input_size, 3] and a first output
    float32[batch, width]. digest: SHA-256 of `model` in hexadecimal; it stands for `model` when
    two networks are compared. runtime, precision: what `check` allows. threads: how many one batch
    may use; they change no bit.
    """

    backbone: str
    model: bytes = field(repr=False, compare=False)
    digest: str
    input_size: int
    width: int
    runtime: str = "onnxruntime"
    precision: str = "float32"
    threads: int = 1

    def features(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return float32[n, width] for uint8[n, input_size, input_size, 3], RGB.

        A row depends on its image alone: its bits are the same in any batch and at any place.
        Raises BackboneError when the batch has another shape or dtype, or the model cannot run.
        """
        expected = (len(batch), self.input_size, self.input_size, 3)
        if batch.shape != expected or batch.dtype != np.uint8:
            raise BackboneError(
                f"{self.backbone} takes uint8{list(expected)}, not {batch.dtype}{list(batch.shape)}"
            )
        size = self.batch_size
        pieces = [self._run(batch[at : at + size]) for at in range(0, len(batch), size)]
        return np.concatenate(pieces) if pieces else np.empty((0, self.width), np.float32)

    @property
    def batch_size(self) -> int:
        """How many images run at a time, however many are given."""
        return BATCH_SIZES[self.precision]

    @cached_property
    def _run(self) -> Run:
        """What runs a piece of a batch, made with the first one in this process."""
        return _RUNTIMES[self.runtime](self)

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}


def check(runtime: str, precision: str) -> None:
    """Raises UsageError where a runtime is none of pomona's or does not have a precision."""
    if runtime not in PRECISIONS:
        raise UsageError(f"--runtime {runtime}: choose {' or '.join(PRECISIONS)}")
    if precision not in PRECISIONS[runtime]:
        able = [name for name, precisions in PRECISIONS.items() if precision in precisions]
        remedy = f"add --runtime {able[0]}" if able else "choose float32 or bfloat16"
        raise UsageError(f"--precision {precision}: {runtime} does not have it; {remedy}")


def check_machine(runtime: str, precision: str) -> None:
    """Raises BackboneError where this machine does not have a runtime or a precision."""
    if runtime == "openvino":
        _check_able(precision, _capabilities(_import_openvino()))


def _open_onnxruntime(network: Network) -> Run:
    # From 1.29 on it reports to its makers unless this stands before its import.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = network.threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # On ARM it would else be its own choice.
    options.add_session_config_entry("mlas.enable_gemm_fastmath_arm64_bfloat16", "0")
    try:
        session = onnxruntime.InferenceSession(
            network.model, options, providers=["CPUExecutionProvider"]
        )
    except Exception as exc:  # its exceptions share no other base
        raise _cannot_run(network, f"ONNX Runtime {onnxruntime.__version__}", exc) from exc
    return lambda batch: session.run(["features"], {"images": batch})[0]


def _open_openvino(network: Network) -> Run:
    openvino = _import_openvino()
    _check_able(network.precision, _capabilities(openvino))
    size, side = network.batch_size, network.input_size
    settings = {
        "INFERENCE_PRECISION_HINT": _OPENVINO_PRECISIONS[network.precision],
        "INFERENCE_NUM_THREADS": network.threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # workers would all be pinned to the same core
        "PERFORMANCE_HINT": "LATENCY",
    }
    try:
        core = openvino.Core()
        model = core.read_model(network.model, b"")
        # A shape that is known is 8 % faster; the last piece of a batch is filled up.
        model.reshape({0: [size, side, side, 3]})
        if network.precision == "bfloat16":
            _round_filters(openvino, model)
        request = core.compile_model(model, "CPU", settings).create_infer_request()
    except Exception as exc:  # its exceptions share no other base
        raise _cannot_run(network, f"OpenVINO {openvino.__version__}", exc) from exc
    whole = np.zeros((size, side, side, 3), np.uint8)

    def run(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        count = len(batch)
        if count < size:
            whole[:count] = batch
            batch = whole
        features: NDArray[np.float32] = request.infer({0: batch}, share_inputs=True)[0]
        return features[:count]

    return run


def _round_filters(openvino: ModuleType, model: Any) -> None:
    """Rounds the depthwise filters of an OpenVINO model, before OpenVINO would.

    To the nearest, as it rounds, the nine weights of a filter can all err to the same side, and
    where an image is flat nothing makes up for it: those of EfficientNet-Lite0's first depthwise
    convolution, rounded alone, brought the least cosine of a hundred photographs to 0.994.
    """
    for convolution in model.get_ops():
        if convolution.get_type_name() != "GroupConvolution":
            continue
        weights = convolution.input_value(1).get_node()
        while weights.get_type_name() == "Reshape":
            weights = weights.input_value(0).get_node()
        if weights.get_type_name() == "Constant" and weights.data.dtype == np.float32:
            rounded = openvino.op.Constant(round_filters(weights.data))
            for target in weights.output(0).get_target_inputs():
                target.replace_source_output(rounded.output(0))


def round_filters(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Filters float32[..., rows, columns] with bfloat16's numbers, each with the sum it had.

    From its largest weight to its smallest, each takes along by how much those before it erred, so
    that what is left is the smallest one's error.
    """
    filters = weights.reshape(-1, weights.shape[-2] * weights.shape[-1])
    order = np.argsort(-np.abs(filters), axis=1)
    rounded = np.empty_like(filters)
    error = np.zeros((len(filters), 1), np.float32)
    for column in order.T:
        column = column[:, np.newaxis]
        exact = np.take_along_axis(filters, column, 1) + error
        nearest = _to_bfloat16(exact)
        np.put_along_axis(rounded, column, nearest, 1)
        error = exact - nearest
    return rounded.reshape(weights.shape)


def _to_bfloat16(numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    """To the nearest that has the upper 16 bits alone, to the even one of two."""
    bits = numbers.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)


def _import_openvino() -> ModuleType:
    try:
        # Its converter, which nothing here needs, brings its makers' telemetry along: that puts an
        # identifier into the user's folders as soon as it is imported.
        with block_import("openvino.tools.ovc"):
            import openvino
    except ImportError as exc:
        raise BackboneError('OpenVINO is not installed: pip install "pomona[openvino]"') from exc
    return openvino  # type: ignore[no-any-return]


def _capabilities(openvino: ModuleType) -> list[str]:
    able: list[str] = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return able


def _check_able(precision: str, able: Collection[str]) -> None:
    if precision == "bfloat16" and "BF16" not in able:
        raise BackboneError(
            "this processor has no bfloat16 (AVX512_BF16, AMX or the like): "
            "leave out --precision bfloat16"
        )


def _cannot_run(network: Network, runtime: str, exc: Exception) -> BackboneError:
    words = " ".join(str(exc).split())
    package = network.runtime
    return BackboneError(f"{runtime} cannot run {network.backbone} ({words}); upgrade {package}")


_RUNTIMES: dict[str, Callable[[Network], Run]] = {
    "onnxruntime": _open_onnxruntime,
    "openvino": _open_openvino,
}
PRECISIONS = {"onnxruntime": ("float32",), "openvino": ("float32", "bfloat16")}
_OPENVINO_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
