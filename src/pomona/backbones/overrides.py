"""ModelOverrides: how a network is read, beside its name."""

from __future__ import annotations

from dataclasses import dataclass

from pomona.backbones.preprocessing import Preprocessing
from pomona.errors import UsageError

LAYOUTS = ("nchw", "nhwc")
SMALLEST_SIDE, LARGEST_SIDE = 32, 4096  # input sizes, in pixels


@dataclass(frozen=True)
class ModelOverrides:
    """Facts that an ONNX file may not say itself. Of a network by name, only its input size.

    Parameters
    ----------
    sha256 : str, optional
        SHA-256 of the file, in hexadecimal. Another file is refused.
    layer : str, optional
        The node or tensor where to cut. None: what enters the classifier.
    input_size : int, optional
        Side of the images, in pixels. None: the network's own.
    preprocessing : str, optional
        As `Preprocessing.parse` takes it. None: none, of a network that takes bytes.
    layout : {"nchw", "nhwc"}, optional
        The order of its input's axes. None: by where its three channels are.

    Raises
    ------
    UsageError
        For a value that cannot be.
    """

    sha256: str | None = None
    layer: str | None = None
    input_size: int | None = None
    preprocessing: str | None = None
    layout: str | None = None

    def __post_init__(self) -> None:
        if self.layout not in (None, *LAYOUTS):
            raise UsageError(f"`layout` {self.layout}: choose nchw or nhwc")
        if self.input_size is not None and self.input_size < 1:
            raise UsageError(f"`input_size` {self.input_size}: give pixels, such as 224")
        if self.preprocessing is not None:
            Preprocessing.parse(self.preprocessing)


NO_OVERRIDES = ModelOverrides()
