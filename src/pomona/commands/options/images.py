"""Which images a command takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from pomona.errors import UsageError
from pomona.pipeline.settings import RETRIES, ExtractSettings

# Options that may go without a value, which Typer does not know, and the value they then have.
IMPLIED_VALUES = {"--retry-errors": RETRIES[0]}


def parse_pixels(text: str | int) -> int:
    """Parses a number of pixels.

    Parameters
    ----------
    text : str or int
        50000000 or 50MP.

    Raises
    ------
    typer.BadParameter
        For anything else.
    """
    number = re.fullmatch(r"(\d+)(MP)?", str(text))
    if number is None:
        raise typer.BadParameter(f"{text!r} is not a number of pixels: give 50000000 or 50MP")
    return int(number[1]) * (1_000_000 if number[2] else 1)


Include = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB", help="Take only files whose path or name matches GLOB; may be repeated."
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB", help="Leave out files whose path or name matches GLOB; may be repeated."
    ),
]
AllowDamaged = Annotated[
    bool,
    typer.Option(
        "--allow-damaged",
        help="Also take damaged images that can be decoded in part. (default: they are errors)",
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        readable=False,
        metavar="FILE",
        help="CSV file with the columns path (relative to SOURCE), label and optionally split, or "
        "JSON with the same names, or a COCO or FiftyOne export; "
        "an image that it does not list has no label. (default: labels from the folder names)",
    ),
]
LabelFrom = Annotated[
    str,
    typer.Option(
        metavar="RULE",
        help="Which folder is the label: parent, the innermost; top, the topmost below the split; "
        "or a number counted from there: 1 is the same as top, 2 the folder below it. Or a regular "
        "expression, searched in the path, with a group named label.",
    ),
]
Splits = Annotated[
    bool | None,
    typer.Option(
        "--splits/--no-splits",
        show_default=False,
        help="Whether folders named train, valid, test and the like are splits, or labels. "
        "(default: decided from the folder structure)",
    ),
]


@dataclass(frozen=True)
class ImageOptions:
    """Which images are taken, and when one of them is given up. Their labels are the folders'."""

    panel: ClassVar[str] = "Which images"
    include: Include = None
    exclude: Exclude = None
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Take at most N images, chosen at random: the same number from each label where "
            "possible.",
        ),
    ] = ExtractSettings.limit
    seed: Annotated[
        int, typer.Option(metavar="N", help="Seed of the random choice that --limit makes.")
    ] = ExtractSettings.seed
    retry_errors: Annotated[
        str | None,
        typer.Option(
            metavar="[=all]",
            help="Retry the images whose error may be temporary (`retryable` in errors/). "
            "Write --retry-errors=all, with the equals sign, to retry every failed image.",
        ),
    ] = ExtractSettings.retry_errors
    sync: Annotated[
        bool,
        typer.Option(
            "--sync",
            help="Remove from OUT the images that the source no longer has; not with --limit, "
            "--include or --exclude.",
        ),
    ] = ExtractSettings.sync
    yes: Annotated[
        bool,
        typer.Option(
            "--yes",
            help="Allow --sync to remove more than half of the images in OUT. (default: refuse "
            "that, and change nothing)",
        ),
    ] = ExtractSettings.yes
    image_timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="An image that takes longer to fetch, or to decode, becomes an error row.",
        ),
    ] = ExtractSettings.image_timeout
    max_pixels: Annotated[
        int,
        typer.Option(
            parser=parse_pixels,
            metavar="N",
            show_default=False,
            help="An image with more than N pixels becomes an error row; write 50000000 or 50MP. "
            "Decoding takes up to 17 bytes per pixel in each worker: 1.7 GB for 100MP. "
            f"(default: {ExtractSettings.max_pixels // 10**6}MP)",
        ),
    ] = ExtractSettings.max_pixels
    allow_damaged: AllowDamaged = ExtractSettings.allow_damaged
    max_error_rate: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Write everything, then exit with status 3 if more than this share of the "
            "images in OUT failed.",
        ),
    ] = 0.05

    def check_error_rate(self) -> None:
        """Raises UsageError for a rate that is not a share."""
        if not 0 <= self.max_error_rate <= 1:
            raise UsageError(
                f"`max_error_rate` {self.max_error_rate:g}: "
                "give a share between 0 and 1, such as 0.05"
            )

    def settings(self, source: str | Path, **others: Any) -> ExtractSettings:
        """Returns these options as the pipeline takes them.

        Parameters
        ----------
        source : str or Path
            Where the images are.
        **others
            Settings of `ExtractSettings` that these options do not know.

        Raises
        ------
        UsageError
            For a value that cannot be.
        """
        self.check_error_rate()
        return ExtractSettings(
            source=source,
            include=tuple(self.include or ()),
            exclude=tuple(self.exclude or ()),
            limit=self.limit,
            seed=self.seed,
            image_timeout=self.image_timeout,
            max_pixels=self.max_pixels,
            allow_damaged=self.allow_damaged,
            retry_errors=self.retry_errors,
            sync=self.sync,
            yes=self.yes,
            **others,
        )


@dataclass(frozen=True)
class LabelledImageOptions(ImageOptions):
    """Which images are taken, with which labels, and when one of them is given up."""

    labels: Labels = ExtractSettings.labels
    label_from: LabelFrom = ExtractSettings.label_from
    splits: Splits = ExtractSettings.splits

    def settings(self, source: str | Path, **others: Any) -> ExtractSettings:
        return super().settings(
            source, labels=self.labels, label_from=self.label_from, splits=self.splits, **others
        )
