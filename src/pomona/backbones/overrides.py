"""Reading: what is said of a network beside its name."""

from __future__ import annotations

from dataclasses import dataclass

from pomona.backbones.preprocessing import Preprocessing
from pomona.errors import UsageError

LAYOUTS = ("nchw", "nhwc")
SMALLEST, LARGEST = 32, 4096  # input sizes, in pixels


@dataclass(frozen=True)
class ModelOverrides:
    """What the file itself may not say. sha256: of the file, which is refused when it differs;
    layer: where to cut; input_size: in pixels; preprocessing: as `Preprocessing.parse` takes it;
    layout: "nchw" or "nhwc"."""

    sha256: str | None = None
    layer: str | None = None
    input_size: int | None = None
    preprocessing: str | None = None
    layout: str | None = None

    def __post_init__(self) -> None:
        if self.layout not in (None, *LAYOUTS):
            raise UsageError(f"--layout {self.layout}: choose nchw or nhwc")
        if self.input_size is not None and self.input_size < 1:
            raise UsageError(f"--input-size {self.input_size}: give pixels, as 224")
        if self.preprocessing is not None:
            Preprocessing.parse(self.preprocessing)


NO_OVERRIDES = ModelOverrides()
