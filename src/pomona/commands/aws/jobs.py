"""Jobs on EMR Serverless: status, logs, cancel, cost, fetch, sweep."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.commands.options.aws import AccountOptions
from pomona.commands.options.engine import Workers
from pomona.commands.options.places import Address
from pomona.commands.output import AsJson, OutputOptions
from pomona.errors import CloudError
from pomona.store.folders.registry import place

if TYPE_CHECKING:
    from pomona.aws.account import Account
    from pomona.aws.jobs import Application, Job
    from pomona.aws.perimeter import Perimeter
    from pomona.aws.prices import Prices
    from pomona.aws.spending import Rates

JobId = Annotated[
    str, typer.Argument(metavar="JOB", help="The job's id, as shown by `pomona aws status`.")
]


@dataclass(frozen=True)
class Opened:
    """The account, and what of it jobs need."""

    account: Account
    perimeter: Perimeter
    application: Application
    prices: Prices
    rates: Rates


def open_account(where: AccountOptions) -> Opened:
    """Opens the account, and finds what of it jobs need."""
    from pomona.aws import jobs, perimeter, prices, spending

    account = where.account()
    found = perimeter.read(account, where.stack, computing=True)
    application = jobs.application(account, found.application_id)
    listed = prices.packaged(account.region)
    return Opened(account, found, application, listed, spending.rates(listed, application))


def status(
    where: AccountOptions,
    as_json: AsJson = False,
) -> None:
    """Show running jobs with start, progress and cost so far, and the last five that ended."""
    from pomona.aws import job_status

    opened = open_account(where)
    found = job_status.find(opened.account, opened.application, opened.rates, opened.perimeter)
    OutputOptions(as_json=as_json).result(found.as_json(), found.in_words())


def logs(
    job: JobId,
    where: AccountOptions,
    lines: Annotated[
        int,
        typer.Option(metavar="N", min=1, max=10_000, help="Number of lines to show of each file."),
    ] = 40,
    as_json: AsJson = False,
) -> None:
    """Show the last lines of the logs of a job's driver and of an executor that failed.

    pomona's own lines and the probable cause of a failure come first. Logs reach the bucket a few
    minutes after they are written.
    """
    from pomona.aws import job_logs

    opened = open_account(where)
    found = _read(opened, job)
    address = job_logs.address_of(
        f"s3://{opened.perimeter.logs}/serverless", found.application_id, found.id
    )
    told = job_logs.read(address, found.details, lines, failed=found.state != "SUCCESS")
    OutputOptions(as_json=as_json).result(dataclasses.asdict(told), told.in_words())


def cancel(job: JobId, where: AccountOptions, as_json: AsJson = False) -> None:
    """Cancel a job; its results so far are kept.

    To resume it, run the same `pomona aws run` command again.
    """
    from pomona.aws import requests, spending

    opened = open_account(where)
    found = _read(opened, job)
    cancelled = requests.cancel(opened.account, found)
    cost = spending.cost(found, opened.rates)
    text = (
        f"the job {found.id} is being cancelled; it has cost {cost.in_words()}"
        if cancelled
        else f"the job {found.id} had already ended: {found.state}"
    )
    content = {"job": found.id, "cancelled": cancelled, "cost_usd": cost.usd}
    OutputOptions(as_json=as_json).result(content, text)


def cost(job: JobId, where: AccountOptions, as_json: AsJson = False) -> None:
    """Show what a job has cost.

    There are two figures: first an upper bound (maximum capacity x run time x price), then, once
    AWS reports it, the billed usage x price.
    """
    from pomona.aws import job_cost

    opened = open_account(where)
    told = job_cost.tell(_read(opened, job), opened.rates, opened.prices)
    OutputOptions(as_json=as_json).result(dataclasses.asdict(told), told.in_words())


def fetch(
    out: Address,
    folder: Annotated[
        Any, typer.Argument(parser=place, metavar="DIR", help="Folder for the store.")
    ],
    output: OutputOptions,
    workers: Workers = None,
) -> None:
    """Download a store from the results bucket: `pomona download` with fewer options.

    Run the same command again to continue after a stop, or to download only what has changed.
    """
    from pomona.commands.move import fetch_files
    from pomona.s3.address import Access

    fetch_files(out, folder, Access(), output, workers)


def sweep(
    where: AccountOptions,
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="Stop what was found. (default: only list it)"),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List, or with --yes stop, what should not be running on the EMR Serverless application.

    Finds jobs that exceed their time limit or budget, jobs that pomona did not submit, and an
    application that is started but idle.
    """
    from pomona.aws import sweep as sweeping

    opened = open_account(where)
    found = sweeping.find(opened.account, opened.application.id, opened.rates)
    if yes:
        sweeping.end(opened.account, opened.application.id, found)
    lines = [each.in_words() for each in found] or ["nothing is running that should not be"]
    if found:
        lines.append("stopped" if yes else "to stop them, run it again with --yes")
    content = {"found": [dataclasses.asdict(each) for each in found], "ended": yes}
    OutputOptions(as_json=as_json).result(content, "\n".join(lines))


def _read(opened: Opened, job: str) -> Job:
    from pomona.aws import jobs

    found = jobs.read(opened.account, opened.application.id, job)
    if not found.is_own:
        raise CloudError(f"the job {job} is not pomona's: `pomona aws sweep` lists such jobs")
    return found
