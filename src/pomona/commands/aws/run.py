"""`pomona aws run`: the run of `pomona run`, on EMR Serverless."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.commands import exit_status
from pomona.commands.aws.asking import is_agreed, require_terminal, show
from pomona.commands.aws.jobs import open_account
from pomona.commands.options.aws import AccountOptions, FeatureOptions, JobOptions, Yes
from pomona.commands.options.engine import EngineOptions
from pomona.commands.output import OutputOptions
from pomona.commands.running import run_settings
from pomona.progress import printable
from pomona.store.folders.registry import place

if TYPE_CHECKING:
    from pomona.aws.offer import Offer

Images = Annotated[
    Any,
    typer.Argument(
        parser=place,
        metavar="SOURCE",
        help="Address in the stack's images bucket: images, as `pomona upload` puts them there, "
        "or a pack, or zip, tar or Parquet files.",
    ),
]
Stores = Annotated[
    Any,
    typer.Argument(
        parser=place,
        metavar="OUT",
        help="Address for the store, under stores/ in the results bucket: new, or a store made "
        "from the same SOURCE with the same network options.",
    ),
]


def run(
    source: Images,
    out: Stores,
    where: AccountOptions,
    output: OutputOptions,
    job: JobOptions,
    features: FeatureOptions,
    yes: Yes = False,
) -> None:
    """Compute features of images in a bucket on EMR Serverless, within a budget.

    First shows the estimated time and cost and asks for confirmation. Ctrl-C stops the display, not
    the job. Run the same command again to watch a running job, or to resume one that failed or was
    cancelled.
    """
    from pomona.aws import launch, places, spending
    from pomona.s3.address import Access

    options, limit = features.words(), spending.budget(job.budget)
    require_terminal(yes=yes)
    opened = open_account(where)
    key = opened.perimeter.key_arn
    images = places.place_of_images(source, opened.perimeter)
    asked = launch.Asked(
        source=images,
        out=places.place_of_store(out, opened.perimeter),
        extracting=features.settings(images),
        options=(*options, "--sse", "aws:kms", "--kms-key", key),
        budget_usd=limit,
        vcpus=job.vcpus,
        flex=job.flex,
    )
    engine = EngineOptions(workers=1).open()
    with run_settings(output, Access(sse="aws:kms", kms_key=key), engine) as settings:
        try:
            conclusion = launch.run(
                asked,
                opened.account,
                opened.perimeter,
                opened.prices,
                settings,
                lambda offer: _agrees(offer, yes=yes),
            )
        except KeyboardInterrupt as exc:  # what goes on has been said
            raise typer.Exit(exit_status.of_stop(exc)) from None
        if conclusion is None:
            settings.progress.note("nothing was submitted")
            raise typer.Exit(exit_status.FAILED)
        output.result(dataclasses.asdict(conclusion), conclusion.in_words())


def _agrees(offer: Offer, *, yes: bool) -> bool:
    """Shows an offer, and asks once whether to take it."""
    show(printable(offer.in_words()))
    return yes or is_agreed("Run it?")
