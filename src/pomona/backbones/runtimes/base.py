"""Runtime: what is known of a library that runs ONNX graphs, before it is imported."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

from pomona.errors import BackboneError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# uint8[n, input_size, input_size, 3], n at most the batch size → float32[n, width]
Session: TypeAlias = "Callable[[NDArray[np.uint8]], NDArray[np.float32]]"

DEFAULT_PRECISION = "float32"
AUTO = "auto"  # the fastest precision of this machine


@dataclass(frozen=True)
class SessionSettings:
    """How a session runs a graph.

    Parameters
    ----------
    input_size : int
        Side of its images, in pixels.
    batch_size : int
        The most images it is given at a time.
    precision : str
        The numbers it computes in.
    threads : int
        How many threads one batch may use. They must not change a bit.
    """

    input_size: int
    batch_size: int
    precision: str
    threads: int


class Implementation(Protocol):
    """The functions of the module that drives a runtime."""

    def open_session(self, model: bytes, settings: SessionSettings, /) -> Session:
        """Opens an ONNX graph, of input "images" and output "features"; raises anything."""
        ...

    def check_precision(self, precision: str, /) -> None:
        """Raises BackboneError if this processor lacks a precision. float32 is not asked for."""
        ...

    def is_fast(self, precision: str, /) -> bool:
        """Returns whether this processor is faster in a precision than in float32."""
        ...


@dataclass(frozen=True)
class Runtime:
    """A library that runs ONNX graphs. It is imported where a graph runs, and nowhere else.

    Parameters
    ----------
    name : str
        As users choose it, and as a store's recipe records it.
    implementation : str
        The module that drives it: see `Implementation`. Importing it imports the library.
    library : str
        The library, as Python imports it.
    package : str
        The library, as pip installs it; its version is recorded with each run.
    batch_sizes : mapping of str to int
        Its precisions, and how many images run at a time in each.
    extra : str, optional
        The extra of pomona that installs it. None: pomona always brings it.
    """

    name: str
    implementation: str = field(repr=False)
    library: str = field(repr=False)
    package: str = field(repr=False)
    batch_sizes: Mapping[str, int] = field(hash=False, repr=False)
    extra: str | None = field(default=None, repr=False)

    @property
    def requirement(self) -> str:
        """The requirement with which pip installs it."""
        return f"pomona[{self.extra}]" if self.extra else self.package

    @property
    def version(self) -> str | None:
        """The version that is installed here, or None."""
        from importlib.metadata import PackageNotFoundError, version  # slow, for the command line

        try:
            return version(self.package)
        except PackageNotFoundError:
            return None

    def load(self) -> Implementation:
        """Imports the module that drives it.

        Raises
        ------
        BackboneError
            If the library cannot be imported.
        """
        try:
            return cast(Implementation, importlib.import_module(self.implementation))
        except ImportError as exc:
            if find_spec(self.library) is None:
                raise self._missing() from exc
            raise BackboneError(
                f'cannot import {self.name} ({exc}): pip install "{self.requirement}"'
            ) from exc

    def check_machine(self, precision: str) -> None:
        """Refuses a machine that lacks the library, or a processor that lacks the precision.

        Raises
        ------
        BackboneError
            If something is missing.
        """
        if find_spec(self.library) is None:
            raise self._missing()
        if precision != DEFAULT_PRECISION:  # which every processor has
            self.load().check_precision(precision)

    def _missing(self) -> BackboneError:
        return BackboneError(f'{self.name} is not installed: pip install "{self.requirement}"')
