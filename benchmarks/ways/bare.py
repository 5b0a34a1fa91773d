"""A share of the bare limit: FILE.npy, the first and last of its squares, NETWORK.onnx, RUNTIME.

RUNTIME is onnxruntime (float32) or openvino (bfloat16), bare: nothing of pomona's stands between.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.ways import serve
from pomona.import_guard import block_import

Run = Callable[[NDArray[np.uint8]], Any]


def open_onnxruntime(model: str, batch: int) -> Run:
    """A session of one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda squares: session.run(["features"], {"images": squares})


def open_openvino(model: str, batch: int) -> Run:
    """A request of one thread, for batches of this size alone."""
    with block_import("openvino.tools.ovc"):  # and with it its makers' telemetry
        import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": "bf16",
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    core = openvino.Core()
    network = core.read_model(model)
    network.reshape({0: [batch, *list(network.input(0).partial_shape)[1:]]})
    request = core.compile_model(network, "CPU", settings).create_infer_request()
    return lambda squares: request.infer({0: squares}, share_inputs=True)


OPEN = {"onnxruntime": open_onnxruntime, "openvino": open_openvino}


def prepare() -> Callable[..., dict[str, Any]]:
    file, start, end, model, runtime = sys.argv[1:]
    squares = np.load(file, mmap_mode="r")[int(start) : int(end)].copy()

    def measure(batch: int) -> dict[str, Any]:
        run = OPEN[runtime](model, batch)
        run(squares[:batch])
        whole = len(squares) // batch * batch
        start = time.perf_counter()
        for at in range(0, whole, batch):
            run(squares[at : at + batch])
        return {"images": whole, "seconds": time.perf_counter() - start}

    return measure


if __name__ == "__main__":
    serve(prepare)
