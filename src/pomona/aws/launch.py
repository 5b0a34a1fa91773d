"""A run on EMR Serverless on one page: found or submitted, watched, and told what it cost.

    places ──▶ jobs on OUT ──▶ one at work? ──────────────────────────────▶ watch ──▶ conclusion
                                 └─▶ work ──▶ offer ──asked──▶ submit ──────┘

The same command goes on wherever one before it ended: a job at work is watched, one that failed or
was cancelled is followed by another, and one that is done is not paid again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from pomona.aws import environment, jobs, requests, spending, submit
from pomona.aws import offer as offering
from pomona.aws import watch as watching
from pomona.aws.account import Account
from pomona.aws.conclusion import Conclusion, conclude
from pomona.aws.fleet import Fleet
from pomona.aws.jobs import Application, Job
from pomona.aws.offer import Offer
from pomona.aws.perimeter import Perimeter
from pomona.aws.places import check_places
from pomona.aws.prices import Prices
from pomona.aws.requests import Request
from pomona.aws.submit import Sizes, Worker
from pomona.aws.target import ARCHITECTURES, Target
from pomona.aws.work import Work, find_work
from pomona.errors import CloudError, StoreBusyError
from pomona.pipeline.context import RunSettings
from pomona.pipeline.settings import ExtractSettings
from pomona.s3.address import Address
from pomona.s3.bucket import open_bucket
from pomona.store.locks.lease import LEASE_S
from pomona.store.store import Store


@dataclass(frozen=True)
class Asked:
    """What the user wants to run.

    Parameters
    ----------
    source, out : str
        Addresses of the images and the store.
    extracting : ExtractSettings
        How images become features.
    options : tuple of str
        The options of `pomona run`, as words.
    budget_usd : float
        What it may cost, earlier attempts included.
    vcpus : int, optional
        How many vCPUs; None: as the plan says.
    flex : bool
        Whether executors take spare capacity.
    """

    source: str
    out: str
    extracting: ExtractSettings
    options: tuple[str, ...]
    budget_usd: float
    vcpus: int | None = None
    flex: bool = False

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the job is told."""
        return (self.source, self.out, *self.options)


def run(
    asked: Asked,
    account: Account,
    perimeter: Perimeter,
    prices: Prices,
    settings: RunSettings,
    confirm: Callable[[Offer], bool],
) -> Conclusion | None:
    """Runs images on EMR Serverless, and returns how it came out; None: it was not wanted.

    Parameters
    ----------
    asked : Asked
        What to run.
    account : Account
        Where to.
    perimeter : Perimeter
        What the account has for it.
    prices : Prices
        Those of its region.
    settings : RunSettings
        How the command runs.
    confirm : callable
        Is shown the offer before anything is submitted, and says whether to.

    Raises
    ------
    UsageError, SourceError, StoreError, ObjectStoreError
        If source and store cannot be used, which is found before anything is submitted.
    CloudError
        If AWS refuses, nothing fits the budget, or the job does not end well.
    """
    check_places(asked.source, asked.out, perimeter, account, settings.access)
    application = jobs.application(account, perimeter.application_id)
    rates = spending.rates(prices, application)
    on_out = jobs.find(account, application.id, out=asked.out)
    job = _at_work(on_out, asked)
    if job is None:
        work = find_work(asked.out, asked.extracting, settings)
        last = on_out[0] if on_out else None
        if last and last.state == "SUCCESS" and _is_same(last, asked) and _is_done(work):
            settings.progress.note(f"nothing to do: the job {last.id} has done it")
            return conclude(last, on_out, rates, perimeter, settings.access)
        offer = _make_offer(asked, account, application, prices, work, on_out)
        if not confirm(offer):
            return None
        job = _submit(asked, account, perimeter, offer, on_out, settings)
    on_out = [job, *(each for each in on_out if each.id != job.id)]
    earlier = spending.spent(spending.since_success(on_out[1:]), rates)
    store = Store(asked.out, settings.access)
    budget = min(asked.budget_usd, job.number(jobs.BUDGET_TAG) or asked.budget_usd)
    ended = watching.watch(account, job, store, rates, budget - earlier, settings.progress)
    return conclude(ended, [ended, *on_out[1:]], rates, perimeter, settings.access)


def _at_work(on_out: list[Job], asked: Asked) -> Job | None:
    """The job that is at work on the store. Raises CloudError if it is to do something else."""
    job = next((each for each in on_out if each.is_active), None)
    if job is not None and not _is_same(job, asked):
        raise CloudError(
            f"the job {job.id} is at work on {asked.out} with other options: wait for it, or end "
            f"it with `pomona aws cancel {job.id}`",
            "busy",
        )
    return job


def _is_same(job: Job, asked: Asked) -> bool:
    return job.tags.get(jobs.REQUEST_TAG) == jobs.digest(*asked.arguments)


def _is_done(work: Work) -> bool:
    return work.to_do == 0 and work.is_known


def _make_offer(
    asked: Asked,
    account: Account,
    application: Application,
    prices: Prices,
    work: Work,
    on_out: list[Job],
) -> Offer:
    rates = spending.rates(prices, application)
    spent = spending.spent(spending.since_success(on_out), rates)
    left = asked.budget_usd - spent
    candidate = offering.size(work, prices, application, left, asked.vcpus)
    hour = rates.hour(candidate.fleet.vcpus, candidate.fleet.memory_gb)
    return Offer(
        source=asked.source,
        out=asked.out,
        region=account.region,
        application=application,
        work=work,
        candidate=candidate,
        prices=prices,
        budget_usd=asked.budget_usd,
        spent_usd=spent,
        minutes=spending.minutes_within(left, hour),
    )


def _submit(
    asked: Asked,
    account: Account,
    perimeter: Perimeter,
    offer: Offer,
    on_out: list[Job],
    settings: RunSettings,
) -> Job:
    """Uploads the environment if need be, and submits the job, or finds the one that was first."""
    settings.progress.note("preparing the environment; the first time takes a minute or two")
    target = Target(ARCHITECTURES[offer.application.architecture])
    results = open_bucket(Address(perimeter.results), settings.access)
    uploaded = environment.upload(environment.build(target), results)
    if on_out:
        _wait_for_lock(Store(asked.out, settings.access), settings)
    fleet = offer.candidate.fleet
    request = Request(
        application_id=offer.application.id,
        role_arn=perimeter.job_role_arn,
        out=asked.out,
        entry_point=uploaded.job,
        spark_parameters=submit.spark_submit_parameters(
            _sizes(fleet), uploaded.archive, account.region
        ),
        arguments=asked.arguments,
        logs=f"s3://{perimeter.logs}/serverless/",
        key_arn=perimeter.key_arn,
        vcpus=fleet.vcpus,
        memory_gb=fleet.memory_gb,
        budget_usd=asked.budget_usd,
        estimate_usd=offer.candidate.cost_usd,
        timeout_minutes=offer.minutes,
        flex=asked.flex,
    )
    try:
        job_id = requests.submit(account, request, on_out)
    except CloudError as exc:
        if exc.reason == "ConflictException":
            # Another command was faster: its job is the one.
            job = _at_work(jobs.find(account, request.application_id, out=asked.out), asked)
            if job is not None:
                return job
        raise
    except KeyboardInterrupt:
        settings.progress.warn(
            "the job may have been submitted: the same command finds it, and "
            "`pomona aws status` shows it"
        )
        raise
    return jobs.read(account, request.application_id, job_id)


def _sizes(fleet: Fleet) -> Sizes:
    driver, executor = (
        Worker(each.vcpus, each.memory_gb * 1024) for each in (fleet.driver, fleet.executor)
    )
    return Sizes(driver, executor, fleet.executors)


def _wait_for_lock(store: Store, settings: RunSettings) -> None:
    """Waits for the lock of a job that was killed, which would cost a start on AWS.

    Raises
    ------
    StoreBusyError
        If somebody alive holds it.
    """
    tries = math.ceil(LEASE_S / 5.0) + 2
    for left in reversed(range(tries)):
        try:
            with store.shared_lock():
                return
        except StoreBusyError as exc:
            if not left:
                raise
            if left == tries - 1:
                settings.progress.note(f"waiting for the store's lock: {exc}")
            time.sleep(watching.POLL_S)
