"""Network: a backbone's ONNX bytes and the runtime that executes them, in any process."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pomona.backbones.runtimes import registry
from pomona.backbones.runtimes.base import DEFAULT_PRECISION, Runtime, Session, SessionSettings
from pomona.errors import BackboneError, PomonaError


@dataclass(frozen=True)
class Network:
    """A backbone that is ready to run; pickles without its session, to be sent to workers.

    Parameters
    ----------
    backbone : str
        The backbone's name.
    model : bytes
        An ONNX graph with one input uint8[batch, input_size, input_size, 3] and a first output
        float32[batch, width].
    digest : str
        SHA-256 of `model`, in hexadecimal. It stands for `model` when networks are compared.
    input_size : int
        Side of its images, in pixels.
    width : int
        Features per image.
    runtime, precision
        As `runtimes.registry.get` allows them.
    threads : int
        How many threads one batch may use. They change no bit.
    """

    backbone: str
    model: bytes = field(repr=False, compare=False)
    digest: str
    input_size: int
    width: int
    runtime: Runtime = registry.RUNTIMES[registry.DEFAULT]
    precision: str = DEFAULT_PRECISION
    threads: int = 1

    def features(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns the features of images.

        Parameters
        ----------
        batch : ndarray of uint8[n, input_size, input_size, 3]
            Any number of images, in RGB.

        Returns
        -------
        ndarray of float32[n, width]
            A row depends on its image alone: its bits are the same in any batch and at any place.

        Raises
        ------
        BackboneError
            If the batch has another shape or dtype, or the runtime cannot run the model.
        """
        expected = (len(batch), self.input_size, self.input_size, 3)
        if batch.shape != expected or batch.dtype != np.uint8:
            raise BackboneError(
                f"{self.backbone} takes uint8{list(expected)}, not {batch.dtype}{list(batch.shape)}"
            )
        size = self.batch_size
        pieces = [self._session(batch[at : at + size]) for at in range(0, len(batch), size)]
        return np.concatenate(pieces) if pieces else np.empty((0, self.width), np.float32)

    @property
    def batch_size(self) -> int:
        """How many images run at a time, however many are given."""
        return self.runtime.batch_sizes[self.precision]

    @cached_property
    def _session(self) -> Session:
        """The session of this process, opened with its first batch."""
        runtime = self.runtime
        settings = SessionSettings(self.input_size, self.batch_size, self.precision, self.threads)
        try:
            return runtime.load().open_session(self.model, settings)
        except PomonaError:
            raise
        except Exception as exc:  # the runtimes' exceptions share no other base
            reason = " ".join(str(exc).split())
            raise BackboneError(
                f"{runtime.name} {runtime.version} cannot run {self.backbone} ({reason}); "
                f"upgrade {runtime.package}"
            ) from exc

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}
