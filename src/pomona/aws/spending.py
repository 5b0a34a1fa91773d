"""Spending: what a job costs by price and time, by what AWS bills, and how long a budget lasts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pomona.aws import jobs
from pomona.aws.jobs import Application, Job
from pomona.aws.prices import Prices, serverless
from pomona.errors import CloudError, UsageError

BUDGET_VARIABLE = "POMONA_AWS_BUDGET"
# AWS's names of the architectures, and those of the prices.
ARCHITECTURES = {"ARM64": "arm64", "X86_64": "x86_64"}


@dataclass(frozen=True)
class Rates:
    """What an hour costs on EMR Serverless, in USD.

    Parameters
    ----------
    vcpu_hour, memory_gb_hour : float
        Of one vCPU, and one GB of memory. Jobs take no disk beyond the 20 GB of a worker that are
        free.
    """

    vcpu_hour: float
    memory_gb_hour: float

    def hour(self, vcpus: float, memory_gb: float) -> float:
        """Returns the price of an hour of so many vCPUs and so much memory, in USD.

        Parameters
        ----------
        vcpus, memory_gb : float
            The most that a job has at once.
        """
        return vcpus * self.vcpu_hour + memory_gb * self.memory_gb_hour


@dataclass(frozen=True)
class Cost:
    """What a job has cost.

    Parameters
    ----------
    usd : float
        The amount.
    is_billed : bool
        Whether it is what AWS bills times the price. Else it is price times time: all that the
        job may have at once, from its start on, so an upper bound.
    """

    usd: float
    is_billed: bool

    def in_words(self) -> str:
        """The amount, and what it is."""
        kind = "billed usage × price" if self.is_billed else "price × time, at most"
        return f"{usd(self.usd)} ({kind})"


def rates(prices: Prices, application: Application) -> Rates:
    """Returns what an hour costs on an application.

    Parameters
    ----------
    prices : Prices
        Those of the region.
    application : Application
        What runs the jobs.
    """
    processors = ARCHITECTURES[application.architecture]
    vcpu, memory = (prices[serverless(processors, unit)].usd for unit in ("vcpu_hour", "gb_hour"))
    return Rates(vcpu, memory)


def usd(amount: float) -> str:
    """Formats an amount: 0.0123 USD, 1.23 USD."""
    return f"{amount:.4f} USD" if amount < 0.1 else f"{amount:.2f} USD"


def budget(given: float | None) -> float:
    """Returns the budget that was given, or else that of the environment, in USD.

    Parameters
    ----------
    given : float, optional
        That of the command.

    Raises
    ------
    UsageError
        If there is none, or it is not an amount.
    """
    text = os.environ.get(BUDGET_VARIABLE, "")
    if given is None and not text:
        raise UsageError(
            "nothing runs without a limit: give `budget` in USD, such as 0.50, "
            f"or set {BUDGET_VARIABLE}"
        )
    try:
        amount = float(text) if given is None else given
    except ValueError:
        raise UsageError(f"{BUDGET_VARIABLE} {text!r} is not an amount in USD") from None
    if not 0 < amount < 1e6:
        raise UsageError(f"`budget` {amount:g}: give an amount in USD, such as 0.50")
    return amount


def cost(job: Job, rates: Rates) -> Cost:
    """Returns what a job has cost so far, or in all.

    Parameters
    ----------
    job : Job
        The job.
    rates : Rates
        The prices of its region and architecture.
    """
    if job.usage is not None:
        used = job.usage
        billed = used.vcpu_hours * rates.vcpu_hour + used.memory_gb_hours * rates.memory_gb_hour
        return Cost(billed, is_billed=True)
    return Cost(at_most(job, rates), is_billed=False)


def at_most(job: Job, rates: Rates) -> float:
    """Returns price times time: what all that a job may have had at once cost, in USD.

    Parameters
    ----------
    job : Job
        The job.
    rates : Rates
        The prices of its region and architecture.
    """
    hour = rates.hour(job.number(jobs.VCPUS_TAG), job.number(jobs.MEMORY_TAG))
    return job.seconds / 3600 * hour


def since_success(on_out: Sequence[Job]) -> list[Job]:
    """Returns the jobs on a store after the last that succeeded: the attempts at one run.

    Parameters
    ----------
    on_out : sequence of Job
        All jobs on the store, the newest first.
    """
    attempts = []
    for job in on_out:
        if job.state == "SUCCESS":
            break
        attempts.append(job)
    return attempts


def spent(attempts: Iterable[Job], rates: Rates) -> float:
    """Returns what attempts have cost together, in USD."""
    return sum(cost(job, rates).usd for job in attempts)


def minutes_within(left_usd: float, hour_usd: float) -> int:
    """Returns how many whole minutes a job may take, so that price times time is in the budget.

    Parameters
    ----------
    left_usd : float
        What is left of the budget.
    hour_usd : float
        The price of an hour of all that the job may have at once.

    Raises
    ------
    CloudError
        If that is less than AWS's least.
    """
    minutes = int(left_usd / hour_usd * 60 + 1e-9)
    if minutes < jobs.LEAST_MINUTES:
        least = hour_usd * jobs.LEAST_MINUTES / 60
        raise CloudError(
            f"{usd(max(0.0, left_usd))} are left of the budget, and "
            f"{jobs.LEAST_MINUTES} minutes, AWS's least limit of a job, may cost {usd(least)}: "
            "raise `budget`, or lower `vcpus`",
            "budget",
        )
    return min(minutes, jobs.MOST_MINUTES)
