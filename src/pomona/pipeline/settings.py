"""The settings of the pipeline's two halves, each with its default, once.

The command line and `pomona.run` take names and defaults from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pomona.backbones.overrides import NO_OVERRIDES, ModelOverrides
from pomona.backbones.runtimes import registry as runtimes
from pomona.backbones.runtimes.base import AUTO, DEFAULT_PRECISION
from pomona.backbones.spec import DEFAULT
from pomona.errors import UsageError
from pomona.images.folders import PARENT, FolderRules, check_labelling
from pomona.images.limits import IMAGE_TIMEOUT_S, MAX_PIXELS

FITS = ("stretch", "crop")
RETRIES = ("retryable", "all")
DEFAULT_VARIANCE = 0.90


@dataclass(frozen=True, kw_only=True)
class ExtractSettings:
    """Which images to take, and how they become features.

    Parameters
    ----------
    source : str or Path
        A folder of images, a pack, or the address of either in a bucket.
    include : sequence of str
        Glob patterns; an image's path or name must match one of them. Empty: all images.
    exclude : sequence of str
        Glob patterns; an image whose path or name matches one of them is left out.
    labels : Path, optional
        A file with the columns path, label and perhaps split, as `label_files.read_columns`
        reads it. None: the folders' names.
    label_from, splits
        How folders become labels and splits, as in `FolderRules`.
    limit : int, optional
        The most images to take, drawn evenly from the labels.
    seed : int
        The seed of that draw.
    backbone : str
        A network's name, or the path of an ONNX file.
    fit : {"stretch", "crop"}
        Whether the network sees the whole image or its central square.
    image_timeout : float
        Seconds after which an image that is still being read becomes an error row.
    max_pixels : int
        Pixels above which an image becomes an error row, before it is decoded.
    allow_damaged : bool
        Whether to take damaged images as far as they can be decoded. Else they are error rows.
    retry_errors : {"retryable", "all"}, optional
        The error rows to try again. None: those whose file has changed.
    sync : bool
        Whether to remove the images that the source no longer has.
    yes : bool
        Whether to remove them even if they are most of the store.
    overrides : ModelOverrides
        How to read the network, beside its name.
    runtime, precision : str
        What runs the network, and in which numbers. "auto": the fastest that this machine has
        instructions for, and in a store that is there, its own.

    Raises
    ------
    UsageError
        For a value that cannot be, or settings that contradict each other.
    """

    source: str | Path
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    labels: Path | None = None
    label_from: str = PARENT
    splits: bool | None = None
    limit: int | None = None
    seed: int = 0
    backbone: str = DEFAULT
    fit: str = "stretch"
    image_timeout: float = IMAGE_TIMEOUT_S
    max_pixels: int = MAX_PIXELS
    allow_damaged: bool = False
    retry_errors: str | None = None
    sync: bool = False
    yes: bool = False
    overrides: ModelOverrides = NO_OVERRIDES
    runtime: str = runtimes.DEFAULT
    precision: str = DEFAULT_PRECISION

    def __post_init__(self) -> None:
        runtimes.get(self.runtime, DEFAULT_PRECISION if self.precision == AUTO else self.precision)
        check_labelling(self.labels, self.label_from)
        _ = self.folders
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"`limit` {self.limit}: at least 1 image is needed")
        if self.fit not in FITS:
            raise UsageError(f"`fit` {self.fit}: choose stretch or crop")
        if self.retry_errors not in (None, *RETRIES):
            raise UsageError(f"`retry_errors` {self.retry_errors}: choose retryable or all")
        if self.image_timeout <= 0:
            raise UsageError(f"`image_timeout` {self.image_timeout:g}: give seconds, such as 60")
        if self.max_pixels < 1:
            raise UsageError(f"`max_pixels` {self.max_pixels}: at least 1 pixel is needed")
        for name in ("include", "exclude"):
            if isinstance(patterns := getattr(self, name), str):
                raise UsageError(f"`{name}` {patterns!r}: give a list of patterns")
        if self.sync and not self.takes_whole_source:
            raise UsageError(
                "`sync` needs the whole source: leave out `limit`, `include` and `exclude`"
            )

    @property
    def folders(self) -> FolderRules:
        """How folders become labels and splits."""
        return FolderRules(self.label_from, self.splits)

    @property
    def takes_whole_source(self) -> bool:
        """Whether all images of the source are taken."""
        return self.limit is None and not self.include and not self.exclude


@dataclass(frozen=True, kw_only=True)
class ReduceSettings:
    """How many principal components to keep, and when to fit them again.

    Parameters
    ----------
    components : int, optional
        How many components to keep.
    variance : float, optional
        Keep the fewest components that retain this share of the variance. Without either: what
        the store was made with, or `DEFAULT_VARIANCE` for a new one.
    refit : bool
        Whether to fit the PCA again, on all that the store holds.
    keep_projection : bool
        Whether to keep the PCA however much the store has grown.
    csv : bool, optional
        Whether to write CSV files beside Parquet. None: as before, and for a new store yes.

    Raises
    ------
    UsageError
        For a value that cannot be, or settings that contradict each other.
    """

    components: int | None = None
    variance: float | None = None
    refit: bool = False
    keep_projection: bool = False
    csv: bool | None = None

    def __post_init__(self) -> None:
        if self.components is not None and self.variance is not None:
            raise UsageError("`components` and `variance` cannot be combined: give one")
        if self.components is not None and self.components < 1:
            raise UsageError(f"`components` {self.components}: at least 1 is needed")
        if self.variance is not None and not 0 < self.variance <= 1:
            raise UsageError(
                f"`variance` {self.variance}: give a share between 0 and 1, such as 0.9"
            )
        if self.refit and self.keep_projection:
            raise UsageError("`refit` and `keep_projection` cannot be combined: give one")

    @property
    def requested(self) -> tuple[str, float] | None:
        """("components", k) or ("variance", share), or None if neither was given."""
        if self.components is not None:
            return "components", self.components
        return None if self.variance is None else ("variance", self.variance)
