"""Jobs on EMR Serverless: status, logs, cancel, cost, fetch, sweep."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.commands.options.aws import AccountOptions, Yes
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
    str, typer.Argument(metavar="JOB", help="The job's id, as `pomona aws status` shows it.")
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
    """Show the jobs that run, since when, how far, and what they cost; and the last that ended."""
    from pomona.aws import job_status

    opened = open_account(where)
    found = job_status.find(opened.account, opened.application, opened.rates, opened.perimeter)
    OutputOptions(as_json=as_json).result(found.as_json(), found.in_words())


def logs(
    job: JobId,
    where: AccountOptions,
    lines: Annotated[
        int, typer.Option(metavar="N", min=1, max=10_000, help="Lines of each file.")
    ] = 40,
    as_json: AsJson = False,
) -> None:
    """Show the last lines of a job's driver, and of an executor that failed, with the cause.

    pomona's own lines come first. The logs reach the bucket some minutes after they were written.
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
    """Cancel a job; what it has done is kept, and the same `pomona aws run` goes on with it."""
    from pomona.aws import requests, spending

    opened = open_account(where)
    found = _read(opened, job)
    cancelled = requests.cancel(opened.account, found)
    cost = spending.cost(found, opened.rates)
    text = (
        f"the job {found.id} is being cancelled; it has cost {cost.in_words()}"
        if cancelled
        else f"the job {found.id} had ended: {found.state}"
    )
    content = {"job": found.id, "cancelled": cancelled, "cost_usd": cost.usd}
    OutputOptions(as_json=as_json).result(content, text)


def cost(job: JobId, where: AccountOptions, as_json: AsJson = False) -> None:
    """Show what a job has cost: price times time at most, then what AWS bills times the price."""
    from pomona.aws import job_cost

    opened = open_account(where)
    told = job_cost.tell(_read(opened, job), opened.rates, opened.prices)
    OutputOptions(as_json=as_json).result(dataclasses.asdict(told), told.in_words())


def fetch(
    out: Address,
    folder: Annotated[
        Any, typer.Argument(parser=place, metavar="FOLDER", help="Folder for the store.")
    ],
    output: OutputOptions,
    workers: Workers = None,
) -> None:
    """Download a store: `pomona download` of OUT.

    Run the same command again to continue after a stop, or to fetch what is new.
    """
    from pomona.commands.move import fetch_files
    from pomona.s3.address import Access

    fetch_files(out, folder, Access(), output, workers)


def sweep(where: AccountOptions, yes: Yes = False, as_json: AsJson = False) -> None:
    """Find what runs on the application and should not; --yes ends it.

    That is a job over its limit, a job that pomona did not submit, and an application that is
    started and runs nothing.
    """
    from pomona.aws import sweep as sweeping

    opened = open_account(where)
    found = sweeping.find(opened.account, opened.application.id, opened.rates)
    if yes:
        sweeping.end(opened.account, opened.application.id, found)
    lines = [each.in_words() for each in found] or ["nothing runs that should not"]
    if found:
        lines.append("ended" if yes else "--yes ends them")
    content = {"found": [dataclasses.asdict(each) for each in found], "ended": yes}
    OutputOptions(as_json=as_json).result(content, "\n".join(lines))


def _read(opened: Opened, job: str) -> Job:
    from pomona.aws import jobs

    found = jobs.read(opened.account, opened.application.id, job)
    if not found.is_own:
        raise CloudError(f"the job {job} is not pomona's: `pomona aws sweep` tells of such jobs")
    return found
