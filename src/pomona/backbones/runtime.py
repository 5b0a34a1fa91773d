"""Runs a network: ONNX bytes and what executes them, in this process."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pomona.errors import BackboneError

if TYPE_CHECKING:
    import onnxruntime

# The smallest within 2 % of the best of 1 to 32 on Zen 4 (1 MiB of L2 a core); more runs slower.
BATCH_SIZE = 2


@dataclass(frozen=True)
class Network:
    """A backbone that is ready to run; pickles without its session, to be sent to workers.

    model: ONNX bytes with one input uint8[batch, input_size, input_size, 3] and a first output
    float32[batch, width]. digest: SHA-256 of `model` in hexadecimal; it stands for `model` when
    two networks are compared. threads: how many one batch may use; they change no bit.
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
        features: NDArray[np.float32]
        (features,) = self._session.run(["features"], {"images": batch})
        return features

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        # From 1.29 on it reports to its makers unless this stands before its import.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            return onnxruntime.InferenceSession(
                self.model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as exc:  # its exceptions share no other base
            raise BackboneError(
                f"ONNX Runtime {onnxruntime.__version__} cannot run {self.backbone} "
                f"({' '.join(str(exc).split())}); upgrade onnxruntime"
            ) from exc

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}
