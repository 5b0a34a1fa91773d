"""`pomona aws plan`: what a run on AWS would take and cost."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from pomona.aws.fleet import MAXIMUM_VCPUS, MOST_VCPUS
from pomona.commands.options.buckets import ReadBucketOptions
from pomona.commands.options.images import Exclude, Include, parse_pixels
from pomona.commands.output import OutputOptions
from pomona.errors import UsageError
from pomona.store.folders.registry import place

if TYPE_CHECKING:
    from pomona.aws.plan import Wishes
    from pomona.aws.prices import Prices
    from pomona.aws.speeds import Speed
    from pomona.aws.workload import Workload
    from pomona.progress import Progress
    from pomona.s3.address import Access


def _parse_duration(text: str | float) -> float:
    """Parses a time: 90s, 20m or 1h30m."""
    parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", str(text))
    seconds = parts and sum(
        int(number or 0) * unit for number, unit in zip(parts.groups(), (3600, 60, 1), strict=True)
    )
    if not seconds:
        raise typer.BadParameter(f"{text!r} is not a time: give 20m, 90s or 1h30m")
    return seconds


@dataclass(frozen=True)
class PlannedImages:
    """The images of a plan: of a source, or their number and size."""

    panel: ClassVar[str] = "Which images"
    images: Annotated[
        int | None, typer.Option(metavar="N", help="Number of images, if no SOURCE is given.")
    ] = None
    image_bytes: Annotated[
        float | None,
        typer.Option(
            metavar="N", help="Mean size of the image files in bytes, if no SOURCE is given."
        ),
    ] = None
    pixels: Annotated[
        int | None,
        typer.Option(
            parser=parse_pixels,
            metavar="N",
            show_default=False,
            help="Mean number of pixels of an image, such as 10000 or 12MP. (default: that of a "
            "few images in SOURCE; if no SOURCE is given, two pixels per byte)",
        ),
    ] = None
    include: Include = None
    exclude: Exclude = None

    def given(self) -> Workload:
        """Returns the images that the options describe. Raises UsageError if they do not."""
        from pomona.aws.workload import Workload

        if self.images is None or self.image_bytes is None:
            raise UsageError("give SOURCE, or `images` and `image_bytes`")
        return Workload(self.images, self.image_bytes, self.pixels)

    def counted(self, source: Any, access: Access, progress: Progress) -> Workload:
        """Counts the images of a source. Raises SourceError, ObjectStoreError."""
        from pomona.aws.source_workload import count_source

        return count_source(
            source,
            access,
            progress,
            include=tuple(self.include or ()),
            exclude=tuple(self.exclude or ()),
            pixels=self.pixels,
        )


@dataclass(frozen=True)
class FigureOptions:
    """The prices and the speed that a plan takes."""

    panel: ClassVar[str] = "Prices and speed"
    region: Annotated[
        str | None,
        typer.Option(
            metavar="REGION",
            help="AWS region of the run, such as eu-west-1. (default: AWS_REGION or the region of "
            "your AWS profile)",
        ),
    ] = None
    live_prices: Annotated[
        bool,
        typer.Option(
            "--live-prices",
            help="Ask AWS for current prices, with your credentials. (default: pomona's own table)",
        ),
    ] = False
    images_per_second: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            help="Speed of one EMR Serverless core in float32, if you have measured it; note that "
            "`pomona doctor --speed` measures all cores of a machine together. (default: pomona's "
            "own table)",
        ),
    ] = None

    def prices(self, progress: Progress) -> Prices:
        """Returns the prices in the region. Raises CloudError."""
        from pomona.aws import price_lists

        if self.live_prices:
            progress.note("asking AWS for its prices")
        return price_lists.find(self.region, live=self.live_prices)

    def speeds(self) -> tuple[Speed, ...]:
        """Returns what a core of each machine does. Raises UsageError."""
        from pomona.aws import speeds

        if self.images_per_second is None:
            return speeds.speeds()
        return speeds.with_measured(self.images_per_second)


@dataclass(frozen=True)
class WishOptions:
    """What a plan must keep to."""

    panel: ClassVar[str] = "Constraints"
    budget: Annotated[
        float | None,
        typer.Option(
            metavar="USD",
            help="Choose the fastest plan that is expected to cost no more than this, or with "
            "--deadline the cheapest that meets both.",
        ),
    ] = None
    deadline: Annotated[
        float | None,
        typer.Option(
            parser=_parse_duration,
            metavar="TIME",
            show_default=False,
            help="Choose the cheapest plan that is expected to finish within this time, such as "
            "20m, 90s or 1h30m.",
        ),
    ] = None
    max_vcpus: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Maximum number of vCPUs of the EMR Serverless application in your account, as "
            f"set by `pomona aws up --max-vcpus`: up to {MOST_VCPUS}; the smallest job takes 4.",
        ),
    ] = MAXIMUM_VCPUS

    def wishes(self) -> Wishes:
        """Returns these options as the library takes them. Raises UsageError."""
        from pomona.aws.plan import Wishes

        return Wishes(self.budget, self.deadline, self.max_vcpus)


def plan(
    planned: PlannedImages,
    limits: WishOptions,
    figures: FigureOptions,
    buckets: ReadBucketOptions,
    output: OutputOptions,
    source: Annotated[
        Any,
        typer.Argument(
            parser=place,
            metavar="SOURCE",
            help="Images, as for `pomona run`. They are counted, and the headers of a few are "
            "read. If there are none yet, give --images and --image-bytes instead.",
        ),
    ] = None,
    out: Annotated[
        Any,
        typer.Argument(
            parser=place,
            metavar="OUT",
            help="Not used: accepted so that you can paste the arguments of `pomona aws run`. The "
            "estimate does not deduct images that OUT already holds.",
        ),
    ] = None,
) -> None:
    """Estimate how long a run on AWS would take and what it would cost; starts nothing.

    Unless --budget or --deadline is given, chooses the fastest of the plans that cost at most 10 %
    or 0.01 USD more than the cheapest. Prices are in US dollars, the currency in which AWS bills.
    No AWS account is needed, except for --live-prices or to read images from a bucket.
    """
    from pomona.aws import plan as planning
    from pomona.aws import plan_text

    wishes, table = limits.wishes(), figures.speeds()
    if source is not None and (planned.images, planned.image_bytes) != (None, None):
        raise UsageError("`images` and `image_bytes` replace SOURCE: give one or the other")
    workload = planned.given() if source is None else None
    progress = output.progress()
    prices = figures.prices(progress)
    workload = workload or planned.counted(source, buckets.access(), progress)
    made = planning.make_plan(workload, prices, wishes, table)
    output.result(made.as_json(), plan_text.in_words(made))
