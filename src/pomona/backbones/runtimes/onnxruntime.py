"""Drives ONNX Runtime, on the processor."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pomona.backbones.runtimes.base import Session, SessionSettings

# From 1.29 on it reports to its makers unless this stands before its import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

_LOG_ERRORS, _LOG_FATAL = 3, 4


def open_session(model: bytes, settings: SessionSettings) -> Session:
    """Opens an ONNX graph, of input "images" and output "features"."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _LOG_ERRORS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # On ARM it would else be its own choice.
    options.add_session_config_entry("mlas.enable_gemm_fastmath_arm64_bfloat16", "0")
    session = _session(model, options)
    return lambda batch: session.run(["features"], {"images": batch})[0]


def check_precision(precision: str) -> None:
    """Refuses nothing: every processor has int8, if some more slowly than float32."""


def is_fast(precision: str) -> bool:
    """Returns whether this processor is faster in a precision than in float32."""
    return precision == "int8" and has_vnni(_processor_flags())


def run_unoptimized(model: bytes, output: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Returns one output of an ONNX graph as it stands, without the runtime's optimizations.

    Parameters
    ----------
    model : bytes
        The graph; its input is "images".
    output : str
        The output's name.
    images : ndarray of uint8[n, side, side, 3]
        The input.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = _LOG_FATAL
    [result] = _session(model, options).run([output], {"images": images})
    return result  # type: ignore[no-any-return]


def open_graph(model: bytes) -> Callable[[list[str], dict[str, NDArray[Any]]], list[Any]]:
    """Opens an ONNX graph of any inputs, on one thread; raises anything.

    Returns
    -------
    callable
        Takes the names of outputs, and the inputs by their names; returns these outputs.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_FATAL
    options.add_session_config_entry("mlas.enable_gemm_fastmath_arm64_bfloat16", "0")
    return _session(model, options).run  # type: ignore[no-any-return]


def has_vnni(flags: Collection[str]) -> bool:
    """Returns whether ONNX Runtime multiplies 8 by 8 bits exactly on such a processor.

    With AVX-512 but without its own VNNI, it takes AVX-512's other instructions.
    """
    return "avx512_vnni" in flags or ("avx_vnni" in flags and "avx512bw" not in flags)


@cache
def _processor_flags() -> frozenset[str]:
    """What Linux says of an x86 processor; nothing elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())


def _session(model: bytes, options: Any) -> Any:
    if not has_vnni(_processor_flags()):
        # There sums of two products of uint8 and int8 are cut to 16 bits, unless this is said.
        options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
